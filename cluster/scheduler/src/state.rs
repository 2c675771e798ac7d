//! What the scheduler knows of nodes and the pods on them, kept up to date change by change.
//!
//! There is one state and no copy of it, so nothing can be compared by a generation that started over (as happened to
//! Kubernetes with re-created nodes, kubernetes#63262). A pod is known by its uid: a namesake is another pod. A pod
//! counts on its node from the moment the scheduler decides ("assumed") until it is known to be gone or not bound.
//! Of namespaces only the labels matter: affinity may mean namespaces by them.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, PodAffinityTerm};
use orrery_api::meta::{Object, controller_of};
use orrery_api::mutant;
use orrery_api::placement::{HostPort, host_ports};

use crate::resources::{Resources, node_allocatable, pod_requests};

/// What a pod without requests counts for when nodes are compared: a tenth of a core (in thousandths), and 200 MiB.
const DEFAULT_LOAD: (i64, i64) = (100, 200 << 20);

/// What the scheduler needs of a pod, worked out once.
#[derive(Debug, Clone)]
pub struct PodInfo {
    /// The pod.
    pub pod: Arc<Pod>,
    /// What it asks for.
    pub requests: Resources,
    /// Processor and memory that it counts for when nodes are compared: its requests, or a default.
    pub load: (i64, i64),
    /// The ports it takes on its node.
    pub ports: Vec<HostPort>,
    /// The uid of its controlling owner; empty without one.
    pub owner: String,
}

impl PodInfo {
    /// Works out what is needed of `pod`.
    pub fn new(pod: Arc<Pod>) -> Self {
        let spec = pod.spec.as_ref();
        let requests = spec.map(pod_requests).unwrap_or_default();
        let ports = spec.map(host_ports).unwrap_or_default();
        let owner = controller_of(&pod.metadata)
            .map(|owner| owner.uid.clone())
            .unwrap_or_default();
        let or = |amount: i64, default: i64| if amount == 0 { default } else { amount };
        let load = (or(requests.cpu, DEFAULT_LOAD.0), or(requests.memory, DEFAULT_LOAD.1));
        PodInfo {
            pod,
            requests,
            load,
            ports,
            owner,
        }
    }

    /// The pod's required anti-affinity.
    pub fn anti_affinity(&self) -> &[PodAffinityTerm] {
        let affinity = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.affinity.as_ref()?.pod_anti_affinity.as_ref());
        affinity
            .and_then(|anti| anti.required_during_scheduling_ignored_during_execution.as_deref())
            .unwrap_or_default()
    }
}

/// A node and the pods on it.
#[derive(Debug, Clone, Default)]
pub struct NodeInfo {
    /// The node; `None` while only pods speak of it.
    pub node: Option<Arc<Node>>,
    /// What it has for pods.
    pub allocatable: Resources,
    /// How many pods it takes.
    pub pod_limit: i64,
    /// What its pods ask for together.
    pub requested: Resources,
    /// What its pods count for together when nodes are compared.
    pub load: (i64, i64),
    /// Its pods by uid.
    pub pods: BTreeMap<String, Arc<PodInfo>>,
    /// How many of its living pods each owner has.
    pub owners: BTreeMap<String, usize>,
}

impl NodeInfo {
    /// The value of a label of the node.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.node.as_ref()?.label(name)
    }

    /// The node, if pods may be sent to it at all: it exists and is not being deleted.
    pub fn usable(&self) -> Option<&Arc<Node>> {
        self.node.as_ref().filter(|node| !node.is_terminating())
    }

    fn put(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.load = (
            self.load.0.saturating_add(pod.load.0),
            self.load.1.saturating_add(pod.load.1),
        );
        if counts_for_owner(&pod) {
            *self.owners.entry(pod.owner.clone()).or_default() += 1;
        }
        self.pods.insert(pod.pod.uid().to_owned(), pod);
    }

    fn take(&mut self, uid: &str) {
        let Some(pod) = self.pods.remove(uid) else { return };
        self.requested.subtract(&pod.requests);
        self.load = (
            self.load.0.saturating_sub(pod.load.0),
            self.load.1.saturating_sub(pod.load.1),
        );
        if counts_for_owner(&pod)
            && let Some(count) = self.owners.get_mut(&pod.owner)
        {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(&pod.owner);
            }
        }
    }
}

