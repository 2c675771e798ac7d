//! The tests of P2's lower bound: which shrinking takes too much, and what a scaling excuses.

use serde_json::{Value, json};

use super::contract_tests::with;
use super::tests::{History, owned, pod, set};

const DEPLOYMENTS: &str = "deployments.apps";
const SETS: &str = "replicasets.apps";

/// A deployment that may lack one pod.
fn deployment(replicas: i32) -> Value {
    json!({"metadata": {"name": "web", "namespace": "default", "uid": "uid-web"},
        "spec": {"replicas": replicas, "selector": {}, "template": {},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}}})
}

/// A set that was last resized when its deployment wanted so many replicas.
fn sized(name: &str, size: i32, desired: i32) -> Value {
    let note = json!({"deployment.kubernetes.io/desired-replicas": desired.to_string()});
    with(
        owned(set(name, size), "Deployment", "web"),
        "/metadata/annotations",
        note,
    )
}

fn ready(name: &str, set: &str) -> Value {
    let pod = owned(pod(name, "n", "Running"), "ReplicaSet", set);
    with(pod, "/status/conditions", json!([{"type": "Ready", "status": "True"}]))
}

/// In the midst of a rollout: of an old set's pods so many are ready, and so many of a new one's.
fn rollout(replicas: i32, old: i32, new: i32) -> History {
    let mut history = History::of(|id| id == "P2")
        .put(DEPLOYMENTS, deployment(replicas))
        .put(SETS, sized("old", old, replicas))
        .put(SETS, sized("new", new.max(1), replicas));
    for (set, count) in [("old", old), ("new", new)] {
        for number in 0..count {
            history = history.put("pods", ready(&format!("{set}-{number}"), set));
        }
    }
    history.at(100)
}

#[test]
fn a_rollout_that_takes_too_many_ready_pods_away_breaks_p2() {
    let shrunk = |size| rollout(3, 3, 0).put(SETS, sized("old", size, 3)).broken();
    assert_eq!(shrunk(1), ["P2"]);
    assert!(shrunk(2).is_empty());
}

#[test]
fn pods_that_became_ready_just_now_may_be_taken_for_others() {
    let shrunk = |seconds| {
        let history = rollout(3, 0, 0).put(SETS, sized("old", 3, 3));
        let pods = ["a", "b", "c"].into_iter();
        let history = pods.fold(history, |history, name| history.put("pods", ready(name, "old")));
        history.at(seconds).put(SETS, sized("old", 1, 3)).broken()
    };
    assert!(shrunk(105).is_empty());
    assert_eq!(shrunk(120), ["P2"]);
}

#[test]
fn of_what_was_scaled_up_lately_only_what_that_added_may_be_missing() {
    let grown = |size, seconds| {
        let history = rollout(3, 3, 0).put(DEPLOYMENTS, deployment(6));
        let history = history.put(SETS, sized("new", 4, 6)).put(SETS, sized("old", 3, 6));
        history.at(seconds).put(SETS, sized("old", size, 6)).broken()
    };
    assert_eq!(grown(1, 110), ["P2"]);
    assert!(grown(2, 110).is_empty());
    assert_eq!(grown(2, 500), ["P2"]);
}

#[test]
fn a_sets_share_of_a_scaling_is_lawful_and_what_comes_after_is_not() {
    // Three of six wanted pods are ready in each set.
    let scaled = || {
        let history = rollout(6, 3, 3).put(DEPLOYMENTS, deployment(4));
        history.put(SETS, sized("new", 2, 4)).put(SETS, sized("old", 2, 4))
    };
    assert!(scaled().broken().is_empty());
    assert_eq!(scaled().put(SETS, sized("old", 0, 4)).broken(), ["P2"]);
    // Of a scaling in several passes.
    let behind = rollout(6, 3, 3).put(DEPLOYMENTS, deployment(4));
    let behind = behind.put(SETS, sized("new", 2, 4)).put(SETS, sized("new", 0, 4));
    assert!(behind.broken().is_empty());
    let news = rollout(6, 3, 3).put(DEPLOYMENTS, deployment(4));
    let news = news.put(SETS, sized("old", 3, 4)).put(SETS, sized("new", 2, 4));
    assert!(news.put(SETS, sized("old", 0, 4)).broken().is_empty());
}

#[test]
fn what_was_paused_lately_or_is_disturbed_is_let_alone() {
    let paused = with(deployment(3), "/spec/paused", json!(true));
    let resumed = rollout(3, 3, 0)
        .put(DEPLOYMENTS, paused)
        .put(DEPLOYMENTS, deployment(3));
    assert!(resumed.put(SETS, sized("old", 0, 3)).broken().is_empty());
    let struck = rollout(3, 3, 0).struck();
    assert!(struck.put(SETS, sized("old", 0, 3)).broken().is_empty());
}
