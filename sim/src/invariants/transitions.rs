//! K13: a condition's transition time is that of its status's last change.
//!
//! Judged at every write of a pod, a node or a Deployment. A status that changes must bring another time with it than
//! it had, unless that one is of just now: it may change twice within a second. A status that stays keeps its time;
//! once it may have changed and changed back between two writes, but not write after write, and not that of a pod
//! whose containers have neither begun, nor ended, nor fallen silent or answered again of late, nor since its kubelet
//! last told of them: a kubelet that starts again finds them as they were. Not judged: whatever is written while a clock
//! is wrong or, but for such pods, a fault in force that reaches the pod's node, or the node, or shortly after; what is
//! written shortly after a write that was long under way, since that brings an old status back; conditions without a
//! time.
//!
//! Source: the API's documentation of `lastTransitionTime`. Users read from it since when something is so, and
//! controllers count `minReadySeconds` from it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::statuses::statuses;
use super::{Invariant, MEMORY, Report};
use crate::model::{Asked, Cluster, Item, ObjectId, Seen};

/// A change this young may have been written late, after another within the same second.
const LATE: Duration = Duration::from_secs(60);
/// So many writes on end must not move the time of a status that stays.
const ON_END: u32 = 3;

/// See the module.
#[derive(Default)]
pub struct Transitions {
    /// By uid and type of condition: how many writes on end have moved its time alone.
    moved: BTreeMap<(String, String), u32>,
    /// When something last befell the containers of pods, and until when that shows, by the pods' uids.
    stirred: BTreeMap<String, (Duration, Duration)>,
    /// When pods' statuses last told something else of their containers than before, by uid.
    told: BTreeMap<String, Duration>,
    /// Whose containers those are, by id.
    owners: BTreeMap<String, String>,
    /// When a write began that had been under way for longer than [`LATE`], by what it is of.
    belated: BTreeMap<ObjectId, Duration>,
}

/// A condition: its type, its status, and since when.
type Condition<'a> = (&'a str, &'a str, Option<&'a Time>);

/// A list of conditions as what is judged of them: they are of another type for each kind.
macro_rules! conditions {
    ($status:expr) => {
        $status
            .and_then(|status| status.conditions.as_ref())
            .into_iter()
            .flatten()
            .map(|own| (&*own.type_, &*own.status, own.last_transition_time.as_ref()))
    };
}

fn conditions(item: &Item) -> Vec<Condition<'_>> {
    let pod = item.pod().and_then(|pod| pod.status.as_ref());
    let node = item.node().and_then(|node| node.status.as_ref());
    let deployment = item.deployment().and_then(|deployment| deployment.status.as_ref());
    let all = conditions!(pod).chain(conditions!(node));
    all.chain(conditions!(deployment)).collect()
}

/// Whether a fault, or its aftermath, may keep those from their work who write an object's status.
fn is_disturbed(item: &Item, cluster: &Cluster) -> bool {
    match &*item.id.resource {
        "pods" => cluster.is_disturbed_on(item.node_name(), MEMORY),
        "nodes" => cluster.is_disturbed_on(&item.id.name, MEMORY),
        // What all nodes do shows in it.
        _ => cluster.is_disturbed(MEMORY),
    }
}

impl Transitions {
    /// Takes in what befalls containers.
    fn stir(&mut self, seen: &Seen<'_>, now: Duration) {
        let (container, until) = match seen {
            Seen::ContainerStarted {
                pod_uid,
                container,
                answers,
                ..
            } => {
                self.owners.insert((*container).to_owned(), (*pod_uid).to_owned());
                (*container, now + *answers)
            }
            Seen::ContainerSilent { container, .. } | Seen::ContainerEnded { container, .. } => (*container, now),
            _ => return,
        };
        if let Some(uid) = self.owners.get(container) {
            self.stirred.insert(uid.clone(), (now, until));
        }
        if matches!(seen, Seen::ContainerEnded { .. }) {
            self.owners.remove(container);
        }
    }

