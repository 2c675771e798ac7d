//! K14: a sidecar of a pod that is deleted is asked to end only after those that may need it, and within the pod's grace.
//!
//! Judged when a kubelet asks a sidecar (an init container that always restarts) of such a pod to end. No main container
//! and no later sidecar of the pod may run that has not been asked, or whose grace is not over. And it must not be given
//! more time than is left of the pod's grace since its kubelet asked the first one, and two seconds: that grace is one
//! for all. Source: Kubernetes' documentation, "Sidecar Containers". That lets pass what is asked to end for another
//! reason: with its sandbox, by a probe that may have failed just then, for another image, or because the pod's time is
//! over, and all when the grace is. In troubled times, when asking may have failed, the time is not judged, nor the order
//! where no time is left; and the time not across a restart of the kubelet.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodSpec;

use super::readiness::LEAST;
use super::restarts::UNDER_WAY;
use super::{Invariant, Report};
use crate::model::{Change, Cluster, Item, Seen};

/// What two requests that are made at the same time may lie apart.
pub(super) const APART: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Default)]
pub struct Sidecars {
    /// Containers that run in pods with init containers, by id.
    running: BTreeMap<String, Running>,
    /// By uid of a pod that is deleted: which machine's kubelet has asked the first of its containers to end, and when.
    ends: BTreeMap<String, (String, Duration)>,
}

struct Running {
    pod_uid: String,
    name: String,
    image: String,
    /// Until when it may go on, since it was asked to end.
    until: Option<Duration>,
}

/// Whether the pod's status says that the init container `id` has started, by its startup probe.
fn has_started(pod: &Item, id: &str) -> bool {
    let status = pod.pod().and_then(|pod| pod.status.as_ref());
    let mut init = status
        .into_iter()
        .flat_map(|status| status.init_container_statuses.iter().flatten());
    init.any(|own| own.started == Some(true) && own.container_id.as_ref().is_some_and(|own| own.ends_with(id)))
}

/// The names of a pod's sidecars, in their order.
pub(super) fn sidecars(spec: &PodSpec) -> impl DoubleEndedIterator<Item = &str> {
    crate::model::sidecars(spec).map(|container| &*container.name)
}

/// How long a pod that is deleted may take; at least a second, as its kubelet counts.
fn grace_of(pod: &Item) -> Option<Duration> {
    let seconds = pod.meta.deletion_grace_period_seconds?;
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(1)))
}

impl Sidecars {
    /// The container that is still to end before the sidecar `id` may be asked to.
    fn outlived(&self, id: &str, cluster: &Cluster) -> Option<&str> {
        let own = self.running.get(id)?;
        let (pod, spec) = cluster.pod_by_uid(&own.pod_uid)?;
        let mut init = spec.init_containers.iter().flatten();
        let container = init.find(|container| container.name == own.name)?;
        let later = sidecars(spec).rev().take_while(|name| *name != own.name);
        let later: Vec<&str> = later.collect();
        let is_sidecar = sidecars(spec).any(|name| name == own.name);
        let may_fail =
            container.liveness_probe.is_some() || (container.startup_probe.is_some() && !has_started(pod, id));
        let is_replaced = container.image.as_deref() != Some(&own.image);
        let is_over = pod.is_finished() || spec.active_deadline_seconds.is_some();
        if !is_sidecar || !pod.is_terminating() || may_fail || is_replaced || is_over {
            return None;
        }
        if self.has_no_time_left(&own.pod_uid, pod, cluster) {
            return None;
        }
        let is_main = |name: &str| spec.containers.iter().any(|main| main.name == name);
        let comes_first = |name: &str| is_main(name) || later.contains(&name);
        let mut first = self
            .running
            .values()
            .filter(|other| other.pod_uid == own.pod_uid && comes_first(&other.name));
        let other = first.find(|other| other.until.is_none_or(|until| until > cluster.now + APART))?;
        Some(&other.name)
    }

