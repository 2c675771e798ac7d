//! Q5: a pod is bound beside no other that it, or the other, keeps away from, and no more unevenly than it asks for.
//!
//! Checked at the write that binds a pod: required anti-affinity, its own and that of who is there, and its topology
//! spread constraints that forbid (`DoNotSchedule`), over the pods that are bound and have not finished; whoever is
//! being deleted counts for the first, and not for the second. Bindings overtake each other, so that what looks uneven
//! is held against the scheduler only when no others came within its lag to make it even; and pods that went within
//! that time may still have counted where there were few. Not judged: anti-affinity shortly after a fault held the
//! scheduler up, and evenness near any fault; what is bound shortly after nodes came, went or got other labels, or pods
//! got other labels or were made on a node; evenness while pods go that have no node yet; constraints and terms that
//! choose among nodes, namespaces or labels by more than a selector or a list of names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use orrery_api::labels::Selector;

use super::{Invariant, MEMORY, Report};
use crate::model::{Change, Cluster, Item, ObjectId, Seen, selects};
use crate::scenario::Role;

/// See the module.
#[derive(Default)]
pub struct Company {
    /// When nodes, or whom a selector means, last changed.
    moved: Option<Duration>,
    /// The pods with required anti-affinity among those that are there.
    apart: BTreeSet<ObjectId>,
    /// Pods that ceased to count for constraints, as they were, and when.
    left: Vec<(Duration, Arc<Item>)>,
    /// What looks uneven, in the order of time.
    suspicions: VecDeque<Suspicion>,
}

/// A binding that would be wrong if none of those that are on their way makes it right.
struct Suspicion {
    /// Who is on the way arrives until then.
    until: Duration,
    namespace: String,
    constraint: TopologySpreadConstraint,
    /// How many there are in the pod's domain.
    here: i64,
    /// By domain: how many there may have been when it was decided.
    most: BTreeMap<String, i64>,
    message: String,
}

impl Suspicion {
    fn is_uneven(&self) -> bool {
        let least = self.most.values().min().copied().unwrap_or(self.here);
        self.here - least > i64::from(self.constraint.max_skew)
    }

    fn means(&self, other: &Item) -> bool {
        is_spread(&self.constraint, &self.namespace, other)
    }
}

/// Whether a bound pod counts for topology spread constraints.
fn counts(pod: &Item) -> bool {
    is_there(pod) && !pod.is_terminating()
}

/// Whether a pod counts for affinity and anti-affinity.
pub(super) fn is_there(pod: &Item) -> bool {
    !pod.node_name().is_empty() && !pod.is_finished()
}

/// Whether a selector of labels selects `other`. None selects nothing.
fn means(selector: Option<&LabelSelector>, other: &Item) -> bool {
    let selector = selector.and_then(|selector| Selector::from_label_selector(selector).ok());
    selector.is_some_and(|selector| selects(&selector, other))
}

/// Whether a constraint of a pod in `namespace` is about `other`, too.
fn is_spread(constraint: &TopologySpreadConstraint, namespace: &str, other: &Item) -> bool {
    other.id.namespace == namespace && means(constraint.label_selector.as_ref(), other)
}

/// Whether a term of `pod` means `other`, in the namespaces that it lists or else in the pod's own.
pub(super) fn is_meant(term: &PodAffinityTerm, pod: &Item, other: &Item) -> bool {
    let namespace = &other.id.namespace;
    let is_within = match term.namespaces.as_deref() {
        None | Some([]) => *namespace == pod.id.namespace,
        Some(listed) => listed.contains(namespace),
    };
    is_within && means(term.label_selector.as_ref(), other)
}

/// The terms of a pod's required anti-affinity.
fn anti_affinity(pod: &Pod) -> impl Iterator<Item = &PodAffinityTerm> {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let anti = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    let terms = anti.and_then(|anti| anti.required_during_scheduling_ignored_during_execution.as_ref());
    terms.into_iter().flatten().filter(|term| is_plain(term))
}

/// Whether a term chooses by a selector of labels and a list of namespaces, and by nothing else.
pub(super) fn is_plain(term: &PodAffinityTerm) -> bool {
    term.namespace_selector.is_none() && term.match_label_keys.is_none() && term.mismatch_label_keys.is_none()
}