    /// Takes in that a write begins.
    fn begun(&mut self, asked: &Asked, now: Duration) {
        if let Some(path) = asked.path.as_ref().filter(|_| asked.at + LATE < now) {
            self.belated.retain(|_, at| *at + LATE > now);
            self.belated.insert(path.id(), now);
        }
    }

    /// Whether an object may have got an old status back of late.
    fn is_behind(&self, id: &ObjectId, now: Duration) -> bool {
        self.belated.get(id).is_some_and(|at| *at + LATE > now)
    }

    /// Whether nothing has befallen the pod's containers for so long that its status must be as it was.
    fn is_steady(&self, pod: &Item, cluster: &Cluster) -> bool {
        let gates = pod.pod().and_then(|pod| pod.spec.as_ref()?.readiness_gates.as_ref());
        let (stirred, told) = (self.stirred.get(pod.uid()), self.told.get(pod.uid()));
        let is_told = |(at, until): (&(Duration, Duration), &Duration)| at.0 <= *until && at.1 + LATE < cluster.now;
        gates.is_none() && stirred.zip(told).is_some_and(is_told)
    }

    /// What is wrong with how `after` follows `before`, both of the object with this uid.
    fn wrong(&mut self, item: &Item, before: Condition<'_>, after: Condition<'_>, cluster: &Cluster) -> Option<String> {
        let (kind, was, since) = before;
        let (_, is, now) = after;
        let key = || (item.uid().to_owned(), kind.to_owned());
        let is_calm = !is_disturbed(item, cluster);
        if was != is {
            self.moved.remove(&key());
            let at = cluster.moment(now?.0);
            return (is_calm && since == now && at + LATE < cluster.now)
                .then(|| format!("says that {kind} is {is} since {at:?}, when it became {was}"));
        }
        if since == now {
            self.moved.remove(&key());
            return None;
        }
        let moved = self.moved.entry(key()).or_default();
        *moved += 1;
        let moved = *moved;
        let is_of_containers = matches!(kind, "Ready" | "ContainersReady") && self.is_steady(item, cluster);
        ((is_calm && moved >= ON_END) || is_of_containers)
            .then(|| format!("says for the {moved}. time on end that {kind} has only now become {is}"))
    }
}

