//! K16: a container of a pod that stays is asked to end only for a reason, and no pod is over before its deadline.
//!
//! Judged when a kubelet first asks the runtime for the end of a container. Reasons are: the pod is going, over, or may
//! have reached its deadline; it has another image for the container; the sandbox is gone, or not the pod's newest; two
//! containers of one name run; a hook after the start may have failed; a startup or liveness probe may have: as long
//! ago as its kubelet may have probed it, the container was silent, or had not begun to answer. In a pod with one
//! container it must have taken as long to begin as so many failures in a row take as are a verdict. Where one of the
//! others of an init container's pod does not run, the pod may be over. Of probed containers nothing is judged in
//! troubled times, when a probe may have failed for another reason; nor for how long one that had begun fell silent, as
//! only a fault makes it so.
//!
//! A deadline counts from the status's start, by the clock of the pod's node; the same is judged when a status says
//! that it was exceeded. It is not judged once any clock has been wrong.
//!
//! That lets pass: changes of the image, and their reverse, that the kubelet may not have heard of yet.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, PodSpec, Probe};

use super::probing::{Probing, ROUNDING, answers_alone, liveness, probing, startup};
use super::restarts::{UNDER_WAY, containers, tolerance};
use super::{Invariant, Report, kubelet_of};
use crate::model::{Change, Cluster, Item, Seen};

/// Statuses are stamped in whole seconds.
const WHOLE_SECOND: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Default)]
pub struct Stops {
    /// Containers that run, by id.
    running: BTreeMap<String, Running>,
    /// The newest sandbox of each pod, by its uid.
    sandboxes: BTreeMap<String, String>,
    /// When images of pods have last changed, by uid.
    changed: BTreeMap<String, Duration>,
}

struct Running {
    pod_uid: String,
    sandbox: String,
    name: String,
    image: String,
    /// When it was begun.
    began: Duration,
    /// From when on it answers, unless it is silent then.
    answers: Duration,
    /// Until when it was last silent; for ever if it is now.
    silent: Option<Duration>,
    /// Whether its end was asked for.
    asked: bool,
}

/// The images of a pod's containers.
fn images(item: &Item) -> impl Iterator<Item = Option<&str>> {
    let spec = item.pod().and_then(|pod| pod.spec.as_ref());
    spec.into_iter().flat_map(containers).map(|own| own.image.as_deref())
}

/// How long ago what a probe has found out may lie.
fn window(probing: &Probing) -> Duration {
    (probing.period + probing.timeout) * (probing.failures + 1)
}

/// Whether one of the container's probes may have found it dead, with what it has shown of late.
fn may_seem_dead(running: &Running, pod: &Item, spec: &PodSpec, own: &Container, cluster: &Cluster) -> bool {
    let probes: [fn(&Container) -> Option<&Probe>; 2] = [liveness, startup];
    probes.into_iter().filter(|which| which(own).is_some()).any(|which| {
        // Who else may be asked, and what a command says, is not known here.
        let Some(probing) = probing(pod, &running.name, which) else {
            return true;
        };
        let since = cluster
            .now
            .saturating_sub(window(&probing) + tolerance(pod.node_name(), cluster));
        // Of several, one may have failed for another.
        let least = match answers_alone(spec) {
            true => probing.failing(),
            false => Duration::ZERO,
        };
        let beginning = running.answers.min(cluster.now).saturating_sub(running.began);
        let began_late = running.answers > since && beginning + ROUNDING >= least;
        let was_silent = running.silent.is_some_and(|until| until > since);
        began_late || was_silent || cluster.is_disturbed_on(pod.node_name(), UNDER_WAY)
    })
}

/// How soon the pod may have reached its deadline; none if that is unknown, and never if it has none.
fn deadline(pod: &Item, cluster: &Cluster) -> Option<Duration> {
    let own = pod.pod()?;
    let Some(seconds) = own.spec.as_ref()?.active_deadline_seconds else {
        return Some(Duration::MAX);
    };
    // One that was wrong for a moment may have stamped the start.
    if cluster.is_clock_wrong(cluster.now + WHOLE_SECOND) {
        return None;
    }
    let start = own.status.as_ref()?.start_time.as_ref()?.0;
    let allowed = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Some(cluster.moment(start).saturating_add(allowed))
}

