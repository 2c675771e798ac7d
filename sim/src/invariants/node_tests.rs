//! The tests of the invariants that look at nodes: when they are given up, and what becomes of their pods.

use serde_json::{Value, json};

use super::contract_tests::{namespace, with};
use super::tests::{History, POD, asked, node, pod};
use crate::model::{Asked, Seen};

fn lease(namespace: &str, name: &str, holder: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}")},
        "spec": {"holderIdentity": holder}})
}

fn unreachable(name: &str) -> Value {
    let taint = json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]);
    with(node(name), "/spec/taints", taint)
}

/// The controller asks to write the node `n` as it stood at revision 2, and it is written.
fn writes(history: History, to: Value) -> History {
    let write = Asked {
        base: Some(2),
        ..asked("controller-manager/1", http::Method::PUT, "/api/v1/nodes/n")
    };
    history.see(&Seen::Asked(&write)).put("nodes", to)
}

#[test]
fn a_node_that_is_given_up_without_silence_or_witness_breaks_n1() {
    let renews = |history: History, node: &str, at| {
        history
            .at(at)
            .put("leases.coordination.k8s.io", lease("kube-node-lease", node, node))
    };
    let history = |own, other| {
        let begin = History::new()
            .put(
                "namespaces",
                json!({"metadata": {"name": "kube-node-lease", "uid": "uid-leases"}}),
            )
            .put("nodes", node("n"));
        let heard = renews(renews(begin, "n", own), "m", other);
        writes(heard.at(200), unreachable("n")).broken()
    };
    assert!(history(155, 195).is_empty());
    assert_eq!(history(195, 195), ["N1"]);
    assert_eq!(history(150, 150), ["N1"]);
}

#[test]
fn a_node_that_is_marked_as_unknown_though_it_was_heard_breaks_n1() {
    let marked = |heard: u64| {
        let begin = History::of(|id| id == "N1").put("nodes", node("n")).at(heard);
        let renewed = begin.put("leases.coordination.k8s.io", lease("kube-node-lease", "n", "n"));
        let unknown = json!([{"type": "Ready", "status": "Unknown"}]);
        let unknown = with(node("n"), "/status/conditions", unknown);
        writes(renewed.at(200), unknown).broken()
    };
    assert_eq!(marked(195), ["N1"]);
    assert!(
        marked(150).is_empty(),
        "nobody else was heard, but nobody is evicted for that"
    );
}

#[test]
fn a_node_that_is_given_up_right_after_nobody_was_heard_breaks_n1() {
    let returns = |silent_until: u64, at: u64| {
        let begin = History::of(|id| id == "N1").put("nodes", node("n")).at(10);
        let begin = renewed(renewed(begin, "n"), "m").at(silent_until);
        writes(renewed(begin, "m").at(at), unreachable("n")).broken()
    };
    assert_eq!(returns(200, 205), ["N1"]);
    assert!(returns(200, 220).is_empty(), "it had its grace once more");
    assert!(returns(50, 55).is_empty(), "that was no outage");
    // Asked for at second `at`, resting on what the node was at revision `base`.
    let carried_out = |at: u64, base: u64| {
        let write = Asked {
            base: Some(base),
            ..asked("controller-manager/1", http::Method::PUT, "/api/v1/nodes/n")
        };
        let decided = History::of(|id| id == "N1").put("nodes", node("n")).at(10);
        let decided = renewed(renewed(decided, "n"), "m").at(at).see(&Seen::Asked(&write));
        let again = renewed(decided.at(200), "m").at(201);
        again.put("nodes", unreachable("n")).broken()
    };
    assert!(carried_out(50, 2).is_empty(), "it was decided before");
    assert!(carried_out(180, 1).is_empty(), "its round stood still");
    assert_eq!(carried_out(50, 1), ["N1"], "that was another write");
}

#[test]
fn what_no_controller_asked_for_does_not_break_n1() {
    let begin = History::of(|id| id == "N1").put("nodes", node("n")).at(195);
    let tainted = renewed(begin, "n").at(200).put("nodes", unreachable("n"));
    assert!(tainted.broken().is_empty());
}

