//! P10: a replica set that shrinks gives up pods that are not ready before ready ones, and of ready ones the cheaper.
//!
//! Judged when the controller manager asks to delete a ready pod of a set in whatever state it may be, which only a set
//! that shrinks does: no other pod of the set that it keeps may have been not ready for longer than its picture may be
//! old. Source: "Scaling a ReplicaSet" in Kubernetes' documentation. That lets pass: pods that became ready or unready
//! lately, others whose deletion has been asked for as well, sets that shrank to nothing lately (their pods go in any
//! order), and sets and namespaces that go themselves. Of two pods that have been ready for so long, the one given up
//! may not be the dearer by the annotation for that ("Pod deletion cost", in the documentation of ReplicaSet), unless a
//! cost changed lately. Not judged: the order among pods that are equally ready and dear.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Invariant, Report};
use crate::model::{Asked, Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// The annotation by which a pod says how dear its deletion is; unset means 0, lower goes first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// See the module.
#[derive(Default)]
pub struct Shrinking {
    /// The pods that live, by uid: whether they are ready, and since when.
    ready: BTreeMap<String, (bool, Duration)>,
    /// What the deletion of the pods that live costs, by uid, and since when.
    costs: BTreeMap<String, (i32, Duration)>,
    /// The uids of pods whose deletion the controller manager has asked for.
    given_up: BTreeSet<String>,
    /// By uid of a set: until when it wanted no pods at all, or still.
    empty: BTreeMap<String, Option<Duration>>,
}

fn deletion_cost(pod: &Item) -> i32 {
    let annotations = pod.meta.annotations.as_ref();
    let cost = annotations.and_then(|annotations| annotations.get(DELETION_COST));
    cost.and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

fn is_empty(set: &Item) -> bool {
    let spec = set.replica_set().and_then(|set| set.spec.as_ref());
    spec.and_then(|spec| spec.replicas) == Some(0)
}

impl Invariant for Shrinking {
    fn id(&self) -> &'static str {
        "P10"
    }

    fn statement(&self) -> &'static str {
        "A replica set that shrinks gives up pods that are not ready before ready ones, and of these the cheaper ones first."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Change(change) => match &*change.id.resource {
                "pods" => self.remember_pod(change, cluster.now),
                "replicasets.apps" => self.remember_set(change, cluster.now),
                _ => {}
            },
            Seen::Asked(asked) => self.judge(asked, cluster, report),
            _ => {}
        }
    }
}

impl Shrinking {
    fn remember_pod(&mut self, change: &Change, now: Duration) {
        let before = change.before.as_ref();
        if let Some(gone) =
            before.filter(|before| change.after.as_ref().is_none_or(|after| after.uid() != before.uid()))
        {
            self.ready.remove(gone.uid());
            self.costs.remove(gone.uid());
            self.given_up.remove(gone.uid());
        }
        let Some(after) = &change.after else { return };
        if !after.is_live_pod() {
            self.ready.remove(after.uid());
            self.costs.remove(after.uid());
            return;
        }
        let cost = deletion_cost(after);
        let known = self.costs.get(after.uid()).filter(|known| known.0 == cost);
        let since = known.map_or(now, |known| known.1);
        self.costs.insert(after.uid().to_owned(), (cost, since));
        // One that gets another owner begins anew: that its new one is not ready is news as well.
        let is_same = before.is_some_and(|before| before.controller_uid() == after.controller_uid());
        let ready = after.condition("Ready");
        let known = self.ready.get(after.uid()).filter(|known| is_same && known.0 == ready);
        let since = known.map_or(now, |known| known.1);
        self.ready.insert(after.uid().to_owned(), (ready, since));
    }

    fn remember_set(&mut self, change: &Change, now: Duration) {
        match (&change.before, &change.after) {
            (_, Some(set)) if is_empty(set) => {
                self.empty.insert(set.uid().to_owned(), None);
            }
            (_, Some(set)) => {
                if let Some(until) = self.empty.get_mut(set.uid()) {
                    until.get_or_insert(now);
                }
            }
            (Some(set), None) => {
                self.empty.remove(set.uid());
            }
            (None, None) => {}
        }
    }

