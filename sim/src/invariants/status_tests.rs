//! The tests of the invariants about what a kubelet says of containers: K10 and K15.

use serde_json::{Value, json};

use super::contract_tests::with;
use super::kubelet_tests::{ends, history, seconds, starts};
use super::tests::{History, POD, asked, pod};
use crate::model::{Answered, Asked, Seen};

/// The pod with a status of its container.
fn shown(phase: &str, status: Value) -> Value {
    let mut pod = pod("a", "n", phase);
    pod["status"]["containerStatuses"] = json!([status]);
    pod
}

fn running(id: &str, restarts: i32) -> Value {
    json!({"name": "c", "image": "", "imageID": "", "ready": true, "started": true, "restartCount": restarts,
        "containerID": format!("simulated://{id}"), "state": {"running": {}}})
}

fn terminated(id: &str, code: i32) -> Value {
    json!({"name": "c", "image": "", "imageID": "", "ready": false, "started": false, "restartCount": 0,
        "containerID": format!("simulated://{id}"),
        "state": {"terminated": {"exitCode": code, "containerID": format!("simulated://{id}")}}})
}

#[test]
fn a_container_that_answers_nobody_and_stays_ready_breaks_k15() {
    let silent = Seen::ContainerSilent {
        container: "c1",
        silent: true,
    };
    let shown = |ready: bool| {
        let mut pod = with(
            shown("Running", running("c1", 0)),
            "/spec/containers/0/readinessProbe",
            json!({"httpGet": {"port": 80}, "periodSeconds": 2}),
        );
        pod["status"]["containerStatuses"][0]["ready"] = json!(ready);
        pod
    };
    let lease = json!({"metadata": {"name": "n", "namespace": "kube-node-lease", "uid": "uid-lease"}});
    let renewed = |mut history: History, until: u64| {
        for second in (20..until).step_by(10) {
            history = history.at(second).put("leases.coordination.k8s.io", lease.clone());
        }
        history
    };
    let history = |ready| {
        History::of(|id| id == "K15")
            .put("pods", shown(ready))
            .at(10)
            .see(&starts("s1", "c1", "c", 1))
            .see(&silent)
    };
    assert_eq!(renewed(history(true), 150).broken().first(), Some(&"K15"));
    assert!(renewed(history(false), 150).broken().is_empty());
    assert!(renewed(history(true), 40).broken().is_empty(), "it has some time");
    // A kubelet that has begun anew, or that nobody hears, does not know yet.
    let reborn = renewed(history(true), 50)
        .at(100)
        .see(&Seen::Started { process: "kubelet/n" });
    assert!(
        reborn
            .at(110)
            .put("leases.coordination.k8s.io", lease.clone())
            .broken()
            .is_empty()
    );
    let unheard = history(true).at(150).put("leases.coordination.k8s.io", lease.clone());
    assert!(unheard.broken().is_empty());
}

#[test]
fn a_status_that_shows_a_container_run_that_does_not_breaks_k10() {
    let claimed = |pod| history(json!({})).put("pods", pod).broken();
    assert_eq!(claimed(shown("Running", running("c1", 0))), ["K10"]);
    let started = || history(json!({})).at(1).see(&starts("s1", "c1", "c", 1));
    let run = || shown("Running", running("c1", 0));
    assert!(started().put("pods", run()).broken().is_empty());
    let ended = || started().at(2).see(&ends("c1", 0));
    assert_eq!(ended().at(60).put("pods", run()).broken(), ["K10"]);
    // The kubelet has not heard of it yet; and what stood there before is no news.
    assert!(ended().at(3).put("pods", run()).broken().is_empty());
    let stood = ended().at(3).put("pods", run()).at(60).put("pods", run());
    assert!(stood.broken().is_empty());
    let mut waiting = running("c1", 0);
    waiting["state"] = json!({"waiting": {}});
    assert_eq!(started().put("pods", shown("Running", waiting)).broken(), ["K10"]);
    // The machine was replaced meanwhile.
    let removed = ended().see(&Seen::ContainerRemoved { container: "c1" });
    assert!(removed.at(60).put("pods", run()).broken().is_empty());
}

#[test]
fn a_status_that_shows_another_end_than_there_was_breaks_k10() {
    let started = || history(json!({})).at(1).see(&starts("s1", "c1", "c", 1));
    let end = |code| shown("Running", terminated("c1", code));
    assert_eq!(started().put("pods", end(0)).broken(), ["K10"]);
    assert_eq!(started().see(&ends("c1", 1)).put("pods", end(0)).broken(), ["K10"]);
    assert!(started().see(&ends("c1", 1)).put("pods", end(1)).broken().is_empty());
    let mut unknown = terminated("c1", 137);
    unknown["state"]["terminated"]["reason"] = json!("ContainerStatusUnknown");
    assert!(started().put("pods", shown("Running", unknown)).broken().is_empty());
}