#[test]
fn a_pod_that_stays_longer_than_it_tolerates_is_missed_by_n2() {
    let stays = |seconds: Option<i64>, at| {
        let tolerations = json!([{"operator": "Exists", "tolerationSeconds": seconds}]);
        let pod = with(pod("a", "n", "Running"), "/spec/tolerations", tolerations);
        let history = History::of(|id| id == "N2").put("nodes", unreachable("n"));
        history.put("pods", pod).at(at)
    };
    assert_eq!(stays(Some(20), 30).missing().len(), 1);
    assert!(stays(Some(20), 10).missing().is_empty());
    assert!(stays(None, 30).missing().is_empty(), "it tolerates the taint for ever");
    assert!(stays(Some(300), 400).missing().is_empty(), "that is not waited for");
    assert!(stays(Some(20), 30).missing_without(&["n"]).is_empty());
    let untainted = stays(Some(20), 30).put("nodes", node("n"));
    assert!(untainted.missing().is_empty());
}

#[test]
fn an_eviction_before_its_time_breaks_n2() {
    let delete = Asked {
        base: Some(3),
        user_agent: "kube-controller-manager/taint-eviction-controller".to_owned(),
        ..asked("controller-manager/1", http::Method::DELETE, POD)
    };
    let tolerations = json!([{"operator": "Exists", "tolerationSeconds": 60}]);
    let marked = json!([{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}]);
    let evicted = with(
        with(pod("a", "n", "Running"), "/spec/tolerations", tolerations),
        "/status/conditions",
        marked,
    );
    let history = |at| {
        History::new()
            .put("namespaces", namespace())
            .put("nodes", unreachable("n"))
            .put("pods", evicted.clone())
            .at(at)
            .see(&Seen::Asked(&delete))
            .broken()
    };
    assert_eq!(history(30), ["N2"]);
    assert!(history(61).is_empty());
    // The taint was there when the pod came.
    let late = |at| {
        let tainted = History::of(|id| id == "N2").put("nodes", unreachable("n")).at(100);
        let came = tainted.put("pods", evicted.clone()).at(at);
        came.see(&Seen::Asked(&delete)).broken()
    };
    assert_eq!(late(130), ["N2"]);
    assert!(late(161).is_empty());
    // Whoever else deletes it has another reason.
    let other = Asked {
        user_agent: "kube-controller-manager/generic-garbage-collector".to_owned(),
        ..delete.clone()
    };
    let tainted = || History::of(|id| id == "N2").put("nodes", unreachable("n"));
    let collected = tainted().put("pods", evicted.clone()).at(30);
    assert!(collected.see(&Seen::Asked(&other)).broken().is_empty());
    // It has to say why; the state that it names is that of the pod.
    let unsaid = with(evicted, "/status/conditions", json!([]));
    let unsaid = tainted().put("pods", unsaid).at(90);
    assert_eq!(unsaid.see(&Seen::Asked(&delete)).broken(), ["N2"]);
}

#[test]
fn an_eviction_goes_by_the_taint_that_the_present_one_stands_for() {
    let delete = Asked {
        user_agent: "kube-controller-manager/taint-eviction-controller".to_owned(),
        base: Some(0),
        ..asked("controller-manager/1", http::Method::DELETE, POD)
    };
    let tainted = |key: &str| with(node("n"), "/spec/taints", json!([{"key": key, "effect": "NoExecute"}]));
    let tolerations = json!([{"operator": "Exists", "tolerationSeconds": 60}]);
    let pod = with(pod("a", "n", "Running"), "/spec/tolerations", tolerations);
    // The pod is asked to go at second 170, after these taints.
    let evicted = |steps: &[(u64, &str)]| {
        let begin = History::of(|id| id == "N2").put("pods", pod.clone());
        let history = steps.iter().fold(begin, |history, (at, key)| {
            let node = if key.is_empty() { node("n") } else { tainted(key) };
            history.at(*at).put("nodes", node)
        });
        history.at(170).see(&Seen::Asked(&delete)).broken()
    };
    let (unreachable, not_ready) = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready");
    assert!(evicted(&[(100, unreachable), (150, not_ready)]).is_empty());
    assert!(evicted(&[(100, unreachable), (140, not_ready), (150, unreachable)]).is_empty());
    assert_eq!(evicted(&[(100, unreachable), (120, ""), (150, not_ready)]), ["N2"]);
    assert_eq!(evicted(&[(100, unreachable), (150, "example.com/other")]), ["N2"]);
    assert_eq!(evicted(&[(150, not_ready)]), ["N2"]);
}

