//! The tests of the invariants about what becomes of pods on their nodes: K1 to K4.

use std::net::IpAddr;

use serde_json::json;

use super::kubelet_tests::starts;
use super::tests::{History, POD, asked, node, pod, started};
use crate::model::{Asked, Seen};

#[test]
fn a_pod_that_runs_again_breaks_k1() {
    let finished = || {
        History::new()
            .put("nodes", node("n"))
            .put("pods", pod("a", "n", "Succeeded"))
    };
    assert_eq!(finished().put("pods", pod("a", "n", "Running")).broken(), ["K1"]);
    assert_eq!(finished().see(&started("n", "uid-a")).broken(), ["K1"]);
}

#[test]
fn a_pod_that_runs_before_all_its_containers_breaks_k1() {
    let shown = |phase: &str| {
        let mut pod = pod("a", "n", phase);
        let of = |name: &str| json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0});
        pod["status"]["containerStatuses"] = json!([of("c"), of("d")]);
        pod
    };
    let runs = |names: &[&str]| {
        let mut history = History::of(|id| id == "K1").put("pods", shown("Pending"));
        for name in names {
            history = history.see(&starts("s1", name, name, 1));
        }
        history.put("pods", shown("Running")).broken()
    };
    assert_eq!(runs(&["c"]), ["K1"]);
    assert!(runs(&["c", "d"]).is_empty());
}

#[test]
fn a_container_of_nobody_breaks_k2() {
    assert_eq!(History::new().see(&started("n", "uid-a")).broken(), ["K2"]);
    let bound = || History::of(|id| id == "K2").put("pods", pod("a", "n", "Running"));
    assert!(bound().see(&started("n", "uid-a")).broken().is_empty());
    assert_eq!(bound().see(&started("m", "uid-a")).broken(), ["K2"]);
    let last = Asked {
        grace: Some(0),
        ..asked("kubelet/n", http::Method::DELETE, POD)
    };
    assert_eq!(
        bound().see(&started("n", "uid-a")).see(&Seen::Asked(&last)).broken(),
        ["K2"]
    );
    let ended = bound().see(&started("n", "uid-a")).see(&Seen::ContainerEnded {
        container: "c1",
        code: 0,
    });
    assert!(ended.see(&Seen::Asked(&last)).broken().is_empty());
}

#[test]
fn a_container_that_a_kubelet_starts_for_a_pod_that_it_had_removed_for_good_breaks_k2() {
    let last = Asked {
        grace: Some(0),
        ..asked("kubelet/n", http::Method::DELETE, POD)
    };
    let bound = || {
        History::of(|id| id == "K2")
            .put("pods", pod("a", "n", "Running"))
            .at(10)
    };
    let goes = |history: History| history.at(11).delete("pods", &pod("a", "n", "Running")).at(20);
    let removed = || goes(bound().see(&Seen::Asked(&last)));
    assert_eq!(removed().see(&starts("s1", "c1", "c", 15)).broken(), ["K2"]);
    let late = removed().see(&starts("s1", "c1", "c", 5));
    assert!(late.broken().is_empty(), "the runtime was told before");
    let anew = removed().see(&Seen::Started { process: "kubelet/n" });
    assert!(anew.see(&starts("s1", "c1", "c", 15)).broken().is_empty());
    // Somebody else has forced it, and the kubelet does not know yet; or its request was refused.
    assert!(goes(bound()).see(&starts("s1", "c1", "c", 15)).broken().is_empty());
    let refused = bound().see(&Seen::Asked(&last)).at(20);
    assert!(refused.see(&starts("s1", "c1", "c", 15)).broken().is_empty());
}

pub(super) fn sandbox<'a>(name: &'a str, uid: &'a str, last: u8) -> Seen<'a> {
    Seen::SandboxReady {
        machine: "n",
        pod_uid: uid,
        sandbox: name,
        ip: Some(IpAddr::from([10, 244, 1, last])),
    }
}

#[test]
fn a_second_ready_sandbox_breaks_k3() {
    let history = || History::new().see(&sandbox("s1", "u", 2));
    assert_eq!(history().see(&sandbox("s2", "u", 3)).broken(), ["K3"]);
    let replaced = history()
        .see(&Seen::SandboxGone { sandbox: "s1" })
        .see(&sandbox("s2", "u", 3));
    assert!(replaced.broken().is_empty());
}

#[test]
fn an_address_of_two_pods_or_of_none_breaks_k4() {
    assert_eq!(
        History::new()
            .see(&sandbox("s1", "u", 2))
            .see(&sandbox("s2", "v", 2))
            .broken(),
        ["K4"]
    );
    let mut shown = pod("a", "n", "Running");
    shown["status"]["podIP"] = json!("10.244.1.2");
    assert_eq!(History::new().put("pods", shown.clone()).broken(), ["K4"]);
    assert!(
        History::new()
            .see(&sandbox("s1", "uid-a", 2))
            .put("pods", shown)
            .broken()
            .is_empty()
    );
}

#[test]
fn an_address_of_a_sandbox_that_is_gone_is_missed_by_k4_in_the_end() {
    let shown = || {
        let mut shown = pod("a", "n", "Running");
        shown["status"]["podIP"] = json!("10.244.1.2");
        let history = History::of(|id| id == "K4").see(&sandbox("s1", "uid-a", 2));
        history.put("pods", shown)
    };
    assert!(shown().missing().is_empty());
    let gone = || shown().see(&Seen::SandboxGone { sandbox: "s1" });
    assert_eq!(gone().missing().len(), 1);
    assert!(gone().missing_without(&["n"]).is_empty());
    let others = gone().see(&sandbox("s2", "uid-b", 2));
    assert_eq!(others.missing().len(), 1);
}