impl Invariant for Transitions {
    fn id(&self) -> &'static str {
        "K13"
    }

    fn statement(&self) -> &'static str {
        "A condition's transition time is that of its status's last change."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        self.stir(seen, cluster.now);
        if let Seen::Begun { asked, .. } = seen {
            self.begun(asked, cluster.now);
        }
        let Seen::Change(change) = seen else { return };
        if !matches!(&*change.id.resource, "pods" | "nodes" | "deployments.apps") {
            return;
        }
        let Some(before) = &change.before else { return };
        let after = change.after.as_ref().filter(|after| after.uid() == before.uid());
        let Some(after) = after else {
            let uid = before.uid().to_owned();
            self.stirred.remove(&uid);
            self.told.remove(&uid);
            let own = self.moved.range((uid.clone(), String::new())..);
            let own: Vec<_> = own
                .take_while(|((of, _), _)| *of == uid)
                .map(|(key, _)| key.clone())
                .collect();
            for key in own {
                self.moved.remove(&key);
            }
            return;
        };
        let known = conditions(before);
        for own in conditions(after) {
            let Some(was) = known.iter().find(|was| was.0 == own.0) else {
                continue;
            };
            if let Some(wrong) = self.wrong(after, *was, own, cluster)
                && !cluster.is_clock_wrong(MEMORY)
                && !self.is_behind(&change.id, cluster.now)
            {
                let message = format!(
                    "{} (uid {}) {wrong}, at revision {}",
                    change.id,
                    after.uid(),
                    change.revision
                );
                report.broken(self.id(), message, &["kubelet", "controller-manager"]);
            }
        }
        if after.pod().is_some() && !statuses(before).eq(statuses(after)) {
            self.told.insert(after.uid().to_owned(), cluster.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::contract_tests::with;
    use super::super::kubelet_tests::starts;
    use super::super::tests::{History, asked, pod};
    use super::*;

    /// Writes of a pod, each with the moment at which it comes, its status and the second since when.
    fn written(writes: &[(u64, &str, i64)]) -> Vec<&'static str> {
        written_after(|history| history, writes)
    }

    /// The same after whatever `first` is.
    fn written_after(first: fn(History) -> History, writes: &[(u64, &str, i64)]) -> Vec<&'static str> {
        let mut history = first(History::of(|id| id == "K13"));
        for (at, status, since) in writes {
            let since = k8s_openapi::jiff::Timestamp::from_second(*since).unwrap().to_string();
            let conditions = json!([{"type": "Ready", "status": status, "lastTransitionTime": since}]);
            history = history
                .at(*at)
                .put("pods", with(pod("a", "n", "Running"), "/status/conditions", conditions));
        }
        history.broken()
    }

    #[test]
    fn a_status_that_changes_without_its_time_breaks_k13() {
        assert!(written(&[(1, "False", 1), (100, "True", 100)]).is_empty());
        assert_eq!(written(&[(1, "False", 1), (100, "True", 1)]), ["K13"]);
        // Twice within a second.
        assert!(written(&[(1, "False", 1), (2, "True", 1)]).is_empty());
        // The kubelet may have been kept from writing, unless it is another's.
        let late = [(1, "False", 1), (100, "True", 1)];
        assert!(written_after(|history| history.struck_on("n"), &late).is_empty());
        assert_eq!(written_after(|history| history.struck_on("m"), &late), ["K13"]);
    }

    /// A status that was sent at second `sent` comes at second 99.
    fn comes_late(history: History, sent: u64) -> History {
        let status = "/api/v1/namespaces/default/pods/a/status";
        let asked = Asked {
            at: Duration::from_secs(sent),
            ..asked("kubelet/n", http::Method::PATCH, status)
        };
        history.at(99).see(&Seen::Begun {
            execution: 1,
            asked: &asked,
        })
    }

    #[test]
    fn what_a_status_that_comes_late_brings_back_does_not_break_k13() {
        let writes = [(100, "False", 1), (120, "True", 1)];
        assert!(written_after(|history| comes_late(history, 2), &writes).is_empty());
        assert_eq!(written_after(|history| comes_late(history, 98), &writes), ["K13"]);
    }

    #[test]
    fn a_time_that_moves_with_each_write_breaks_k13() {
        assert_eq!(
            written(&[(1, "True", 1), (10, "True", 10), (20, "True", 20), (30, "True", 30)]),
            ["K13"]
        );
        // It changed back and forth between two writes.
        assert!(
            written(&[
                (1, "True", 1),
                (10, "True", 10),
                (20, "True", 10),
                (30, "True", 30),
                (40, "True", 30)
            ])
            .is_empty()
        );
    }

    #[test]
    fn a_pod_whose_containers_run_on_keeps_its_times_whatever_befalls_its_kubelet() {
        let ready = |since: i64, restarts: i32| {
            let since = k8s_openapi::jiff::Timestamp::from_second(since).unwrap().to_string();
            let conditions = json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]);
            let pod = with(pod("a", "n", "Running"), "/status/conditions", conditions);
            with(
                pod,
                "/status/containerStatuses",
                json!([{"name": "c", "restartCount": restarts}]),
            )
        };
        let began = || {
            let history = History::of(|id| id == "K13").struck();
            history.put("pods", ready(1, 0)).see(&starts("s1", "c1", "c", 0))
        };
        let told = || began().put("pods", ready(1, 1));
        let moved = |at: u64| told().at(at).put("pods", ready(at as i64, 1)).broken();
        // What was not told yet may have changed twice.
        assert!(began().at(200).put("pods", ready(200, 1)).broken().is_empty());
        assert_eq!(moved(200), ["K13"]);
        assert!(moved(20).is_empty());
    }
}
