//! Whole decisions over small clusters.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
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

/// The pod with other metadata.
fn with(info: PodInfo, change: impl FnOnce(&mut ObjectMeta)) -> PodInfo {
    let mut pod = Arc::unwrap_or_clone(info.pod);
    change(&mut pod.metadata);
    PodInfo::new(Arc::new(pod))
}

/// Required anti-affinity over nodes, with `more` in its term.
fn apart(more: &Value) -> Value {
    let mut term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}});
    for (key, value) in more.as_object().into_iter().flatten() {
        term[key] = value.clone();
    }
    json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
}

/// Spread constraints: keys, and what is to be done where they cannot be met.
fn even(keys: &[(&str, &str)]) -> Value {
    let constraint = |(key, unsatisfiable): &(&str, &str)| {
        json!({
            "maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": unsatisfiable,
            "labelSelector": {"matchLabels": {"app": "web"}},
        })
    };
    let constraints: Vec<Value> = keys.iter().map(constraint).collect();
    json!({"topologySpreadConstraints": constraints})
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
fn a_node_that_goes_helps_only_who_is_kept_away_by_what_is_elsewhere() {
    let mut state = cluster(vec![node("n1", "4", json!({}))]);
    state.assume(pod("first", "0", json!({})), "n1");
    let events = |asks: Value| {
        let why = decide(&pod("p", "0", asks), &state, &Random::from_number(1)).unwrap_err();
        why.events
    };
    let counted = BTreeSet::from([Event::Node, Event::NodeGone, Event::PodGone, Event::PodPlaced]);
    let mut uneven = even(&[("kubernetes.io/hostname", "DoNotSchedule")]);
    uneven["topologySpreadConstraints"][0]["minDomains"] = json!(2);
    assert_eq!(events(uneven), counted);
    let unlabelled = even(&[("zone", "DoNotSchedule")]);
    assert_eq!(events(unlabelled), BTreeSet::from([Event::Node]));
    let all: BTreeSet<Event> = counted.into_iter().chain([Event::Namespace]).collect();
    assert_eq!(events(apart(&json!({}))), all);
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
fn the_host_ports_of_sidecars_are_taken_and_those_of_other_init_containers_are_not() {
    let port = json!([{"containerPort": 80, "hostPort": 80}]);
    let beside = |policy: &Value| {
        let first = json!({"name": "i", "restartPolicy": policy, "ports": port});
        let mut state = cluster(vec![node("n1", "4", json!({}))]);
        state.assume(pod("first", "0", json!({"initContainers": [first]})), "n1");
        let second = json!({"containers": [{"name": "c", "ports": port}]});
        choose(&pod("second", "0", second), &state)
    };
    assert!(beside(&json!("Always")).is_err());
    assert!(beside(&json!(null)).is_ok());
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
    // The pod on n2 keeps others away, and that on n1 is one that this one avoids, as that on n2 is.
    assert!(
        choose(&pod("third", "0", apart), &state)
            .unwrap_err()
            .contains("2 node(s) didn't match pod anti-affinity rules")
    );
    assert_eq!(choose(&pod("fourth", "0", json!({})), &state), Ok("n1".to_owned()));
}

#[test]
fn what_a_pod_asks_of_others_comes_before_what_they_ask_of_it_and_says_whether_fewer_pods_would_help() {
    const MORE: &str = "No preemption victims found for incoming pod";
    const NO_USE: &str = "Preemption is not helpful for scheduling";
    let mut state = cluster(vec![node("n1", "4", json!({}))]);
    state.assume(pod("first", "0", apart(&json!({}))), "n1");
    let mut lonely = apart(&json!({}));
    lonely["affinity"]["podAffinity"] = json!({"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"},
    ]});
    let mut uneven = even(&[("kubernetes.io/hostname", "DoNotSchedule")]);
    uneven["topologySpreadConstraints"][0]["minDomains"] = json!(2);
    let unlabelled = even(&[("zone", "DoNotSchedule")]);
    for (asks, words, preemption) in [
        (lonely, "didn't match pod affinity rules", NO_USE),
        (apart(&json!({})), "didn't match pod anti-affinity rules", MORE),
        (json!({}), "didn't satisfy existing pods anti-affinity rules", MORE),
        (uneven, "didn't match pod topology spread constraints", MORE),
        (
            unlabelled,
            "didn't match pod topology spread constraints (missing required label)",
            NO_USE,
        ),
    ] {
        assert_eq!(
            choose(&pod("second", "0", asks), &state),
            Err(format!(
                "0/1 nodes are available: 1 node(s) {words}. preemption: 0/1 nodes are available: 1 {preemption}."
            ))
        );
    }
}