    /// Whether the pod's grace is over: then nobody waits for anybody any more.
    fn has_no_time_left(&self, uid: &str, pod: &Item, cluster: &Cluster) -> bool {
        let since = self.ends.get(uid).map(|(_, since)| *since);
        since
            .zip(grace_of(pod))
            .is_some_and(|(since, whole)| since + whole <= cluster.now + APART)
    }

    /// By how much the `grace` that the sidecar `id` is given is more than what is left of its pod's.
    fn excess(&self, id: &str, grace: Duration, cluster: &Cluster) -> Option<Duration> {
        let own = self.running.get(id)?;
        let (pod, spec) = cluster.pod_by_uid(&own.pod_uid)?;
        let (machine, since) = self.ends.get(&own.pod_uid)?;
        let whole = grace_of(pod)?;
        if !sidecars(spec).any(|name| name == own.name) || cluster.is_disturbed_on(machine, UNDER_WAY) {
            return None;
        }
        let last = *since + whole + LEAST + APART;
        (cluster.now + grace)
            .checked_sub(last)
            .filter(|excess| !excess.is_zero())
    }

    /// Takes in whether another grace period begins, or the pod is gone.
    fn note(&mut self, change: &Change) {
        let Some(before) = &change.before else { return };
        let grace = |item: &Item| item.meta.deletion_grace_period_seconds;
        if change.after.as_ref().is_none_or(|after| grace(after) != grace(before)) {
            self.ends.remove(before.uid());
        }
    }
}