#[test]
fn the_first_toleration_that_covers_a_taint_decides_for_n2() {
    let stays = |tolerations: Value| {
        let pod = with(pod("a", "n", "Running"), "/spec/tolerations", tolerations);
        let history = History::of(|id| id == "N2").put("nodes", unreachable("n"));
        history.put("pods", pod).at(50).missing().len()
    };
    let (ever, thirty) = (
        json!({"operator": "Exists"}),
        json!({"operator": "Exists", "tolerationSeconds": 30}),
    );
    assert_eq!(stays(json!([ever, thirty])), 0);
    assert_eq!(stays(json!([thirty, ever])), 1);
}

/// What the pod collector asks.
fn pod_collector(method: http::Method, path: &str, revision: Option<u64>) -> Asked {
    Asked {
        user_agent: "kube-controller-manager/pod-garbage-collector".to_owned(),
        base: revision,
        uid: (method != http::Method::GET).then(|| "uid-a".to_owned()),
        ..asked("controller-manager/1", method, path)
    }
}

/// A pod on a node, at revision 3.
fn bound() -> History {
    let history = History::of(|id| id == "N3").put("nodes", node("n"));
    history.put("pods", pod("a", "n", "Running"))
}

#[test]
fn a_pod_that_is_given_up_while_its_node_is_there_breaks_n3() {
    let look = pod_collector(http::Method::GET, "/api/v1/nodes/n", None);
    let mark = pod_collector(http::Method::PUT, &format!("{POD}/status"), Some(3));
    let delete = pod_collector(http::Method::DELETE, POD, None);
    assert_eq!(bound().see(&Seen::Asked(&mark)).broken(), ["N3"]);
    assert_eq!(bound().see(&Seen::Asked(&delete)).broken(), ["N3"]);
    // It was gone, but was there again when the collector looked.
    let back = bound().delete("nodes", &node("n")).put("nodes", node("n"));
    assert_eq!(back.see(&Seen::Asked(&look)).see(&Seen::Asked(&mark)).broken(), ["N3"]);
    // A former life's look is none of this one's.
    let anew = bound().delete("nodes", &node("n")).see(&Seen::Asked(&look));
    let process = "controller-manager/1";
    let anew = anew.put("nodes", node("n")).see(&Seen::Started { process });
    assert_eq!(anew.see(&Seen::Asked(&delete)).broken(), ["N3"]);
}