    fn judge(&mut self, asked: &Asked, cluster: &Cluster, report: &mut Report) {
        let Some(path) = asked.path.as_ref().filter(|path| &*path.resource == "pods") else {
            return;
        };
        if asked.method != http::Method::DELETE || !asked.client.starts_with("controller-manager") {
            return;
        }
        let Some(uid) = &asked.uid else { return };
        self.given_up.insert(uid.clone());
        // Who deletes a pod for what it is names its state, or leaves it no time.
        if asked.base.is_some() || asked.grace.is_some() {
            return;
        }
        let Some(pod) = cluster.get(&path.id()).filter(|pod| pod.uid() == uid) else {
            return;
        };
        let namespace = cluster.find("namespaces", "", &pod.id.namespace);
        let Some(set) = pod.controller_uid().and_then(|uid| cluster.by_uid(uid)) else {
            return;
        };
        if set.replica_set().is_none() || set.is_terminating() || namespace.is_none_or(|own| own.is_terminating()) {
            return;
        }
        let lag = cluster.lag(Role::ControllerManager);
        let is_old = |since: Duration| since + lag < cluster.now;
        let empty = self.empty.get(set.uid());
        if empty.is_some_and(|until| until.is_none_or(|until| !is_old(until))) {
            return;
        }
        let has_been = |pod: &Item, wanted| {
            let known = self.ready.get(pod.uid());
            known.is_some_and(|(ready, since)| *ready == wanted && is_old(*since))
        };
        if !has_been(pod, true) {
            return;
        }
        let cost = |pod: &Item| {
            let known = self.costs.get(pod.uid());
            known.filter(|(_, since)| is_old(*since)).map(|(cost, _)| *cost)
        };
        let price = cost(pod);
        let is_cheaper = |own: &Item| has_been(own, true) && cost(own).zip(price).is_some_and(|(own, of)| own < of);
        let mut complain = |is_better: &dyn Fn(&Item) -> bool, what: &str, other: &str| {
            let mut others = cluster.owned(set.uid());
            if let Some(kept) = others.find(|own| is_better(own) && !self.given_up.contains(own.uid())) {
                let message = format!(
                    "{} gives up {} (uid {uid}) of {}, which {what}, and keeps {} (uid {}), which is {other}",
                    asked.client,
                    pod.id,
                    set.id,
                    kept.id,
                    kept.uid()
                );
                report.broken(self.id(), message, &[&asked.client]);
            }
        };
        complain(&|own| has_been(own, false), "is ready", "not");
        if let Some(price) = price {
            complain(&is_cheaper, &format!("costs {price}"), "cheaper");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::contract_tests::{namespace, with};
    use super::super::tests::{History, POD, asked, owned, pod, set};
    use super::DELETION_COST;
    use crate::model::{Asked, Seen};

    fn ready(name: &str, cost: &str) -> Value {
        let pod = owned(pod(name, "n", "Running"), "ReplicaSet", "rs");
        let pod = with(pod, "/status/conditions", json!([{"type": "Ready", "status": "True"}]));
        with(pod, "/metadata/annotations", json!({DELETION_COST: cost}))
    }

    /// The controller manager asks to delete the pod `a`, which costs 5, of a set that has another, which costs
    /// `first`, and since second 58 `last`.
    fn gives_up(first: &str, last: &str, agreed: &[&str]) -> Vec<&'static str> {
        let delete = |name: &str| Asked {
            uid: Some(format!("uid-{name}")),
            ..asked(
                "controller-manager/1",
                http::Method::DELETE,
                &POD.replace("/pods/a", &format!("/pods/{name}")),
            )
        };
        let history = History::of(|id| id == "P10")
            .put("namespaces", namespace())
            .put("replicasets.apps", set("rs", 1))
            .at(1)
            .put("pods", ready("a", "5"))
            .put("pods", ready("b", first))
            .at(58)
            .put("pods", ready("b", last))
            .at(60);
        let names = agreed.iter().chain(&["a"]);
        names
            .fold(history, |history, name| history.see(&Seen::Asked(&delete(name))))
            .broken()
    }

    #[test]
    fn a_dear_pod_that_is_given_up_before_a_cheap_one_breaks_p10() {
        assert_eq!(gives_up("-1", "-1", &[]), ["P10"]);
        for cost in ["5", "6"] {
            assert!(gives_up(cost, cost, &[]).is_empty(), "{cost}");
        }
        assert!(gives_up("9", "-1", &[]).is_empty(), "it is cheap since just now");
        assert!(gives_up("-1", "-1", &["b"]).is_empty(), "both go");
    }
}
