//! Q6: why a pod fits nowhere is said in its status as in its events.
//!
//! Judged when the scheduler tells by an event `FailedScheduling` why a pod fits nowhere: soon the pod's condition
//! `PodScheduled` must say the same, unless it says something newer, or the pod has a node or goes ([pod
//! conditions](https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-conditions)). Not judged: what a
//! single try to bind ran into, which is no matter of the status; and whatever is told near a fault that
//! may disturb the scheduler.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Event;

use super::{Invariant, MEMORY, Report};
use crate::model::{Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// How the message of an event begins that tells of a try to bind.
const TRY: &str = "binding rejected: ";

/// See the module.
#[derive(Default)]
pub struct WhyUnschedulable {
    /// What pods are to say, and until when, by uid.
    told: BTreeMap<String, Told>,
    /// When pods last changed what they say, by uid, as long as they have no node.
    changed: BTreeMap<String, Duration>,
}

struct Told {
    pod: String,
    message: String,
    until: Duration,
}

/// Why a pod fits nowhere, as it says.
fn said(pod: &Item) -> Option<&str> {
    let status = pod.pod().and_then(|pod| pod.status.as_ref());
    let mut conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
    let said = conditions.find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    said?.message.as_deref()
}

/// Whether nothing is to be heard of a pod that fits nowhere.
fn is_settled(pod: &Item) -> bool {
    !pod.node_name().is_empty() || pod.is_terminating()
}

impl WhyUnschedulable {
    fn hear(&mut self, event: &Item, cluster: &Cluster) {
        let Some(event) = event.read::<Event>() else { return };
        let message = event.message.unwrap_or_default();
        if event.reason.as_deref() != Some("FailedScheduling") || message.starts_with(TRY) {
            return;
        }
        let last = event.last_timestamp.map(|time| cluster.moment(time.0));
        let about = event.involved_object;
        let (Some(namespace), Some(name), Some(uid)) = (about.namespace, about.name, about.uid) else {
            return;
        };
        let pod = cluster.find("pods", &namespace, &name).filter(|pod| pod.uid() == uid);
        // An event may be written after a newer one, and after what the pod says by then.
        let is_old = |uid: &str| {
            last.zip(self.changed.get(uid))
                .is_some_and(|(last, changed)| last < *changed)
        };
        match pod.filter(|pod| !is_settled(pod) && said(pod) != Some(&message) && !is_old(&uid)) {
            None => self.told.remove(&uid),
            Some(pod) => self.told.insert(
                uid,
                Told {
                    pod: pod.id.to_string(),
                    message,
                    until: cluster.now + cluster.lag(Role::Scheduler),
                },
            ),
        };
    }

    fn look(&mut self, change: &Change, now: Duration) {
        let Some(pod) = change.newest() else { return };
        if change.after.is_none() || is_settled(pod) {
            self.told.remove(pod.uid());
            self.changed.remove(pod.uid());
        } else if said(pod) != change.before.as_ref().and_then(|before| said(before)) {
            self.told.remove(pod.uid());
            self.changed.insert(pod.uid().to_owned(), now);
        }
    }
}

impl Invariant for WhyUnschedulable {
    fn id(&self) -> &'static str {
        "Q6"
    }

    fn statement(&self) -> &'static str {
        "Why a pod fits nowhere is said in its status as in its events."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        match &*change.id.resource {
            "pods" => self.look(change, cluster.now),
            "events" => {
                if let Some(event) = &change.after {
                    self.hear(event, cluster);
                }
            }
            _ => {}
        }
        if self.told.is_empty() {
            return;
        }
        if cluster.is_disturbed_everywhere(MEMORY) {
            self.told.clear();
        }
        let id = self.id();
        self.told.retain(|_, told| {
            let waits = told.until >= cluster.now;
            if !waits {
                let message = format!("{} does not say what its events tell: {}", told.pod, told.message);
                report.broken(id, message, &["scheduler"]);
            }
            waits
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::contract_tests::with;
    use super::super::tests::{History, node, pod};

    fn event(message: &str) -> Value {
        json!({"metadata": {"name": "web.1", "namespace": "default", "uid": "e"}, "reason": "FailedScheduling",
            "message": message, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "web", "uid": "uid-web"}})
    }

    fn saying(message: &str) -> Value {
        let conditions = json!([{"type": "PodScheduled", "status": "False", "message": message}]);
        with(pod("web", "", "Pending"), "/status/conditions", conditions)
    }

    fn told(message: &str) -> History {
        let first = History::of(|id| id == "Q6").at(100).put("pods", saying("no room"));
        first.put("events", event(message))
    }

    fn later(history: History) -> History {
        history.at(200).put("nodes", node("n"))
    }

    #[test]
    fn a_pod_whose_status_keeps_an_old_reason_breaks_q6() {
        assert!(later(told("no room")).broken().is_empty());
        assert!(later(told("binding rejected: too late")).broken().is_empty());
        assert_eq!(later(told("no such node")).broken(), ["Q6"]);
        assert!(
            later(told("no such node").put("pods", saying("no such node")))
                .broken()
                .is_empty()
        );
    }

    #[test]
    fn an_event_that_is_written_after_a_newer_reason_does_not_break_q6() {
        let late = |told_at: &str| {
            let mut event = event("no such node");
            event["lastTimestamp"] = json!(told_at);
            let history = History::of(|id| id == "Q6").at(10).put("pods", saying("too small"));
            let newer = history.at(100).put("pods", saying("no room"));
            later(newer.at(101).put("events", event)).broken()
        };
        assert!(late("1970-01-01T00:01:30Z").is_empty());
        assert_eq!(late("1970-01-01T00:01:41Z"), ["Q6"]);
    }

    #[test]
    fn a_pod_that_has_a_node_or_is_gone_need_not_say_why() {
        let bound = told("no such node").put("pods", pod("web", "n", "Pending"));
        assert!(later(bound).broken().is_empty());
        let gone = told("no such node").delete("pods", &saying("no room"));
        assert!(later(gone).broken().is_empty());
    }
}