#[test]
fn a_node_that_comes_back_after_the_collectors_look_or_another_reason_to_delete_does_not_break_n3() {
    let look = pod_collector(http::Method::GET, "/api/v1/nodes/n", None);
    let mark = pod_collector(http::Method::PUT, &format!("{POD}/status"), Some(3));
    let delete = pod_collector(http::Method::DELETE, POD, None);
    let gone = || bound().delete("nodes", &node("n"));
    assert!(gone().see(&Seen::Asked(&delete)).broken().is_empty());
    let back = gone().see(&Seen::Asked(&look)).put("nodes", node("n"));
    assert!(
        back.see(&Seen::Asked(&mark))
            .see(&Seen::Asked(&delete))
            .broken()
            .is_empty()
    );
    // It goes and comes back while the look is on its way.
    let between = bound().see(&Seen::Asked(&look)).delete("nodes", &node("n"));
    let between = between.put("nodes", node("n"));
    assert!(between.see(&Seen::Asked(&delete)).broken().is_empty());
    let surplus = pod_collector(http::Method::DELETE, POD, Some(3));
    assert!(bound().see(&Seen::Asked(&surplus)).broken().is_empty());
    let out = json!({"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]});
    let out = || bound().put("nodes", with(node("n"), "/spec", out.clone()));
    let mark_now = |revision| pod_collector(http::Method::PUT, &format!("{POD}/status"), Some(revision));
    assert_eq!(out().see(&Seen::Asked(&mark_now(3))).broken(), ["N3"]);
    let going = with(
        pod("a", "n", "Running"),
        "/metadata/deletionTimestamp",
        json!("1970-01-01T00:00:01Z"),
    );
    let going = out().put("pods", going);
    assert!(going.see(&Seen::Asked(&mark_now(5))).broken().is_empty());
    let stale = pod_collector(http::Method::PUT, &format!("{POD}/status"), Some(2));
    assert!(bound().see(&Seen::Asked(&stale)).broken().is_empty());
}

#[test]
fn a_pod_that_goes_from_a_node_that_is_out_of_service_but_well_breaks_n3() {
    let out = json!({"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]});
    let going = json!("1970-01-01T00:00:01Z");
    let ends = |from: Value, at: u64| {
        let going = with(pod("a", "n", "Running"), "/metadata/deletionTimestamp", going.clone());
        let mark = pod_collector(http::Method::PUT, &format!("{POD}/status"), Some(5));
        let history = History::of(|id| id == "N3").put("nodes", node("n"));
        let history = history
            .at(300)
            .put("nodes", from)
            .put("nodes", with(node("n"), "/spec", out.clone()));
        history.put("pods", going).at(at).see(&Seen::Asked(&mark)).broken()
    };
    assert_eq!(ends(node("n"), 310), ["N3"]);
    assert!(ends(unknown("n"), 310).is_empty(), "it was not ready just before");
}

#[test]
fn an_orphan_that_is_deleted_before_it_is_marked_breaks_n3() {
    let delete = Asked {
        grace: Some(0),
        ..pod_collector(http::Method::DELETE, POD, None)
    };
    let deleted = |phase: &str| {
        let gone = bound().delete("nodes", &node("n")).put("pods", pod("a", "n", phase));
        gone.see(&Seen::Asked(&delete)).broken()
    };
    assert_eq!(deleted("Running"), ["N3"]);
    assert!(deleted("Failed").is_empty());
}

fn unknown(name: &str) -> Value {
    let unknown = json!([{"type": "Ready", "status": "Unknown"}]);
    with(node(name), "/status/conditions", unknown)
}

fn renewed(history: History, name: &str) -> History {
    history.put("leases.coordination.k8s.io", lease("kube-node-lease", name, name))
}

fn ready(status: &str) -> Value {
    let conditions = json!([{"type": "Ready", "status": status}]);
    with(pod("a", "n", "Running"), "/status/conditions", conditions)
}

/// Of the node `n` nothing is known since the tenth second; `m` is well.
fn lost() -> History {
    let history = History::of(|id| id == "N4")
        .put("nodes", node("n"))
        .put("nodes", node("m"));
    let history = history.put("pods", ready("True"));
    history.at(10).put("nodes", unknown("n"))
}

#[test]
fn a_pod_that_stays_ready_on_a_lost_node_breaks_n4() {
    assert_eq!(renewed(lost().at(200), "m").broken(), ["N4"]);
    let again = lost()
        .at(20)
        .put("pods", ready("False"))
        .at(30)
        .put("pods", ready("True"));
    assert_eq!(renewed(again.at(220), "m").broken(), ["N4"]);
    let returned = renewed(lost().at(50), "n");
    assert_eq!(renewed(returned.at(250), "m").broken(), ["N4"]);
}

#[test]
fn a_pod_on_a_lost_node_that_may_still_be_marked_does_not_break_n4() {
    let holds = |history: History| assert!(renewed(history, "m").broken().is_empty());
    holds(lost().at(20));
    holds(lost().at(20).put("pods", ready("False")).at(200));
    // It is there again, or renews its lease.
    holds(lost().at(20).put("nodes", node("n")).at(200));
    holds(renewed(lost().at(190), "n").at(200));
    // Whoever marks has just begun, or tried.
    holds(
        lost()
            .at(190)
            .see(&Seen::Leads {
                process: "controller-manager/1",
            })
            .at(200),
    );
    let status = |part: &str| Asked {
        user_agent: format!("kube-controller-manager/{part}"),
        ..asked("controller-manager/1", http::Method::PUT, &format!("{POD}/status"))
    };
    let (mark, evict) = (status("node-lifecycle-controller"), status("taint-eviction-controller"));
    holds(lost().at(190).see(&Seen::Asked(&mark)).at(200));
    let evicted = lost().at(190).see(&Seen::Asked(&evict)).at(200);
    assert_eq!(renewed(evicted, "m").broken(), ["N4"]);
    // Nobody else is well: it may be the control plane that is cut off.
    holds(lost().put("nodes", unknown("m")).at(200));
    holds(
        lost()
            .put("nodes", unknown("m"))
            .at(190)
            .put("nodes", node("m"))
            .at(200),
    );
}
