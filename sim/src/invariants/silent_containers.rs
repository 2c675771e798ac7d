//! K15: a container that answers nobody is soon shown not ready, if it has a readiness probe over the network, and
//! asked to end, if it has a liveness probe, or a startup probe and has not answered yet. Probes that ask somebody else
//! do not count.
//!
//! Judged whenever its kubelet renews the node's lease, which shows that it lives and is heard: by then the probe may
//! have failed as often as its threshold says, each time after its whole timeout, the kubelet may have lagged, and its
//! write may have been lost and tried again. Liveness is probed from the initial delay on, and not before a startup
//! probe has succeeded: containers with one are not judged for it; nor are containers that have been asked to end
//! already, or whose pod is on its way out. Before it asks for the end, the kubelet may have waited for that of another
//! container of the pod, or for this one's hook, as long as the longest grace period is that one of them may have; to
//! show it not ready it need not. That lets pass kubelets that were away meanwhile (they began anew, stood still, or
//! did not renew the lease), and containers that answer again.
//!
//! Startup probes are judged in pods with one container only, which have an address of their own and no hook after the
//! start: their kubelet has nothing else to do before it probes, and nobody else answers. They may have begun only when
//! nothing kept kubelets from acting any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::kubelets::Hearing;
use super::probing::{Probing, answers_alone, liveness, probing, readiness, startup};
use super::readiness::longest_grace;
use super::restarts::containers;
use super::statuses::{runs, statuses};
use super::{Invariant, Report, UNANSWERED, kubelet_of};
use crate::model::{Cluster, Seen};
use crate::scenario::Role;

/// See the module.
#[derive(Default)]
pub struct SilentContainers {
    /// Containers that run, by id.
    running: BTreeMap<String, Running>,
    /// Since when containers answer nobody, by id.
    silent: BTreeMap<String, Duration>,
    /// The containers that have to begin in time, by machine.
    beginners: BTreeMap<String, BTreeSet<String>>,
    hearing: Hearing,
}

struct Running {
    machine: String,
    pod_uid: String,
    name: String,
    started: Duration,
    /// From when on it answers, unless it is silent then.
    answers: Duration,
    /// Whether it is known to have answered before it last fell silent, or after that.
    answered: bool,
    /// Whether its kubelet has asked for its end.
    stops: bool,
}

/// Whether all that the kubelet has to do for a pod is to probe its one container.
fn is_simple(spec: &PodSpec) -> bool {
    let has_hook = |own: &Container| own.lifecycle.as_ref().is_some_and(|hooks| hooks.post_start.is_some());
    answers_alone(spec) && !containers(spec).any(has_hook)
}

/// How long a kubelet may probe a container until it knows that it answers nobody.
fn longest(probing: &Probing) -> Duration {
    (probing.period + probing.timeout) * probing.failures
}

impl SilentContainers {
    /// What has been silent on `machine` for too long.
    fn wrong(&self, machine: &str, cluster: &Cluster) -> Option<String> {
        let heard = self.hearing.since(machine)?;
        self.silent.iter().find_map(|(id, since)| {
            let running = self.running.get(id).filter(|running| running.machine == machine)?;
            let (pod, spec) = cluster.pod_by_uid(&running.pod_uid)?;
            let lag = cluster.lag(Role::Kubelet) + UNANSWERED;
            let from = heard.max(*since);
            let shown = || {
                let limit = longest(&probing(pod, &running.name, readiness)?) + lag;
                let own = statuses(pod).find(|own| own.name == running.name)?;
                let is_shown = runs(own).is_some_and(|(shown, _, ready)| shown == id && ready);
                (is_shown && from + limit < cluster.now).then_some("is shown ready")
            };
            let left_alone = || {
                let probing = probing(pod, &running.name, liveness)?;
                let from = from.max(running.started + probing.delay);
                let limit = longest(&probing) + lag + longest_grace(spec);
                let is_due = pod.is_live_pod() && !running.stops && !probing.starts;
                (is_due && from + limit < cluster.now).then_some("is not restarted")
            };
            shown().or_else(left_alone).map(|what| {
                format!(
                    "{} (uid {}): {}, which as {id} has answered nobody since {since:?}, {what}",
                    pod.id, running.pod_uid, running.name
                )
            })
        })
    }