fn counts_for_owner(pod: &PodInfo) -> bool {
    !pod.owner.is_empty() && !pod.pod.is_terminating()
}

/// Where a pod is counted.
#[derive(Debug, Clone)]
struct Placed {
    node: String,
    assumed: bool,
}

/// All nodes and the pods on them.
#[derive(Debug, Default)]
pub struct State {
    /// The nodes by name.
    pub nodes: BTreeMap<String, NodeInfo>,
    placed: BTreeMap<String, Placed>,
    /// The labels of namespaces that have some.
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// How many living pods each owner has on which nodes: the same as the nodes' `owners`, the other way round.
    owners: BTreeMap<String, BTreeMap<String, usize>>,
    /// How many pods on nodes keep others away by anti-affinity; none, and nobody need look for them.
    pub anti_affine: usize,
}

impl State {
    /// This state with the picture of `nodes` that mutant B31 decides on; no pod can be looked up in it.
    #[cfg(feature = "mutants")]
    pub fn picture(&self, nodes: BTreeMap<String, NodeInfo>) -> Self {
        let mut owners: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        for (name, info) in &nodes {
            for (owner, count) in &info.owners {
                owners.entry(owner.clone()).or_default().insert(name.clone(), *count);
            }
        }
        State {
            nodes,
            owners,
            namespaces: self.namespaces.clone(),
            anti_affine: self.anti_affine,
            ..State::default()
        }
    }