/// Whether the pod may have reached its deadline.
fn may_be_late(pod: &Item, cluster: &Cluster) -> bool {
    deadline(pod, cluster).is_none_or(|deadline| deadline <= cluster.now + WHOLE_SECOND)
}

/// Whether the pod's status says that it has exceeded its deadline.
fn is_said_late(pod: &Item) -> bool {
    let status = pod.pod().and_then(|pod| pod.status.as_ref());
    status.is_some_and(|status| status.reason.as_deref() == Some("DeadlineExceeded"))
}

/// What is wrong with a status that begins to say that its pod has exceeded its deadline, and the machine that says so.
fn hasty_deadline<'a>(change: &'a Change, cluster: &Cluster) -> Option<(&'a str, String)> {
    let after = change.after.as_ref().filter(|after| is_said_late(after))?;
    let is_news = change.before.as_ref().is_some_and(|before| !is_said_late(before));
    (is_news && !may_be_late(after, cluster)).then(|| {
        let wrong = format!(
            "{} (uid {}) is said to have exceeded its deadline at revision {}, which comes at {:?}",
            change.id,
            after.uid(),
            change.revision,
            deadline(after, cluster)
        );
        (after.node_name(), wrong)
    })
}

impl Stops {
    fn note(&mut self, change: &Change, now: Duration) {
        match (&change.before, &change.after) {
            (Some(before), None) => {
                self.changed.remove(before.uid());
                self.sandboxes.remove(before.uid());
            }
            (Some(before), Some(after)) if !images(before).eq(images(after)) => {
                self.changed.insert(after.uid().to_owned(), now);
            }
            _ => {}
        }
    }

    /// Whether there is a reason to end the container `id` of a pod that stays.
    fn is_due(&self, id: &str, running: &Running, pod: &Item, spec: &PodSpec, cluster: &Cluster) -> bool {
        let Some(own) = containers(spec).find(|own| own.name == running.name) else {
            return true;
        };
        let others = || {
            let others = self.running.iter().filter(|(other, _)| *other != id);
            others
                .map(|(_, other)| other)
                .filter(|other| other.pod_uid == running.pod_uid)
        };
        let runs = |name: &str| others().any(|other| other.name == name);
        let is_main = spec.containers.iter().any(|main| main.name == running.name);
        let changed = self.changed.get(pod.uid());
        let hooks = own.lifecycle.as_ref().is_some_and(|hooks| hooks.post_start.is_some());
        may_be_late(pod, cluster)
            || own.image.as_deref().unwrap_or_default() != running.image
            || changed.is_some_and(|at| *at + tolerance(pod.node_name(), cluster) >= cluster.now)
            || self.sandboxes.get(pod.uid()) != Some(&running.sandbox)
            || runs(&running.name)
            || (!is_main && !spec.containers.iter().all(|main| runs(&main.name)))
            || hooks
            || may_seem_dead(running, pod, spec, own, cluster)
    }

    /// What is wrong with asking the container `id` on `machine` to end, if that is done for the first time.
    fn wrong_end(&mut self, machine: &str, id: &str, cluster: &Cluster) -> Option<String> {
        let running = self.running.get_mut(id).filter(|running| !running.asked)?;
        running.asked = true;
        let running = &self.running[id];
        let (pod, spec) = cluster.pod_by_uid(&running.pod_uid)?;
        (pod.is_live_pod() && !self.is_due(id, running, pod, spec, cluster)).then(|| {
            format!(
                "the kubelet asks {} ({id}) of {} (uid {}) on {machine} to end, for no reason",
                running.name,
                pod.id,
                pod.uid()
            )
        })
    }
}