    /// Takes in whether a container answers nobody from now on. One that falls silent has answered before if it had
    /// come so far, and one that is silent no more answers if it has.
    fn fall_silent(&mut self, id: &str, silent: bool, now: Duration) {
        let was_silent = self.silent.contains_key(id);
        if let Some(running) = self.running.get_mut(id) {
            running.answered |= running.answers <= now && was_silent != silent;
        }
        if silent {
            self.silent.entry(id.to_owned()).or_insert(now);
        } else {
            self.silent.remove(id);
        }
    }

    /// What on `machine` has not begun in time, and is left alone all the same.
    fn late(&self, machine: &str, cluster: &Cluster) -> Option<String> {
        // What stays broken is no fault any more.
        if cluster.is_healed() {
            return None;
        }
        let heard = self.hearing.undisturbed(machine)?;
        self.beginners.get(machine)?.iter().find_map(|id| {
            let running = self.running.get(id).filter(|running| !running.stops)?;
            let answers = running.answers <= cluster.now && !self.silent.contains_key(id);
            let (pod, spec) = cluster.pod_by_uid(&running.pod_uid)?;
            let probing = probing(pod, &running.name, startup)?;
            let from = heard.max(running.started + probing.delay);
            let lag = cluster.lag(Role::Kubelet) + UNANSWERED;
            let limit = from + longest(&probing) + lag + longest_grace(spec);
            let is_due = pod.is_live_pod() && !running.answered && !answers;
            (is_due && limit < cluster.now).then(|| {
                format!(
                    "{} (uid {}): {}, which as {id} has never answered since {:?}, is not restarted",
                    pod.id, running.pod_uid, running.name, running.started
                )
            })
        })
    }

    /// Nobody asks any more whether a container answers.
    fn forget(&mut self, id: &str) {
        self.silent.remove(id);
        let Some(running) = self.running.remove(id) else { return };
        if let Some(beginners) = self.beginners.get_mut(&running.machine) {
            beginners.remove(id);
        }
    }
}

impl Invariant for SilentContainers {
    fn id(&self) -> &'static str {
        "K15"
    }

    fn statement(&self) -> &'static str {
        "A container that answers nobody is soon shown not ready, or restarted, as it is probed, as is one that never \
         begins."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        if let Some(machine) = self.hearing.observe(seen, cluster)
            && let Some(wrong) = self.wrong(machine, cluster).or_else(|| self.late(machine, cluster))
        {
            report.broken(self.id(), wrong, &[&kubelet_of(machine)]);
        }
        match seen {
            Seen::ContainerStarted {
                machine,
                pod_uid,
                container,
                name,
                answers,
                ..
            } => {
                let pod = cluster.pod_by_uid(pod_uid);
                if pod.is_some_and(|(pod, spec)| is_simple(spec) && probing(pod, name, startup).is_some()) {
                    let beginners = self.beginners.entry((*machine).to_owned()).or_default();
                    beginners.insert((*container).to_owned());
                }
                let running = Running {
                    machine: (*machine).to_owned(),
                    pod_uid: (*pod_uid).to_owned(),
                    name: (*name).to_owned(),
                    started: cluster.now,
                    answers: cluster.now + *answers,
                    answered: false,
                    stops: false,
                };
                self.running.insert((*container).to_owned(), running);
            }
            Seen::ContainerSilent { container, silent } => self.fall_silent(container, *silent, cluster.now),
            Seen::ContainerStopping { container, .. } => {
                if let Some(running) = self.running.get_mut(*container) {
                    running.stops = true;
                }
            }
            Seen::ContainerEnded { container, .. } => self.forget(container),
            _ => {}
        }
    }
}