#[test]
fn a_pod_that_is_shown_to_have_succeeded_and_has_not_breaks_k10() {
    let started = || history(json!({})).at(1).see(&starts("s1", "c1", "c", 1));
    let over = || pod("a", "n", "Succeeded");
    assert_eq!(started().put("pods", over()).broken(), ["K10"]);
    assert_eq!(started().see(&ends("c1", 1)).put("pods", over()).broken(), ["K10"]);
    assert!(started().see(&ends("c1", 0)).put("pods", over()).broken().is_empty());
    // What the runtime has lost since has ended as it has ended.
    let lost = |history: History| history.see(&Seen::ContainerRemoved { container: "c1" });
    assert_eq!(lost(started()).put("pods", over()).broken(), ["K10"]);
    assert_eq!(
        lost(started().see(&ends("c1", 137))).put("pods", over()).broken(),
        ["K10"]
    );
    assert!(
        lost(started().see(&ends("c1", 0)))
            .put("pods", over())
            .broken()
            .is_empty()
    );
}

#[test]
fn a_count_of_restarts_that_falls_breaks_k10() {
    let counted = || {
        let started = history(json!({})).at(1).see(&starts("s1", "c1", "c", 1));
        started.put("pods", shown("Running", running("c1", 2)))
    };
    assert_eq!(
        counted().put("pods", shown("Running", running("c1", 1))).broken(),
        ["K10"]
    );
    assert!(
        counted()
            .put("pods", shown("Running", running("c1", 3)))
            .broken()
            .is_empty()
    );
}

#[test]
fn a_status_that_comes_late_is_judged_by_when_it_was_sent() {
    // It is sent at second 2, when the store is at revision 3, and carried out at second 300.
    let sent = |floor| Asked {
        at: seconds(2),
        floor,
        ..asked("kubelet/n", http::Method::PATCH, &format!("{POD}/status"))
    };
    let late = |history: History, floor, restarts| {
        let asked = sent(floor);
        let begun = Seen::Begun {
            execution: 1,
            asked: &asked,
        };
        history
            .at(300)
            .see(&begun)
            .put("pods", shown("Running", running("c1", restarts)))
    };
    let started = || history(json!({})).at(1).see(&starts("s1", "c1", "c", 1));
    let restarted = || started().put("pods", shown("Running", running("c1", 2)));
    assert_eq!(
        late(restarted(), 3, 1).broken(),
        ["K10"],
        "it knew better when it was sent"
    );
    assert!(late(restarted(), 2, 1).broken().is_empty());
    // What it says was so when it was sent.
    let ended = || started().at(3).see(&ends("c1", 1));
    assert!(late(ended(), 2, 0).broken().is_empty());
    // Whoever has been answered writes no more.
    let answer = Answered {
        execution: 1,
        ..Answered::default()
    };
    let done = late(ended(), 2, 0).see(&Seen::Answered(&sent(2), &answer));
    let gone = done.put("pods", pod("a", "n", "Running"));
    assert_eq!(gone.put("pods", shown("Running", running("c1", 0))).broken(), ["K10"]);
}

#[test]
fn a_count_that_all_have_known_for_long_does_not_fall_because_of_a_fault() {
    let fallen = |seconds: u64| {
        let started = history(json!({})).at(1).see(&starts("s1", "c1", "c", 1));
        let counted = started.put("pods", shown("Running", running("c1", 2)));
        let struck = counted.at(seconds).struck();
        struck.put("pods", shown("Running", running("c1", 0))).broken()
    };
    assert!(fallen(20).is_empty(), "its kubelet may not have heard of it");
    assert_eq!(fallen(100), ["K10"]);
}

/// A pod whose only container is asked every two seconds whether it is ready, and given up after three failures.
fn probed(ready: bool) -> Value {
    let mut status = running("c1", 0);
    status["ready"] = json!(ready);
    let mut pod = shown("Running", status);
    pod["spec"]["containers"][0]["readinessProbe"] = json!({"periodSeconds": 2, "httpGet": {"port": 80}});
    pod
}

#[test]
fn a_container_that_answers_and_is_shown_unready_breaks_k10() {
    let ready = || {
        let started = history(json!({})).at(1).see(&starts("s1", "c1", "c", 1));
        started.at(10).put("pods", probed(true))
    };
    let silent = |silent| Seen::ContainerSilent {
        container: "c1",
        silent,
    };
    let silenced = |from, until| ready().at(from).see(&silent(true)).at(until).see(&silent(false));
    assert_eq!(ready().at(100).put("pods", probed(false)).broken(), ["K10"]);
    // Twice for a moment is not once for long.
    let twice = silenced(60, 62).at(70).see(&silent(true)).at(72).see(&silent(false));
    assert_eq!(twice.put("pods", probed(false)).broken(), ["K10"]);
    assert!(silenced(60, 65).at(100).put("pods", probed(false)).broken().is_empty());
    let still = ready().at(60).see(&silent(true)).at(64).put("pods", probed(false));
    assert!(still.broken().is_empty());
}

#[test]
fn a_pod_that_goes_and_a_kubelet_that_may_not_know_do_not_break_k10() {
    let ready = || {
        let started = history(json!({})).at(1).see(&starts("s1", "c1", "c", 1));
        started.at(10).put("pods", probed(true))
    };
    assert!(ready().at(30).put("pods", probed(false)).broken().is_empty());
    let paused = ready().at(100).know(|cluster| cluster.pause("kubelet/n", seconds(95)));
    assert!(paused.put("pods", probed(false)).broken().is_empty());
    let mut going = probed(false);
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(ready().at(100).put("pods", going).broken().is_empty());
}