/// Whether a node came, goes or got other labels, or a pod got other labels or was made on a node: the scheduler may not
/// know of it for a while.
pub(super) fn moves_company(change: &Change) -> bool {
    let (before, after) = (change.before.as_ref(), change.after.as_ref());
    let is_relabelled = || before.map(|item| &item.meta.labels) != after.map(|item| &item.meta.labels);
    let goes = || before.is_some_and(|item| item.is_terminating()) != after.is_some_and(|item| item.is_terminating());
    match &*change.id.resource {
        "nodes" => is_relabelled() || goes(),
        "pods" => match (before, after) {
            (None, Some(after)) => !after.node_name().is_empty(),
            (Some(_), Some(_)) => is_relabelled(),
            (_, None) => false,
        },
        _ => false,
    }
}

/// Whether a pod has a term of required anti-affinity.
fn has_anti_affinity(pod: &Item) -> bool {
    pod.pod().is_some_and(|pod| anti_affinity(pod).next().is_some())
}

/// The constraints that forbid, of a pod that may go to every node.
fn constraints(pod: &Pod) -> impl Iterator<Item = &TopologySpreadConstraint> {
    let spec = pod.spec.iter().filter(|spec| {
        let affinity = spec.affinity.as_ref();
        spec.node_selector.is_none() && affinity.is_none_or(|affinity| affinity.node_affinity.is_none())
    });
    let all = spec.flat_map(|spec| spec.topology_spread_constraints.iter().flatten());
    all.filter(|one| {
        let plain = one.match_label_keys.is_none() && one.min_domains.is_none();
        plain && one.node_taints_policy.is_none() && one.when_unsatisfiable == "DoNotSchedule"
    })
}

/// The pod that a write binds, if it does.
pub(super) fn newly_bound(change: &Change) -> Option<&Arc<Item>> {
    let (before, after) = (change.before.as_ref()?, change.after.as_ref()?);
    let is_bound = after.pod().is_some() && before.node_name().is_empty() && !after.node_name().is_empty();
    is_bound.then_some(after)
}

/// How a report begins that is about the binding of `pod` by a write.
pub(super) fn told(change: &Change, pod: &Item) -> String {
    format!(
        "{} (uid {}) was bound at revision {} to {}",
        change.id,
        pod.uid(),
        change.revision,
        pod.node_name()
    )
}

/// The value that a node, unless it goes, has of a label.
pub(super) fn domain<'a>(cluster: &'a Cluster, node: &str, key: &str) -> Option<&'a str> {
    let node = cluster.find("nodes", "", node)?;
    node.label(key).filter(|_| !node.is_terminating())
}

impl Company {
    /// Takes in what may be news to the scheduler.
    fn note(&mut self, change: &Change, now: Duration) {
        if moves_company(change) {
            self.moved = Some(now);
        }
        if &*change.id.resource != "pods" {
            return;
        }
        let (before, after) = (change.before.as_ref(), change.after.as_ref());
        let counted = before.filter(|before| counts(before));
        if let Some(before) = counted.filter(|_| !after.is_some_and(|after| counts(after))) {
            self.left.retain(|(at, _)| *at + MEMORY > now);
            self.left.push((now, before.clone()));
        }
        if after.is_some_and(|after| is_there(after) && has_anti_affinity(after)) {
            self.apart.insert(change.id.clone());
        } else {
            self.apart.remove(&change.id);
        }
    }

    /// What is suspicious of a constraint of `pod`, which has just been bound.
    fn suspicion(
        &self,
        constraint: &TopologySpreadConstraint,
        pod: &Item,
        cluster: &Cluster,
        lag: Duration,
    ) -> Option<Suspicion> {
        let key = &constraint.topology_key;
        let hard = pod
            .pod()
            .and_then(|pod| pod.spec.as_ref())?
            .topology_spread_constraints
            .iter();
        let hard = hard.flatten().filter(|one| one.when_unsatisfiable == "DoNotSchedule");
        let keys: Vec<&str> = hard.map(|one| &*one.topology_key).collect();
        let mut there: BTreeMap<String, i64> = BTreeMap::new();
        // A node that is in no domain of one of the pod's constraints counts for none.
        let has_all = |node: &Item| keys.iter().all(|key| node.label(key).is_some());
        let nodes = cluster
            .all("nodes")
            .filter(|node| !node.is_terminating() && has_all(node));
        for domain in nodes.filter_map(|node| node.label(key)) {
            there.entry(domain.to_owned()).or_default();
        }
        let meant = |other: &&Arc<Item>| is_spread(constraint, &pod.id.namespace, other);
        let place = |count: &mut BTreeMap<String, i64>, item: &Item| {
            let node = cluster.find("nodes", "", item.node_name()).filter(|node| has_all(node));
            let domain = node.and_then(|node| domain(cluster, &node.id.name, key));
            if let Some(number) = domain.and_then(|domain| count.get_mut(domain)) {
                *number += 1;
            }
        };
        for item in cluster.all("pods").filter(|item| counts(item)).filter(meant) {
            place(&mut there, item);
        }
        let own = domain(cluster, pod.node_name(), key)?;
        // It counts itself where it is.
        let here = *there.get(own)?;
        let message = format!("where {here} of its kind now are in {own}, of {there:?}");
        let lately = self.left.iter().filter(|(at, _)| *at + lag > cluster.now);
        for item in lately.map(|(_, item)| item).filter(meant) {
            place(&mut there, item);
        }
        let suspicion = Suspicion {
            until: cluster.now + lag,
            namespace: pod.id.namespace.clone(),
            constraint: constraint.clone(),
            here,
            most: there,
            message,
        };
        suspicion.is_uneven().then_some(suspicion)
    }