#[test]
fn a_node_counts_for_no_constraint_if_it_lacks_the_key_of_another_that_is_as_strict() {
    let place = |name: &str, labels: Value| {
        let metadata = json!({"name": name, "uid": name, "labels": labels});
        node(name, "4", json!({"metadata": metadata}))
    };
    let mut state = cluster(vec![
        place("n1", json!({"zone": "a", "rack": "1"})),
        place("n2", json!({"zone": "b", "rack": "2"})),
        place("n3", json!({"zone": "c"})),
    ]);
    state.assume(pod("first", "0", json!({})), "n1");
    state.assume(pod("second", "0", json!({})), "n2");
    let chosen = |zone: &str, rack: &str| choose(&pod("p", "0", even(&[("zone", zone), ("rack", rack)])), &state);
    // Zone c is empty, but who asks for racks, too, cannot fill it.
    let forbidden = chosen("DoNotSchedule", "DoNotSchedule").expect("a node");
    assert_ne!(forbidden, "n3");
    let disliked = chosen("ScheduleAnyway", "ScheduleAnyway").expect("a node");
    assert_ne!(disliked, "n3");
    assert_eq!(chosen("DoNotSchedule", "ScheduleAnyway"), Ok("n3".to_owned()));
}

#[test]
fn a_term_means_namespaces_by_their_names_or_labels() {
    let tier = |tier: &str| json!({"namespaceSelector": {"matchLabels": {"tier": tier}}});
    let of_team = |info: PodInfo| with(info, |meta| meta.namespace = Some("team".to_owned()));
    let labels = BTreeMap::from([("tier".to_owned(), "db".to_owned())]);
    let mut state = cluster(vec![node("n1", "4", json!({}))]);
    state.set_namespace("team", labels.clone());
    state.assume(of_team(pod("first", "0", json!({}))), "n1");
    let fits = |more: Value| choose(&pod("p", "0", apart(&more)), &state).is_ok();
    assert!(fits(json!({})));
    assert!(fits(tier("web")));
    assert!(!fits(tier("db")));
    assert!(!fits(json!({"namespaceSelector": {}})));
    assert!(!fits(json!({"namespaces": ["team"]})));
    let either = json!({"namespaces": ["team"], "namespaceSelector": {"matchLabels": {"tier": "web"}}});
    assert!(!fits(either));
    // And the other way round: who is there already keeps the pods of the namespace away.
    let mut state = cluster(vec![node("n1", "4", json!({}))]);
    state.set_namespace("team", labels);
    state.assume(pod("first", "0", apart(&tier("db"))), "n1");
    assert!(choose(&pod("p", "0", json!({})), &state).is_ok());
    assert!(choose(&of_team(pod("p", "0", json!({}))), &state).is_err());
}

#[test]
fn keys_of_labels_narrow_a_term_to_who_has_the_pods_own_values_or_others() {
    let keys = |name: &str| {
        let labelled = json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]});
        json!({"labelSelector": labelled, name: ["app"]})
    };
    let fits_beside = |app: &str, name: &str| {
        let labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
        let first = with(pod("first", "0", json!({})), |meta| meta.labels = Some(labels));
        let mut state = cluster(vec![node("n1", "4", json!({}))]);
        state.assume(first, "n1");
        choose(&pod("p", "0", apart(&keys(name))), &state).is_ok()
    };
    assert!(!fits_beside("web", "matchLabelKeys"));
    assert!(fits_beside("db", "matchLabelKeys"));
    assert!(fits_beside("web", "mismatchLabelKeys"));
    assert!(!fits_beside("db", "mismatchLabelKeys"));
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
