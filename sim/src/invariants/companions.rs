//! Q7: a pod is bound where those are that it has to be beside (required pod affinity).
//!
//! Checked at the write that binds a pod: for each of its terms there must be a pod, bound and not finished, in the
//! domain of its node that all of its terms mean. Bindings overtake each other, so that a pod that is alone is held
//! against the scheduler only when no other came within its lag; and one that went within that time, or was on its way
//! and went, may still have counted. Where no pod is in any domain that the terms mean, one that they mean itself may
//! begin a group, as in Kubernetes; whoever came within the lag may not have been known. Not judged: what is bound in
//! troubled times or shortly after nodes or pods moved (see [`super::company`]); pods that are made with a node, or are
//! for a scheduler of a user's; terms that choose among namespaces or labels by more than a selector or a list of
//! names.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodAffinityTerm;

use super::company::{domain, is_meant, is_plain, is_there, moves_company, newly_bound, told};
use super::target_node::is_ours;
use super::{Invariant, MEMORY, Report, UNANSWERED};
use crate::model::{Change, Cluster, Item, ObjectId, Seen};
use crate::scenario::Role;

/// See the module.
#[derive(Default)]
pub struct Companions {
    /// When nodes, or whom a selector means, last changed.
    moved: Option<Duration>,
    /// Since when pods have been bound that have not finished.
    there: BTreeMap<ObjectId, Duration>,
    /// Pods that were there, as they were, and until when.
    left: Vec<(Duration, Arc<Item>)>,
    /// Pods that went without ever being there, and when: they may have been on their way to anywhere.
    withdrawn: Vec<(Duration, Arc<Item>)>,
    /// Who seems to be alone, in the order of time.
    lonely: VecDeque<Lonely>,
}

/// A binding that would be wrong if none of those that are on their way makes it right.
struct Lonely {
    /// Who is on the way arrives until then.
    until: Duration,
    pod: Arc<Item>,
    message: String,
}

/// The terms of a pod's required affinity; none if it has none, or one that is not plain.
fn terms(pod: &Item) -> Option<&[PodAffinityTerm]> {
    let affinity = pod.pod()?.spec.as_ref()?.affinity.as_ref()?.pod_affinity.as_ref()?;
    let terms = affinity
        .required_during_scheduling_ignored_during_execution
        .as_deref()?;
    (!terms.is_empty() && terms.iter().all(is_plain)).then_some(terms)
}

/// Whether all terms of `pod` mean `other`.
fn are_meant(terms: &[PodAffinityTerm], pod: &Item, other: &Item) -> bool {
    terms.iter().all(|term| is_meant(term, pod, other))
}

impl Companions {
    /// Takes in what may be news to the scheduler.
    fn note(&mut self, change: &Change, now: Duration) {
        if moves_company(change) {
            self.moved = Some(now);
        }
        if &*change.id.resource != "pods" {
            return;
        }
        let (before, after) = (change.before.as_ref(), change.after.as_ref());
        if after.is_some_and(|after| is_there(after)) {
            self.there.entry(change.id.clone()).or_insert(now);
            return;
        }
        let was_there = self.there.remove(&change.id).is_some();
        let goes = after.is_none_or(|after| after.is_terminating());
        let Some(before) = before.filter(|before| was_there || (before.node_name().is_empty() && goes)) else {
            return;
        };
        let gone = if was_there { &mut self.left } else { &mut self.withdrawn };
        gone.retain(|(at, _)| *at + MEMORY > now);
        gone.push((now, before.clone()));
    }

