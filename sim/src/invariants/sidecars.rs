//! K14: a sidecar of a pod that is deleted is asked to end only after the pod's main containers have ended.
//!
//! Judged when a kubelet asks a sidecar (an init container that always restarts) of such a pod to end: no main
//! container of the pod may run that has not been asked, or whose grace is not over. Source: Kubernetes' documentation,
//! "Sidecar Containers". That lets pass what is asked to end for another reason: with its sandbox, by a probe that may
//! have failed just then, for another image, or because the pod's time is over.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Invariant, Report};
use crate::model::{Cluster, Item, Seen};

/// See the module.
#[derive(Default)]
pub struct Sidecars {
    /// Containers that run in pods with init containers, by id.
    running: BTreeMap<String, Running>,
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

impl Sidecars {
    /// The main container that is still to end before the sidecar `id` may be asked to.
    fn outlived(&self, id: &str, cluster: &Cluster) -> Option<&str> {
        let own = self.running.get(id)?;
        let (pod, spec) = cluster.pod_by_uid(&own.pod_uid)?;
        let mut init = spec.init_containers.iter().flatten();
        let container = init.find(|container| container.name == own.name)?;
        let is_sidecar = container.restart_policy.as_deref() == Some("Always");
        let may_fail =
            container.liveness_probe.is_some() || (container.startup_probe.is_some() && !has_started(pod, id));
        let is_replaced = container.image.as_deref() != Some(&own.image);
        let is_over = pod.is_finished() || spec.active_deadline_seconds.is_some();
        if !is_sidecar || !pod.is_terminating() || may_fail || is_replaced || is_over {
            return None;
        }
        let is_main = |name: &str| spec.containers.iter().any(|main| main.name == name);
        let mut mains = self
            .running
            .values()
            .filter(|other| other.pod_uid == own.pod_uid && is_main(&other.name));
        let main = mains.find(|main| main.until.is_none_or(|until| until > cluster.now))?;
        Some(&main.name)
    }
}

impl Invariant for Sidecars {
    fn id(&self) -> &'static str {
        "K14"
    }

    fn statement(&self) -> &'static str {
        "A sidecar of a pod that is deleted is asked to end only after the main containers have ended."
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
                container,
                grace,
                ..
            } => {
                if let Some(main) = self.outlived(container, cluster).filter(|_| !grace.is_zero()) {
                    let own = &self.running[*container];
                    let message = format!(
                        "sidecar {} of the pod with uid {} is asked to end on {machine} while {main} runs",
                        own.name, own.pod_uid
                    );
                    report.broken(self.id(), message, &[&format!("kubelet/{machine}")]);
                }
                if let Some(own) = self.running.get_mut(*container) {
                    let until = cluster.now + *grace;
                    own.until = Some(own.until.map_or(until, |known| known.min(until)));
                }
            }
            Seen::ContainerEnded { container, .. } => {
                self.running.remove(*container);
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
        Seen::ContainerStopping {
            machine: "n",
            pod_uid: UID,
            container: name,
            grace: Duration::from_secs(10),
        }
    }

    /// A pod with a sidecar, whose main container is called `c`.
    fn running(is_deleted: bool) -> History {
        let side = json!([{"name": "side", "image": "image", "restartPolicy": "Always"}]);
        let mut pod = with(pod("a", "n", "Running"), "/spec/initContainers", side);
        if is_deleted {
            pod["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:05Z");
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
        let ended = running(true).see(&stopping("c")).at(7).see(&Seen::ContainerEnded {
            container: "c",
            code: 0,
        });
        assert!(ended.see(&stopping("side")).broken().is_empty());
        // Its grace is over.
        let late = running(true).see(&stopping("c")).at(15);
        assert!(late.see(&stopping("side")).broken().is_empty());
    }
}
