//! K15: a container that answers nobody is soon shown not ready, if it has a readiness probe over the network, and asked
//! to end, if it has a liveness probe.
//!
//! Judged whenever its kubelet renews the node's lease, which shows that it lives and is heard: by then the probe may
//! have failed as often as its threshold says, each time after its whole timeout, the kubelet may have lagged, and its
//! write may have been lost and tried again. Liveness is probed from the initial delay on, and not before a startup
//! probe has succeeded: containers with one are not judged for it; nor are containers that have been asked to end
//! already, or whose pod is on its way out. The kubelet may have waited for the end of another container of the pod
//! before it ended this one; to show it not ready it need not. That lets pass kubelets that were away meanwhile (they
//! began anew, stood still, or did not renew the lease), and containers that answer again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::readiness::grace_period;
use super::statuses::{Probing, probing, readiness, runs, statuses};
use super::{Invariant, Report, UNANSWERED, kubelet_of};
use crate::model::{Cluster, Seen};
use crate::scenario::Role;

/// A kubelet that renews its lease less often is not heard: it does so every ten seconds.
const UNHEARD: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Default)]
pub struct SilentContainers {
    /// Containers that run, by id.
    running: BTreeMap<String, Running>,
    /// Since when containers answer nobody, by id.
    silent: BTreeMap<String, Duration>,
    /// By machine: since when its kubelet has been heard without a pause, and when last.
    heard: BTreeMap<String, (Duration, Duration)>,
}

struct Running {
    machine: String,
    pod_uid: String,
    name: String,
    started: Duration,
    /// Whether its kubelet has asked for its end.
    stops: bool,
}

/// How long a kubelet may probe a container until it knows that it answers nobody.
fn longest(probing: &Probing) -> Duration {
    (probing.period + probing.timeout) * probing.threshold
}

impl SilentContainers {
    /// The kubelet of `machine` is heard, or begins.
    fn hear(&mut self, machine: &str, now: Duration, anew: bool) {
        let (since, last) = self.heard.entry(machine.to_owned()).or_insert((now, now));
        if anew || now > *last + UNHEARD {
            *since = now;
        }
        *last = now;
    }

    /// What has been silent on `machine` for too long.
    fn wrong(&self, machine: &str, cluster: &Cluster) -> Option<String> {
        let (heard, _) = self.heard.get(machine)?;
        self.silent.iter().find_map(|(id, since)| {
            let running = self.running.get(id).filter(|running| running.machine == machine)?;
            let (pod, spec) = cluster.pod_by_uid(&running.pod_uid)?;
            let lag = cluster.lag(Role::Kubelet) + UNANSWERED;
            let from = *since.max(heard);
            let shown = || {
                let limit = longest(&probing(pod, &running.name, readiness)?) + lag;
                let own = statuses(pod).find(|own| own.name == running.name)?;
                let is_shown = runs(own).is_some_and(|(shown, _, ready)| shown == id && ready);
                (is_shown && from + limit < cluster.now).then_some("is shown ready")
            };
            let left_alone = || {
                let probing = probing(pod, &running.name, |own| own.liveness_probe.as_ref())?;
                let from = from.max(running.started + probing.delay);
                let limit = longest(&probing) + lag + grace_period(pod, spec, |_| false);
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
}

impl Invariant for SilentContainers {
    fn id(&self) -> &'static str {
        "K15"
    }

    fn statement(&self) -> &'static str {
        "A container that answers nobody is soon shown not ready, or restarted, as it is probed."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::ContainerStarted {
                machine,
                pod_uid,
                container,
                name,
                ..
            } => {
                let running = Running {
                    machine: (*machine).to_owned(),
                    pod_uid: (*pod_uid).to_owned(),
                    name: (*name).to_owned(),
                    started: cluster.now,
                    stops: false,
                };
                self.running.insert((*container).to_owned(), running);
            }
            Seen::ContainerSilent {
                container,
                silent: true,
            } => {
                self.silent.entry((*container).to_owned()).or_insert(cluster.now);
            }
            Seen::ContainerSilent {
                container,
                silent: false,
            } => drop(self.silent.remove(*container)),
            Seen::ContainerStopping { container, .. } => {
                if let Some(running) = self.running.get_mut(*container) {
                    running.stops = true;
                }
            }
            Seen::ContainerEnded { container, .. } => {
                self.silent.remove(*container);
                self.running.remove(*container);
            }
            Seen::Started { process } => {
                if let Some(machine) = process.strip_prefix("kubelet/") {
                    self.hear(machine, cluster.now, true);
                }
            }
            Seen::Change(change) if &*change.id.resource == "leases.coordination.k8s.io" => {
                if change.id.namespace != "kube-node-lease" || change.after.is_none() {
                    return;
                }
                let machine = &change.id.name;
                let kubelet = kubelet_of(machine);
                self.hear(machine, cluster.now, cluster.was_paused(&kubelet));
                if let Some(wrong) = self.wrong(machine, cluster) {
                    report.broken(self.id(), wrong, &[&kubelet]);
                }
            }
            _ => {}
        }
    }
}