    /// Whether `pod` may have begun a group: its own terms mean it, and nobody else who is known.
    fn begins(&self, pod: &Item, cluster: &Cluster, lag: Duration) -> bool {
        let Some(terms) = terms(pod) else { return false };
        let is_known = |other: &Item| self.there.get(&other.id).is_some_and(|at| *at + lag < cluster.now);
        let counts = |other: &Item| {
            let mut keys = terms.iter().map(|term| &term.topology_key);
            keys.any(|key| domain(cluster, other.node_name(), key).is_some())
        };
        let mut others = cluster.all("pods").filter(|other| other.id != pod.id);
        are_meant(terms, pod, pod)
            && !others.any(|other| is_known(other) && counts(other) && are_meant(terms, pod, other))
    }

    /// The first of the topology keys in whose domain `pod` is alone, if it is.
    fn is_alone<'a>(&self, pod: &'a Item, cluster: &Cluster, lag: Duration) -> Option<&'a str> {
        let terms = terms(pod)?;
        let lately = |gone: &&(Duration, Arc<Item>)| gone.0 + lag > cluster.now;
        let mut withdrawn = self.withdrawn.iter().filter(lately);
        if withdrawn.any(|(_, other)| are_meant(terms, pod, other)) {
            return None;
        }
        let all = cluster
            .all("pods")
            .filter(|other| is_there(other) && other.id != pod.id);
        let left = self.left.iter().filter(lately).map(|(_, item)| item);
        let meant: Vec<&Arc<Item>> = all.chain(left).filter(|other| are_meant(terms, pod, other)).collect();
        let is_beside = |key: &str| {
            let own = domain(cluster, pod.node_name(), key);
            let mut nodes = meant.iter().map(|other| other.node_name());
            own.is_some() && nodes.any(|node| domain(cluster, node, key) == own)
        };
        let mut keys = terms.iter().map(|term| term.topology_key.as_str());
        keys.find(|key| !is_beside(key))
    }

    /// Drops those who are not alone any more, and all when nobody knows; the first one that stayed so.
    fn settle(&mut self, change: &Change, cluster: &Cluster, lag: Duration) -> Option<Lonely> {
        if self.lonely.is_empty() {
            return None;
        }
        let mut lonely = std::mem::take(&mut self.lonely);
        if cluster.is_disturbed_everywhere(lag + UNANSWERED) || self.moved == Some(cluster.now) {
            return None;
        }
        // Only a pod can be company.
        if &*change.id.resource == "pods" {
            lonely.retain(|one| self.is_alone(&one.pod, cluster, lag).is_some());
        }
        self.lonely = lonely;
        let is_over = self.lonely.front().is_some_and(|first| first.until < cluster.now);
        is_over.then(|| self.lonely.pop_front()).flatten()
    }
}

