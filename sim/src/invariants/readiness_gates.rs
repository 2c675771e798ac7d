//! K11: a pod is shown ready only while its containers are ready and its readiness gates are open.
//!
//! Judged over a pod's status alone, when a write makes it say `Ready` although it shows a container that is not ready,
//! `ContainersReady` as false, or a gate whose condition is not true (the documentation of `readinessGates`). Gates are
//! opened and closed by others than the kubelet, and its patches say only what changed for it. So it passes if in the
//! history the containers and the gates were each fit within the kubelet's lag, and the time that a lost write takes, if
//! not both at once: a gate may have been closed while a container was not ready. Not judged: containers that the status
//! does not show, init containers that end, pods that have ended, and `Ready` that is not taken back in time (convergence
//! does).

use std::collections::BTreeMap;
use std::time::Duration;

use orrery_play::convergence::{closed_gate, unready_container};

use super::{Invariant, Report, UNANSWERED};
use crate::model::{Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// What may keep a pod from being ready, and who hears of it at another time.
struct Hindrance {
    /// What it is, if there is such.
    of: fn(&Item) -> Option<String>,
    /// Whether the pod says so much of itself that one would be known.
    is_known: fn(&Item) -> bool,
}

const HINDRANCES: [Hindrance; 2] = [
    Hindrance {
        of: unready_container,
        is_known: shows_containers,
    },
    Hindrance {
        of: closed_gate,
        is_known: |_| true,
    },
];

impl Hindrance {
    /// Whether there is none, as far as the pod shows.
    fn lets_pass(&self, item: &Item) -> bool {
        (self.is_known)(item) && (self.of)(item).is_none()
    }
}

fn shows_containers(item: &Item) -> bool {
    let status = item.pod().and_then(|pod| pod.status.as_ref());
    status.is_some_and(|status| status.container_statuses.iter().flatten().next().is_some())
}

/// See the module.
#[derive(Default)]
pub struct ReadinessGates {
    /// Until when nothing of each kind last kept a pod from being ready, by its uid.
    fit_until: BTreeMap<String, [Option<Duration>; HINDRANCES.len()]>,
}

impl Invariant for ReadinessGates {
    fn id(&self) -> &'static str {
        "K11"
    }

    fn statement(&self) -> &'static str {
        "A pod is shown ready only while its containers are ready and its readiness gates are open."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        if &*change.id.resource == "pods" {
            self.judge(change, cluster, report);
        }
    }
}

impl ReadinessGates {
    fn judge(&mut self, change: &Change, cluster: &Cluster, report: &mut Report) {
        let Some(after) = &change.after else {
            if let Some(before) = &change.before {
                self.fit_until.remove(before.uid());
            }
            return;
        };
        let before = change.before.as_ref().filter(|before| before.uid() == after.uid());
        let known = self.fit_until.entry(after.uid().to_owned()).or_default();
        for (hindrance, until) in HINDRANCES.iter().zip(known.iter_mut()) {
            if (hindrance.of)(after).is_some() && before.is_some_and(|before| hindrance.lets_pass(before)) {
                *until = Some(cluster.now);
            }
        }
        let wrong = |item: &Item| item.condition("Ready") && !item.is_finished();
        if !wrong(after) || before.is_some_and(|before| wrong(before)) {
            return;
        }
        // A status whose write was lost is written again, and its kubelet may be busy with the pod meanwhile.
        let lag = cluster.lag(Role::Kubelet) + UNANSWERED;
        let unfit = HINDRANCES.iter().zip(known).find_map(|(hindrance, until)| {
            let is_excused = until.is_some_and(|until| until + lag >= cluster.now);
            (hindrance.of)(after).filter(|_| !is_excused)
        });
        if let Some(why) = unfit {
            let message = format!(
                "{} (uid {}) is shown ready at revision {}, but {why}",
                change.id,
                after.uid(),
                change.revision
            );
            report.broken(self.id(), message, &[&format!("kubelet/{}", after.node_name())]);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{History, pod};

    fn history() -> History {
        History::of(|id| id == "K11")
    }

    /// A pod with a gate and a container.
    fn gated(shown: &str, gate: &str, container: bool) -> Value {
        let mut pod = pod("a", "n", "Running");
        pod["spec"]["readinessGates"] = json!([{"conditionType": "g"}]);
        pod["status"]["conditions"] = json!([{"type": "Ready", "status": shown}, {"type": "g", "status": gate}]);
        pod["status"]["containerStatuses"] =
            json!([{"name": "c", "ready": container, "image": "", "imageID": "", "restartCount": 0}]);
        pod
    }

    #[test]
    fn a_pod_that_is_shown_ready_with_a_closed_gate_or_an_unready_container_breaks_k11() {
        let shown = |pod: Value| {
            history()
                .put("pods", gated("False", "False", false))
                .at(100)
                .put("pods", pod)
        };
        assert_eq!(shown(gated("True", "False", true)).broken(), ["K11"]);
        assert_eq!(shown(gated("True", "True", false)).broken(), ["K11"]);
        assert!(shown(gated("True", "True", true)).broken().is_empty());
        // A sidecar counts, and an init container that ends does not.
        let starting = |policy: Value| {
            let mut pod = gated("True", "True", true);
            pod["spec"]["initContainers"] = json!([{"name": "s", "image": "s:1", "restartPolicy": policy}]);
            pod["status"]["initContainerStatuses"] =
                json!([{"name": "s", "ready": false, "image": "", "imageID": "", "restartCount": 0}]);
            shown(pod).broken()
        };
        assert_eq!(starting(json!("Always")), ["K11"]);
        assert!(starting(Value::Null).is_empty());
        // One whose containers were not shown yet was not ready either.
        let mut unborn = gated("False", "True", false);
        unborn["status"]["containerStatuses"] = json!([]);
        let born = history()
            .put("pods", unborn)
            .at(100)
            .put("pods", gated("False", "True", false));
        assert_eq!(born.put("pods", gated("True", "True", false)).broken(), ["K11"]);
        let mut unset = gated("True", "False", true);
        unset["status"]["conditions"].as_array_mut().unwrap().pop();
        assert_eq!(shown(unset).broken(), ["K11"]);
    }

    #[test]
    fn a_gate_that_closes_behind_the_kubelets_back_does_not_break_k11() {
        let open = || history().at(100).put("pods", gated("True", "True", true));
        // It is ready until its kubelet hears of it.
        assert!(
            open()
                .at(200)
                .put("pods", gated("True", "False", true))
                .broken()
                .is_empty()
        );
        let crossed = |seconds| {
            let closed = open().at(100).put("pods", gated("False", "True", true));
            let closed = closed.at(200).put("pods", gated("False", "False", true));
            closed.at(seconds).put("pods", gated("True", "False", true)).broken()
        };
        assert!(crossed(205).is_empty());
        // The first write was lost.
        assert!(crossed(235).is_empty());
        assert_eq!(crossed(250), ["K11"]);
        // It closes while a container is not ready, which then is.
        let meanwhile = |seconds| {
            let closed = open().put("pods", gated("False", "True", false)).at(200);
            let closed = closed.put("pods", gated("False", "False", false)).at(seconds);
            closed.put("pods", gated("True", "False", true)).broken()
        };
        assert!(meanwhile(205).is_empty());
        assert_eq!(meanwhile(250), ["K11"]);
    }
}
