//! K16: a container of a pod that stays is asked to end only for a reason.
//!
//! Judged when a kubelet first asks the runtime for the end of a container. Reasons are: the pod is going, over, or may
//! have reached its deadline; it has another image for the container; the sandbox is gone, or not the pod's newest; two
//! containers of one name run; a hook after the start may have failed; a startup or liveness probe may have: the
//! container has been silent, or has not answered yet, as long ago as its kubelet may have probed it. Where one of the
//! others of an init container's pod does not run, the pod may be over. Of probed containers nothing is judged in
//! troubled times: a probe may have failed for another reason.
//!
//! That lets pass: changes of the image, and their reverse, that the kubelet may not have heard of yet.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::restarts::{UNDER_WAY, containers, tolerance};
use super::statuses::{Probing, probing};
use super::{Invariant, Report};
use crate::model::{Change, Cluster, Item, Seen};

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
    /// Since when it answers, or will.
    answers: Duration,
    /// Until when it last answered nobody; for ever if it does not now.
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
    (probing.period + probing.timeout) * (probing.threshold + 1)
}

/// Whether one of the container's probes may have found it dead, with what it has shown of late.
fn may_seem_dead(running: &Running, pod: &Item, own: &Container, cluster: &Cluster) -> bool {
    let probes: [fn(&Container) -> Option<&_>; 2] =
        [|own| own.liveness_probe.as_ref(), |own| own.startup_probe.as_ref()];
    probes.into_iter().filter(|which| which(own).is_some()).any(|which| {
        // Commands are not answered by whom the network reaches.
        let Some(probing) = probing(pod, &running.name, which) else {
            return true;
        };
        let since = cluster
            .now
            .saturating_sub(window(&probing) + tolerance(pod.node_name(), cluster));
        let is_troubled = cluster.is_disturbed_on(pod.node_name(), UNDER_WAY);
        running.answers > since || running.silent.is_some_and(|until| until > since) || is_troubled
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
        spec.active_deadline_seconds.is_some()
            || own.image.as_deref().unwrap_or_default() != running.image
            || changed.is_some_and(|at| *at + tolerance(pod.node_name(), cluster) >= cluster.now)
            || self.sandboxes.get(pod.uid()) != Some(&running.sandbox)
            || runs(&running.name)
            || (!is_main && !spec.containers.iter().all(|main| runs(&main.name)))
            || hooks
            || may_seem_dead(running, pod, own, cluster)
    }
}

impl Invariant for Stops {
    fn id(&self) -> &'static str {
        "K16"
    }

    fn statement(&self) -> &'static str {
        "A container of a pod that stays is asked to end only for a reason."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Change(change) if &*change.id.resource == "pods" => self.note(change, cluster.now),
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
                let Some(running) = self.running.get_mut(*container).filter(|running| !running.asked) else {
                    return;
                };
                running.asked = true;
                let running = &self.running[*container];
                let stays = cluster
                    .pod_by_uid(&running.pod_uid)
                    .filter(|(pod, _)| pod.is_live_pod());
                let Some((pod, spec)) = stays else { return };
                if !self.is_due(container, running, pod, spec, cluster) {
                    let message = format!(
                        "the kubelet asks {} ({container}) of {} (uid {}) on {machine} to end, for no reason",
                        running.name,
                        pod.id,
                        pod.uid()
                    );
                    report.broken(self.id(), message, &[&format!("kubelet/{machine}")]);
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