impl Invariant for Stops {
    fn id(&self) -> &'static str {
        "K16"
    }

    fn statement(&self) -> &'static str {
        "A container of a pod that stays is asked to end only for a reason, and no pod is over before its deadline."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Change(change) if &*change.id.resource == "pods" => {
                self.note(change, cluster.now);
                if let Some((machine, wrong)) = hasty_deadline(change, cluster) {
                    report.broken(self.id(), wrong, &[&kubelet_of(machine)]);
                }
            }
            Seen::SandboxReady { pod_uid, sandbox, .. } => {
                self.sandboxes.insert((*pod_uid).to_owned(), (*sandbox).to_owned());
            }
            Seen::SandboxGone { sandbox } => self.sandboxes.retain(|_, newest| newest != sandbox),
            Seen::ContainerStarted {
                pod_uid,
                sandbox,
                container,
                name,
                image,
                answers,
                ..
            } => {
                let running = Running {
                    pod_uid: (*pod_uid).to_owned(),
                    sandbox: (*sandbox).to_owned(),
                    name: (*name).to_owned(),
                    image: (*image).to_owned(),
                    began: cluster.now,
                    answers: cluster.now + *answers,
                    silent: None,
                    asked: false,
                };
                self.running.insert((*container).to_owned(), running);
            }
            Seen::ContainerSilent { container, silent } => {
                if let Some(running) = self.running.get_mut(*container) {
                    running.silent = Some(if *silent { Duration::MAX } else { cluster.now });
                }
            }
            Seen::ContainerEnded { container, .. } => drop(self.running.remove(*container)),
            Seen::ContainerStopping { machine, container, .. } => {
                if let Some(wrong) = self.wrong_end(machine, container, cluster) {
                    report.broken(self.id(), wrong, &[&kubelet_of(machine)]);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::contract_tests::with;
    use super::super::kubelet_tests::starts;
    use super::super::tests::{History, pod};
    use super::*;

    const STOPS: Seen<'static> = Seen::ContainerStopping {
        machine: "n",
        pod_uid: "uid-a",
        container: "c1",
        grace: Duration::from_secs(30),
    };

    fn runs(pod: Value) -> History {
        let ready = Seen::SandboxReady {
            machine: "n",
            pod_uid: "uid-a",
            sandbox: "s1",
            ip: None,
        };
        let history = History::of(|id| id == "K16").put("pods", pod).see(&ready);
        history.see(&starts("s1", "c1", "c", 0)).at(200)
    }

    #[test]
    fn a_container_that_is_ended_for_no_reason_breaks_k16() {
        assert_eq!(runs(pod("a", "n", "Running")).see(&STOPS).broken(), ["K16"]);
    }

    #[test]
    fn a_pod_that_goes_and_another_image_and_another_sandbox_are_reasons() {
        let own = || pod("a", "n", "Running");
        let going = with(own(), "/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"));
        assert!(runs(own()).put("pods", going).see(&STOPS).broken().is_empty());
        let changed = with(own(), "/spec/containers/0/image", json!("other"));
        assert!(runs(own()).put("pods", changed).at(900).see(&STOPS).broken().is_empty());
        let gone = Seen::SandboxGone { sandbox: "s1" };
        assert!(runs(own()).see(&gone).see(&STOPS).broken().is_empty());
        assert!(
            runs(own())
                .see(&starts("s1", "c2", "c", 0))
                .see(&STOPS)
                .broken()
                .is_empty()
        );
    }

    #[test]
    fn a_probe_is_a_reason_only_for_a_container_that_was_silent() {
        let probe = json!({"httpGet": {"port": 80}, "periodSeconds": 2});
        let probed = with(pod("a", "n", "Running"), "/spec/containers/0/livenessProbe", probe);
        let silent = |silent| Seen::ContainerSilent {
            container: "c1",
            silent,
        };
        assert_eq!(runs(probed.clone()).see(&STOPS).broken(), ["K16"]);
        assert!(
            runs(probed.clone())
                .see(&silent(true))
                .at(900)
                .see(&STOPS)
                .broken()
                .is_empty()
        );
        let again = runs(probed).see(&silent(true)).see(&silent(false));
        assert_eq!(again.at(900).see(&STOPS).broken(), ["K16"]);
    }
}
