//! Whole decisions over small clusters.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn node(name: &str, cpu: &str, extra: Value) -> Arc<Node> {
    let mut node = json!({
        "metadata": {"name": name, "uid": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "3"}},
    });
    for (key, value) in extra.as_object().into_iter().flatten() {
        node[key] = value.clone();
    }
    Arc::new(serde_json::from_value(node).expect("a valid node"))
}

fn pod(name: &str, cpu: &str, spec: Value) -> PodInfo {
    let mut pod = json!({
        "metadata": {"name": name, "uid": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    PodInfo::new(Arc::new(serde_json::from_value(pod).expect("a valid pod")))
}

fn cluster(nodes: Vec<Arc<Node>>) -> State {
    let mut state = State::default();
    for node in nodes {
        state.set_node(node);
    }
    state
}

fn choose(pod: &PodInfo, state: &State) -> Result<String, String> {
    decide(pod, state, &Random::from_number(1)).map_err(|why| why.message)
}

#[test]
fn the_message_is_the_one_kubernetes_writes() {
    let state = cluster(vec![node("n1", "1", json!({}))]);
    assert_eq!(
        choose(&pod("big", "8", json!({})), &state).unwrap_err(),
        "0/1 nodes are available: 1 Insufficient cpu. \
         preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    );
    let tainted = json!({"spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]}});
    let state = cluster(vec![
        node("n1", "1", json!({})),
        node("n2", "1", tainted),
        node("n3", "8", json!({"spec": {"unschedulable": true}})),
    ]);
    assert_eq!(
        choose(&pod("big", "2", json!({})), &state).unwrap_err(),
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, \
         1 node(s) were unschedulable. \
         preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    assert_eq!(
        choose(&pod("p", "1", json!({})), &State::default()).unwrap_err(),
        "no nodes available to schedule pods"
    );
}

#[test]
fn a_full_node_is_told_apart_from_one_that_is_too_small() {
    let mut state = cluster(vec![node("n1", "1", json!({}))]);
    state.assume(pod("first", "800m", json!({})), "n1");
    assert_eq!(
        choose(&pod("second", "800m", json!({})), &state).unwrap_err(),
        "0/1 nodes are available: 1 Insufficient cpu. \
         preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    );
}

#[test]
fn what_would_help_depends_on_what_is_wrong() {
    let mut state = cluster(vec![node("n1", "1", json!({}))]);
    state.assume(pod("first", "800m", json!({})), "n1");
    let why = decide(&pod("second", "800m", json!({})), &state, &Random::from_number(1)).unwrap_err();
    assert_eq!(why.events, BTreeSet::from([Event::Node, Event::PodGone]));
    let picky = pod("picky", "1m", json!({"nodeSelector": {"zone": "b"}}));
    let why = decide(&picky, &state, &Random::from_number(1)).unwrap_err();
    assert_eq!(why.events, BTreeSet::from([Event::Node]));
}

#[test]
fn a_host_port_is_taken_once_a_node() {
    let port = |address: &str| {
        let port = json!({"containerPort": 80, "hostPort": 80, "hostIP": address});
        json!({"containers": [{"name": "c", "ports": [port]}]})
    };
    let mut state = cluster(vec![node("n1", "4", json!({}))]);
    state.assume(pod("first", "0", port("10.0.0.1")), "n1");
    assert!(choose(&pod("second", "0", port("10.0.0.2")), &state).is_ok());
    assert!(choose(&pod("third", "0", port("")), &state).is_err());
}

#[test]
fn spread_constraints_and_anti_affinity_keep_pods_apart() {
    let selector = json!({"matchLabels": {"app": "web"}});
    let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"},
    ]}}});
    let even = json!({"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": selector,
    }]});
    let mut state = cluster(vec![node("n1", "4", json!({})), node("n2", "4", json!({}))]);
    state.assume(pod("first", "1", json!({})), "n1");
    assert_eq!(choose(&pod("apart", "0", apart.clone()), &state), Ok("n2".to_owned()));
    assert_eq!(choose(&pod("even", "0", even), &state), Ok("n2".to_owned()));
    state.assume(pod("second", "0", apart.clone()), "n2");
    // The pod on n2 keeps others away, and that on n1 is one that this one avoids.
    assert!(
        choose(&pod("third", "0", apart), &state)
            .unwrap_err()
            .contains("anti-affinity rules")
    );
    assert_eq!(choose(&pod("fourth", "0", json!({})), &state), Ok("n1".to_owned()));
}

#[test]
fn the_first_of_pods_that_want_company_goes_anywhere() {
    let together = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"},
    ]}}});
    let mut state = cluster(vec![node("n1", "4", json!({})), node("n2", "4", json!({}))]);
    let first = choose(&pod("first", "1", together.clone()), &state).expect("a node");
    state.assume(pod("first", "1", together.clone()), &first);
    assert_eq!(choose(&pod("second", "1", together), &state), Ok(first));
}

#[test]
fn company_is_in_a_domain_and_of_pods_that_all_terms_mean() {
    let together = |key: &str, apps: &[&str]| {
        let term = |app: &&str| json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key});
        let terms: Vec<Value> = apps.iter().map(term).collect();
        json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
    };
    // Not even the first may go where there is no domain.
    let mut state = cluster(vec![node("n1", "4", json!({}))]);
    assert!(choose(&pod("first", "1", together("zone", &["web"])), &state).is_err());
    // A pod of each term is no company that all of them mean.
    state.assume(pod("web", "1", json!({})), "n1");
    let both = together("kubernetes.io/hostname", &["web", "other"]);
    assert!(choose(&pod("both", "1", both), &state).is_err());
    let one = together("kubernetes.io/hostname", &["web"]);
    assert_eq!(choose(&pod("one", "1", one), &state), Ok("n1".to_owned()));
}

#[test]
fn pods_of_one_owner_are_spread_over_nodes() {
    let owned = |name: &str| {
        let mut info = pod(name, "100m", json!({}));
        info.owner = "set".to_owned();
        info
    };
    let mut state = cluster(
        (1..=3)
            .map(|number| node(&format!("n{number}"), "4", json!({})))
            .collect(),
    );
    for name in ["a", "b", "c"] {
        let chosen = choose(&owned(name), &state).expect("a node");
        state.assume(owned(name), &chosen);
    }
    assert!(state.nodes.values().all(|info| info.pods.len() == 1));
}

proptest! {
    /// Whatever comes in whatever order, no node ever holds more than it has.
    #[test]
    fn no_node_is_ever_overcommitted(
        nodes in prop::collection::vec(1u32..5, 1..4), pods in prop::collection::vec(1u32..3000, 0..20), seed: u64,
    ) {
        let nodes = nodes.iter().enumerate();
        let mut state = cluster(nodes.map(|(at, cpu)| node(&format!("n{at}"), &cpu.to_string(), json!({}))).collect());
        let random = Random::from_number(seed);
        for (number, cpu) in pods.iter().enumerate() {
            let pod = pod(&format!("p{number}"), &format!("{cpu}m"), json!({}));
            let fits = state.nodes.values().any(|info| {
                info.allocatable.cpu - info.requested.cpu >= i64::from(*cpu) && info.pods.len() < 3
            });
            match decide(&pod, &state, &random) {
                Ok(chosen) => state.assume(pod, &chosen),
                Err(_) => prop_assert!(!fits, "a pod that fits somewhere is placed"),
            }
            for info in state.nodes.values() {
                prop_assert!(info.requested.cpu <= info.allocatable.cpu && info.pods.len() <= 3);
            }
        }
    }
}