    /// Drops the suspicions that a write clears up; the first one that nothing did.
    fn settle(&mut self, change: &Change, cluster: &Cluster, lag: Duration) -> Option<Suspicion> {
        if self.suspicions.is_empty() {
            return None;
        }
        if cluster.is_disturbed_everywhere(lag) {
            self.suspicions.clear();
        }
        if self.suspicions.front().is_some_and(|first| first.until < cluster.now) {
            return self.suspicions.pop_front();
        }
        if self.moved == Some(cluster.now) {
            self.suspicions.clear();
        }
        let before = change
            .before
            .as_ref()
            .filter(|item| item.pod().is_some() && item.node_name().is_empty())?;
        let after = change.after.as_ref().filter(|after| !after.is_terminating());
        for suspicion in self.suspicions.iter_mut().filter(|suspicion| suspicion.means(before)) {
            let key = &suspicion.constraint.topology_key;
            let on = after.map_or("", |after| after.node_name());
            match domain(cluster, on, key).and_then(|domain| suspicion.most.get_mut(domain)) {
                Some(number) => *number += 1,
                // It may have been on its way to anywhere.
                None if after.is_none() => suspicion.most.clear(),
                None => {}
            }
        }
        self.suspicions.retain(Suspicion::is_uneven);
        None
    }

    /// Whom `pod`, which has just been bound, may not be beside.
    fn unwelcome<'a>(&self, pod: &Item, cluster: &'a Cluster) -> Option<&'a ObjectId> {
        let beside = |key: &str, other: &Item| {
            let own = domain(cluster, pod.node_name(), key);
            own.is_some() && own == domain(cluster, other.node_name(), key)
        };
        let keeps_away = |one: &Item, from: &Item, other: &Item| {
            one.pod()
                .into_iter()
                .flat_map(anti_affinity)
                .any(|term| beside(&term.topology_key, other) && is_meant(term, one, from))
        };
        // Many pods ask for nothing; only who asks costs a look at all others.
        let mut all = has_anti_affinity(pod)
            .then(|| cluster.all("pods"))
            .into_iter()
            .flatten();
        let kept_off = all.find(|other| other.id != pod.id && is_there(other) && keeps_away(pod, other, other));
        let mut apart = self.apart.iter().filter_map(|id| cluster.get(id));
        let bad = kept_off.or_else(|| apart.find(|other| other.id != pod.id && keeps_away(other, pod, other)))?;
        Some(&bad.id)
    }
}