impl Invariant for Companions {
    fn id(&self) -> &'static str {
        "Q7"
    }

    fn statement(&self) -> &'static str {
        "A pod is bound where those are that it has to be beside."
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
        let is_troubled = cluster.was_stalled(Role::Scheduler) || cluster.is_disturbed_everywhere(lag + UNANSWERED);
        if is_new || is_troubled || !is_ours(after) || self.begins(after, cluster, lag) {
            return;
        }
        if let Some(key) = self.is_alone(after, cluster, lag) {
            let bound = told(change, after);
            let message = format!("{bound}, in whose {key} nobody is that it has to be beside");
            self.lonely.push_back(Lonely {
                until: cluster.now + lag,
                pod: after.clone(),
                message,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::contract_tests::with;
    use super::super::tests::{History, node, pod};

    const ZONE: &str = "topology.kubernetes.io/zone";

    /// Two nodes in zones of their own.
    fn zones() -> History {
        let history = History::of(|id| id == "Q7");
        let zones = ["a", "b"].into_iter().fold(history, |history, name| {
            history.put("nodes", with(node(name), "/metadata/labels", json!({ZONE: name})))
        });
        zones.at(100)
    }

    /// A pod of an app, which has to be beside pods of another one.
    fn wishing(name: &str, on: &str, app: &str, beside: Option<&str>) -> Value {
        let pod = with(pod(name, on, "Pending"), "/metadata/labels", json!({"app": app}));
        let Some(other) = beside else { return pod };
        let term = json!({"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": other}}});
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
        with(pod, "/spec/affinity", json!({"podAffinity": required}))
    }

    fn bind(history: History, name: &str, on: &str, app: &str, beside: Option<&str>) -> History {
        let history = history.put("pods", wishing(name, "", app, beside));
        history.put("pods", wishing(name, on, app, beside))
    }

    fn later(history: History) -> Vec<&'static str> {
        let unrelated = json!({"metadata": {"name": "later", "namespace": "default", "uid": "uid-later"}});
        history.at(300).put("configmaps", unrelated).broken()
    }

    #[test]
    fn a_pod_that_is_bound_away_from_those_it_wants_breaks_q7() {
        let served = || bind(zones(), "server", "a", "server", None).at(200);
        assert!(later(bind(served(), "client", "a", "client", Some("server"))).is_empty());
        assert_eq!(later(bind(served(), "client", "b", "client", Some("server"))), ["Q7"]);
        // Nobody is there at all.
        assert_eq!(later(bind(zones(), "client", "a", "client", Some("server"))), ["Q7"]);
        // The other's binding is on its way.
        let overtaken = bind(zones(), "client", "a", "client", Some("server"));
        assert!(later(bind(overtaken, "server", "a", "server", None)).is_empty());
    }

    #[test]
    fn company_is_sought_in_the_namespaces_that_a_term_lists() {
        let path = "/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/0/namespaces";
        let beside = |namespaces: Value| {
            let client = |on| {
                let client = wishing("client", on, "client", Some("server"));
                with(client, path, namespaces.clone())
            };
            let served = bind(zones(), "server", "a", "server", None).at(200);
            later(served.put("pods", client("")).put("pods", client("a")))
        };
        assert!(beside(json!(["shop", "default"])).is_empty());
        assert_eq!(beside(json!(["shop"])), ["Q7"]);
    }

    #[test]
    fn who_was_on_his_way_and_is_withdrawn_may_have_counted() {
        let overtaken = bind(zones(), "client", "a", "client", Some("server"));
        let server = wishing("server", "", "server", None);
        let withdrawn = overtaken.put("pods", server.clone()).at(101).delete("pods", &server);
        assert!(later(withdrawn).is_empty());
        let before = |at| {
            let withdrawn = zones().put("pods", server.clone()).at(200).delete("pods", &server);
            later(bind(withdrawn.at(at), "client", "a", "client", Some("server")))
        };
        assert!(before(201).is_empty());
        assert_eq!(before(250), ["Q7"]);
    }

    #[test]
    fn who_is_on_no_node_that_counts_is_no_group() {
        let first = bind(zones(), "x", "a", "web", Some("web"));
        let alone = first.at(200).delete("nodes", &node("a"));
        assert!(later(bind(alone.at(250), "y", "b", "web", Some("web"))).is_empty());
    }

    #[test]
    fn whom_its_own_terms_mean_begins_a_group() {
        let first = || bind(zones(), "x", "a", "web", Some("web"));
        assert!(later(first()).is_empty());
        assert_eq!(later(bind(first().at(200), "y", "b", "web", Some("web"))), ["Q7"]);
        assert!(later(bind(first().at(200), "y", "a", "web", Some("web"))).is_empty());
        // Both begin at once, and neither knows of the other.
        assert!(later(bind(first(), "y", "b", "web", Some("web"))).is_empty());
    }

    #[test]
    fn a_companion_that_has_just_gone_may_still_have_counted() {
        let gone = |at| {
            let server = wishing("server", "a", "server", None);
            let gone = bind(zones(), "server", "a", "server", None)
                .at(200)
                .delete("pods", &server);
            later(bind(gone.at(at), "client", "a", "client", Some("server")))
        };
        assert!(gone(201).is_empty());
        assert_eq!(gone(250), ["Q7"]);
    }
}