impl Invariant for Sidecars {
    fn id(&self) -> &'static str {
        "K14"
    }

    fn statement(&self) -> &'static str {
        "A sidecar of a pod that is deleted is asked to end after all that may need it, within the pod's grace."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::ContainerStarted {
                pod_uid,
                container,
                name,
                image,
                ..
            } => {
                let has_init = |uid| {
                    cluster
                        .pod_by_uid(uid)
                        .is_some_and(|(_, spec)| spec.init_containers.is_some())
                };
                if has_init(pod_uid) {
                    let running = Running {
                        pod_uid: (*pod_uid).to_owned(),
                        name: (*name).to_owned(),
                        image: (*image).to_owned(),
                        until: None,
                    };
                    self.running.insert((*container).to_owned(), running);
                }
            }
            Seen::ContainerStopping {
                machine,
                pod_uid,
                container,
                grace,
            } => {
                // It has waited for as long as it may: what was asked of the others may not have got to the runtime.
                let is_late = *grace <= LEAST && cluster.is_disturbed_on(machine, UNDER_WAY);
                let outlived = self.outlived(container, cluster);
                let outlived = outlived.filter(|_| !grace.is_zero() && !is_late);
                let outlived = outlived.map(|other| format!("while {other} runs"));
                let excess = self.excess(container, *grace, cluster);
                let excess = excess.map(|excess| format!("within {grace:?}, {excess:?} more than its pod has left"));
                if let Some(wrong) = outlived.or(excess) {
                    let own = &self.running[*container];
                    let message = format!(
                        "sidecar {} of the pod with uid {} is asked to end on {machine} {wrong}",
                        own.name, own.pod_uid
                    );
                    report.broken(self.id(), message, &[&format!("kubelet/{machine}")]);
                }
                let is_going = cluster.pod_by_uid(pod_uid).is_some_and(|(pod, _)| pod.is_terminating());
                if is_going {
                    let first = || ((*machine).to_owned(), cluster.now);
                    self.ends.entry((*pod_uid).to_owned()).or_insert_with(first);
                }
                if let Some(own) = self.running.get_mut(*container) {
                    let until = cluster.now + *grace;
                    own.until = Some(own.until.map_or(until, |known| known.min(until)));
                }
            }
            Seen::ContainerEnded { container, .. } => {
                self.running.remove(*container);
            }
            Seen::Change(change) if &*change.id.resource == "pods" => self.note(change),
            Seen::Started { process } => {
                if let Some(began) = process.strip_prefix("kubelet/") {
                    self.ends.retain(|_, (machine, _)| machine != began);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::contract_tests::with;
    use super::super::tests::{History, pod};
    use super::*;

    const UID: &str = "uid-a";

    fn started<'a>(name: &'a str) -> Seen<'a> {
        Seen::ContainerStarted {
            machine: "n",
            pod_uid: UID,
            sandbox: "s",
            container: name,
            name,
            image: "image",
            answers: Duration::ZERO,
            asked: Duration::ZERO,
        }
    }

    fn stopping<'a>(name: &'a str) -> Seen<'a> {
        stopping_within(name, 10)
    }

    fn stopping_within<'a>(name: &'a str, seconds: u64) -> Seen<'a> {
        Seen::ContainerStopping {
            machine: "n",
            pod_uid: UID,
            container: name,
            grace: Duration::from_secs(seconds),
        }
    }

    fn ended<'a>(name: &'a str) -> Seen<'a> {
        Seen::ContainerEnded {
            container: name,
            code: 0,
        }
    }

    /// A pod with two sidecars, `early` and `side`, whose main container is called `c`.
    fn running(is_deleted: bool) -> History {
        let side = |name: &str| json!({"name": name, "image": "image", "restartPolicy": "Always"});
        let sides = json!([side("early"), side("side")]);
        let mut pod = with(pod("a", "n", "Running"), "/spec/initContainers", sides);
        if is_deleted {
            pod["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:05Z");
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(10);
        }
        let history = History::of(|id| id == "K14").at(5).put("pods", pod);
        history.see(&started("side")).see(&started("c"))
    }

    #[test]
    fn a_sidecar_that_ends_before_what_it_serves_breaks_k14() {
        assert_eq!(
            running(true).see(&stopping("c")).see(&stopping("side")).broken(),
            ["K14"]
        );
        assert_eq!(running(true).see(&stopping("side")).broken(), ["K14"]);
        // It runs on with the pod.
        assert!(running(false).see(&stopping("side")).broken().is_empty());
        let ended = running(true).see(&stopping("c")).at(7).see(&ended("c"));
        assert!(ended.see(&stopping_within("side", 8)).broken().is_empty());
        // Its grace is over.
        let late = running(true).see(&stopping("c")).at(15);
        assert!(late.see(&stopping_within("side", 2)).broken().is_empty());
    }

    #[test]
    fn a_sidecar_that_ends_before_a_later_one_breaks_k14() {
        let main_ended = || {
            let history = running(true).see(&started("early")).see(&stopping("c"));
            history.at(6).see(&ended("c"))
        };
        assert_eq!(main_ended().see(&stopping_within("early", 9)).broken(), ["K14"]);
        let in_turn = main_ended().see(&stopping_within("side", 9)).at(7).see(&ended("side"));
        assert!(in_turn.see(&stopping_within("early", 8)).broken().is_empty());
    }

    #[test]
    fn a_sidecar_with_a_grace_of_its_own_breaks_k14() {
        let main_ended = || running(true).see(&stopping("c")).at(14).see(&ended("c"));
        assert_eq!(main_ended().see(&stopping("side")).broken(), ["K14"]);
        assert!(main_ended().see(&stopping_within("side", 2)).broken().is_empty());
        let struck = main_ended().struck_on("n").see(&stopping("side"));
        assert!(struck.broken().is_empty());
        // The runtime may not have heard of the main container's end.
        let unasked = |seconds| {
            running(true)
                .struck_on("n")
                .see(&stopping_within("side", seconds))
                .broken()
        };
        assert!(unasked(2).is_empty());
        assert_eq!(unasked(8), ["K14"]);
        let restarted = main_ended().see(&Seen::Started { process: "kubelet/n" });
        assert!(restarted.see(&stopping("side")).broken().is_empty());
    }
}