impl Invariant for Company {
    fn id(&self) -> &'static str {
        "Q5"
    }

    fn statement(&self) -> &'static str {
        "A pod is bound beside no other that is to be kept away from it, and no more unevenly than it asks for."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        self.note(change, cluster.now);
        let lag = cluster.lag(Role::Scheduler);
        if let Some(wrong) = self.settle(change, cluster, lag) {
            report.broken(self.id(), wrong.message, &["scheduler"]);
        }
        let Some(after) = newly_bound(change) else { return };
        let is_new = self.moved.is_some_and(|at| at + lag > cluster.now);
        if is_new || cluster.was_stalled(Role::Scheduler) {
            return;
        }
        if let Some(other) = self.unwelcome(after, cluster) {
            let message = format!(
                "{}, beside {other}, though one of them keeps away from the other",
                told(change, after)
            );
            report.broken(self.id(), message, &["scheduler"]);
        }
        if cluster.is_disturbed_everywhere(lag) {
            return;
        }
        for constraint in after.pod().into_iter().flat_map(constraints) {
            if let Some(mut suspicion) = self.suspicion(constraint, after, cluster, lag) {
                suspicion.message = format!("{}, {}", told(change, after), suspicion.message);
                self.suspicions.push_back(suspicion);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::contract_tests::with;
    use super::super::tests::{History, node, pod};

    const ZONE: &str = "topology.kubernetes.io/zone";

    /// Three nodes in zones of their own.
    fn zones() -> History {
        ["a", "b", "c"]
            .into_iter()
            .fold(History::of(|id| id == "Q5"), |history, name| {
                history.put("nodes", with(node(name), "/metadata/labels", json!({ZONE: name})))
            })
    }

    fn bind(history: History, name: &str, on: &str, ask: &Value) -> History {
        let asking = |on| {
            let mut pod = with(pod(name, on, "Pending"), "/metadata/labels", json!({"app": "web"}));
            for (key, value) in ask.as_object().into_iter().flatten() {
                pod = with(pod, &format!("/spec/{key}"), value.clone());
            }
            pod
        };
        history.put("pods", asking("")).put("pods", asking(on))
    }

    fn even() -> Value {
        json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}}]})
    }

    fn later(history: History) -> History {
        history
            .at(200)
            .put("nodes", with(node("d"), "/metadata/labels", json!({})))
    }

    #[test]
    fn pods_that_keep_away_from_each_other_on_one_node_break_q5() {
        let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": "web"}}}]}}});
        let first = || bind(zones().at(100), "x", "a", &apart);
        assert_eq!(bind(first(), "y", "a", &apart).broken(), ["Q5"]);
        assert!(bind(first(), "y", "b", &apart).broken().is_empty());
        // One that asks for nothing itself is kept away as well, until the other has finished.
        let plain = json!({});
        assert_eq!(bind(first(), "y", "a", &plain).broken(), ["Q5"]);
        assert!(bind(first(), "y", "b", &plain).broken().is_empty());
        let finished = with(pod("x", "a", "Succeeded"), "/spec/affinity", apart["affinity"].clone());
        let done = first().put("pods", finished).at(200);
        assert!(bind(done, "y", "a", &plain).broken().is_empty());
    }

    #[test]
    fn a_term_keeps_away_those_of_the_namespaces_that_it_lists() {
        let away_from = |namespaces: Value| {
            let ask = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": ZONE, "namespaces": namespaces, "labelSelector": {"matchLabels": {"app": "web"}}}]}}});
            let other = |on| {
                let labelled = with(pod("x", on, "Pending"), "/metadata/labels", json!({"app": "web"}));
                with(labelled, "/metadata/namespace", json!("shop"))
            };
            let first = zones().at(100).put("pods", other("")).put("pods", other("a"));
            bind(first, "y", "a", &ask).broken()
        };
        assert_eq!(away_from(json!(["shop"])), ["Q5"]);
        assert!(away_from(json!(["default"])).is_empty());
        assert!(away_from(json!([])).is_empty());
    }

    #[test]
    fn pods_that_heap_up_break_q5_unless_others_are_on_their_way() {
        let ask = even();
        let two = || bind(bind(zones().at(100), "x", "a", &ask), "y", "a", &ask);
        assert_eq!(later(two()).broken(), ["Q5"]);
        let evened = bind(bind(two().at(101), "z", "b", &ask), "v", "c", &ask);
        assert!(later(evened).broken().is_empty());
    }

    #[test]
    fn the_zone_of_a_node_that_another_constraint_leaves_out_need_not_be_filled() {
        let by = |key: &str| {
            json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "web"}}})
        };
        let placed = |constraints: Value| {
            let racks = |history: History, name: &str| {
                let labels = json!({ZONE: name, "rack": name});
                history.put("nodes", with(node(name), "/metadata/labels", labels))
            };
            let history = ["a", "b"].into_iter().fold(zones(), racks).at(100);
            let ask = json!({ "topologySpreadConstraints": constraints });
            let on = [("x", "a"), ("y", "b"), ("z", "a")];
            let three = on
                .into_iter()
                .fold(history, |history, (name, on)| bind(history, name, on, &ask));
            later(three).broken()
        };
        assert_eq!(placed(json!([by(ZONE)])), ["Q5"]);
        assert!(placed(json!([by(ZONE), by("rack")])).is_empty());
    }

    #[test]
    fn a_pod_that_has_just_gone_may_still_have_counted() {
        let ask = even();
        let gone = |at| {
            let three = bind(
                bind(bind(zones().at(100), "x", "a", &ask), "y", "b", &ask),
                "z",
                "c",
                &ask,
            );
            bind(three.delete("pods", &pod("z", "c", "Pending")).at(at), "v", "a", &ask)
        };
        assert!(later(gone(101)).broken().is_empty());
        assert_eq!(later(gone(150)).broken(), ["Q5"]);
    }
}