    /// A node is new or has changed.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let info = self.nodes.entry(node.name().to_owned()).or_default();
        (info.allocatable, info.pod_limit) = node_allocatable(&node);
        info.node = Some(node);
    }

    /// Whether the node is known exactly as `node` is.
    pub fn shows(&self, node: &Node) -> bool {
        let known = self.nodes.get(node.name()).and_then(|info| info.node.as_ref());
        known.is_some_and(|known| known.metadata.resource_version == node.metadata.resource_version)
    }

    /// A node is gone: not even its pods make it one to choose. Answers whether it was known.
    pub fn remove_node(&mut self, node: &Node) -> bool {
        let Some(info) = self.nodes.get_mut(node.name()) else {
            return false;
        };
        // A node of that name that came after it stays.
        if info.node.as_ref().is_none_or(|known| known.uid() != node.uid()) {
            return false;
        }
        info.node = None;
        (info.allocatable, info.pod_limit) = Default::default();
        self.sweep(node.name());
        true
    }

    /// The labels that a namespace has by now; one that is gone has none. Answers whether they are others.
    pub fn set_namespace(&mut self, name: &str, labels: BTreeMap<String, String>) -> bool {
        let before = if labels.is_empty() {
            self.namespaces.remove(name)
        } else {
            self.namespaces.insert(name.to_owned(), labels)
        };
        before.as_ref() != self.namespaces.get(name)
    }

    /// The value of a label of a namespace.
    pub fn namespace_label(&self, namespace: &str, key: &str) -> Option<&str> {
        self.namespaces.get(namespace)?.get(key).map(String::as_str)
    }

    /// How many living pods an owner has on which nodes.
    pub fn nodes_of_owner(&self, owner: &str) -> impl Iterator<Item = (&str, usize)> {
        let nodes = self.owners.get(owner).into_iter().flatten();
        nodes.map(|(node, count)| (node.as_str(), *count))
    }

    fn count_for_owner(&mut self, owner: &str, node: &str, one_more: bool) {
        let nodes = self.owners.entry(owner.to_owned()).or_default();
        let count = nodes.entry(node.to_owned()).or_default();
        *count = if one_more { *count + 1 } else { *count - 1 };
        if *count == 0 {
            nodes.remove(node);
        }
        if nodes.is_empty() {
            self.owners.remove(owner);
        }
    }

    /// Whether the pod is counted on a node, be it only assumed.
    pub fn is_placed(&self, uid: &str) -> bool {
        self.placed.contains_key(uid)
    }

    /// The scheduler has decided: the pod counts on the node from now on.
    pub fn assume(&mut self, pod: PodInfo, node: &str) {
        self.place(pod, node, true);
    }

    /// The pod is bound to the node, as the API server says. Answers whether that changed what is counted.
    pub fn confirm(&mut self, pod: &Arc<Pod>, node: &str) -> bool {
        let known = self.placed.get(pod.uid()).filter(|placed| placed.node == node);
        let known = known.and_then(|placed| Some((placed, self.nodes.get(&placed.node)?.pods.get(pod.uid())?)));
        if let Some((placed, info)) = known {
            let same = info.pod.spec == pod.spec
                && info.pod.metadata.labels == pod.metadata.labels
                && (info.pod.is_terminating() == pod.is_terminating() || mutant::active("O71"));
            if same && !placed.assumed {
                return false;
            }
        }
        self.place(PodInfo::new(pod.clone()), node, false);
        true
    }

    fn place(&mut self, pod: PodInfo, node: &str, assumed: bool) {
        let uid = pod.pod.uid().to_owned();
        self.remove(&uid);
        self.anti_affine += usize::from(!pod.anti_affinity().is_empty());
        if counts_for_owner(&pod) {
            self.count_for_owner(&pod.owner, node, true);
        }
        self.nodes.entry(node.to_owned()).or_default().put(Arc::new(pod));
        self.placed.insert(
            uid,
            Placed {
                node: node.to_owned(),
                assumed,
            },
        );
    }

    /// The pod was not bound after all. Answers whether it had been counted for that alone: one that is known to be
    /// bound, wherever and by whom, stays.
    pub fn forget(&mut self, uid: &str) -> bool {
        self.placed.get(uid).is_some_and(|placed| placed.assumed) && self.remove(uid)
    }

    /// The pod is gone or finished. Answers whether it had been counted.
    pub fn remove(&mut self, uid: &str) -> bool {
        let Some(placed) = self.placed.remove(uid) else {
            return false;
        };
        if let Some(info) = self.nodes.get_mut(&placed.node) {
            let anti = info.pods.get(uid).is_some_and(|pod| !pod.anti_affinity().is_empty());
            self.anti_affine -= usize::from(anti);
            let counted = info.pods.get(uid).filter(|pod| counts_for_owner(pod)).cloned();
            info.take(uid);
            if let Some(pod) = counted {
                self.count_for_owner(&pod.owner, &placed.node, false);
            }
        }
        self.sweep(&placed.node);
        true
    }

    /// Forgets a node of which nothing is left.
    fn sweep(&mut self, name: &str) {
        if self
            .nodes
            .get(name)
            .is_some_and(|info| info.node.is_none() && info.pods.is_empty())
        {
            self.nodes.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn node(name: &str, uid: &str) -> Arc<Node> {
        let node =
            json!({"metadata": {"name": name, "uid": uid}, "status": {"allocatable": {"cpu": "4", "pods": "10"}}});
        Arc::new(serde_json::from_value(node).expect("a valid node"))
    }

    fn pod(uid: &str, cpu: u32) -> Arc<Pod> {
        let container = json!({"name": "c", "resources": {"requests": {"cpu": format!("{cpu}m")}}});
        let owner =
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "s", "uid": "s", "controller": true}]);
        let pod = json!({"metadata": {"name": uid, "uid": uid, "ownerReferences": owner},
            "spec": {"containers": [container]}});
        Arc::new(serde_json::from_value(pod).expect("a valid pod"))
    }

    #[test]
    fn a_deleted_node_is_no_longer_usable_though_its_pods_remain() {
        let mut state = State::default();
        state.set_node(node("n", "1"));
        state.confirm(&pod("p", 100), "n");
        state.remove_node(&node("n", "1"));
        assert!(state.nodes["n"].usable().is_none());
        state.remove("p");
        assert!(state.nodes.is_empty());
    }

    #[test]
    fn the_late_news_of_a_nodes_end_does_not_end_its_namesake() {
        let mut state = State::default();
        state.set_node(node("n", "2"));
        state.remove_node(&node("n", "1"));
        assert!(state.nodes["n"].usable().is_some());
    }

    #[test]
    fn an_assumed_pod_counts_until_it_is_forgotten() {
        let mut state = State::default();
        state.set_node(node("n", "1"));
        state.assume(PodInfo::new(pod("p", 100)), "n");
        assert_eq!(state.nodes["n"].requested.cpu, 100);
        assert!(state.confirm(&pod("p", 100), "n"));
        assert!(!state.confirm(&pod("p", 100), "n"));
        state.remove("p");
        assert_eq!(state.nodes["n"].requested.cpu, 0);
    }

    #[test]
    fn a_pod_that_is_known_to_be_bound_is_not_forgotten() {
        let mut state = State::default();
        for name in ["a", "b"] {
            state.set_node(node(name, name));
        }
        state.assume(PodInfo::new(pod("p", 100)), "a");
        assert!(state.forget("p"));
        assert_eq!(state.nodes["a"].requested.cpu, 0);
        state.assume(PodInfo::new(pod("p", 100)), "a");
        state.confirm(&pod("p", 100), "b");
        assert!(!state.forget("p"));
        assert_eq!(state.nodes["b"].requested.cpu, 100);
    }

    #[test]
    fn a_namespace_without_labels_is_as_good_as_none() {
        let mut state = State::default();
        let labels = || BTreeMap::from([("tier".to_owned(), "db".to_owned())]);
        assert!(!state.set_namespace("team", BTreeMap::new()));
        assert!(state.set_namespace("team", labels()));
        assert!(!state.set_namespace("team", labels()));
        assert_eq!(state.namespace_label("team", "tier"), Some("db"));
        assert!(state.set_namespace("team", BTreeMap::new()));
        assert_eq!(state.namespace_label("team", "tier"), None);
    }

    proptest! {
        #[test]
        fn what_is_requested_is_always_the_sum_over_the_pods(
            steps in prop::collection::vec((0u8..5, 0u8..6, 0u8..3, 0u32..500), 0..60),
        ) {
            let mut state = State::default();
            for (what, which, on, cpu) in steps {
                let (uid, name) = (format!("p{which}"), format!("n{on}"));
                match what {
                    0 => state.assume(PodInfo::new(pod(&uid, cpu)), &name),
                    1 => {
                        state.confirm(&pod(&uid, cpu), &name);
                    }
                    2 => {
                        state.remove(&uid);
                    }
                    3 => {
                        state.forget(&uid);
                    }
                    _ => state.set_node(node(&name, "1")),
                }
                for info in state.nodes.values() {
                    prop_assert_eq!(info.requested.cpu, info.pods.values().map(|pod| pod.requests.cpu).sum::<i64>());
                }
                for (name, info) in &state.nodes {
                    for (owner, count) in &info.owners {
                        prop_assert!(state.nodes_of_owner(owner).any(|own| own == (name.as_str(), *count)));
                    }
                }
                let pairs: usize = state.nodes.values().map(|info| info.owners.len()).sum();
                prop_assert_eq!(pairs, state.owners.values().map(BTreeMap::len).sum::<usize>());
                let total: usize = state.nodes.values().map(|info| info.pods.len()).sum();
                prop_assert_eq!(total, state.placed.len());
            }
        }
    }
}
