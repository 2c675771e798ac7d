//! The tests of the invariants about what actors have seen and been promised: informers, stale acts, admission, flows,
//! allocations, the collector.

use std::net::SocketAddrV4;
use std::time::Duration;

use serde_json::{Value, json};

use super::tests::{History, POD, asked, owned, pod, set, started};
use crate::model::{Answered, Asked, ObjectId, Seen, Selection, WatchEventKind};
use crate::scenario::Role;

const KUBELET: &str = "kubelet/n";

fn opened<'a>(stream: u64, selection: &'a Selection, from: u64) -> Seen<'a> {
    Seen::WatchOpened {
        stream,
        client: KUBELET,
        selection,
        from: Some(from),
        asked: Duration::ZERO,
    }
}

fn pods() -> Selection {
    Selection {
        resource: "pods".into(),
        namespace: String::new(),
        labels: None,
        fields: None,
    }
}

fn shown(stream: u64, revision: u64) -> Seen<'static> {
    Seen::Watched {
        stream,
        kind: WatchEventKind::Added,
        revision,
        namespace: "default",
        name: "a",
    }
}

const fn delivered(stream: u64, events: u64) -> Seen<'static> {
    Seen::Delivered { stream, events }
}

/// A pod at revision 2, told to an informer that began at revision 1; under way.
fn told(selection: &Selection) -> History {
    History::new()
        .see(&opened(1, selection, 1))
        .put("pods", pod("a", "n", "Pending"))
        .see(&shown(1, 2))
}

#[test]
fn an_informer_that_resumes_before_what_it_was_shown_breaks_c1() {
    let selection = pods();
    let back = told(&selection).see(&delivered(1, 1)).see(&opened(2, &selection, 1));
    assert_eq!(back.broken(), ["C1"]);
}

#[test]
fn a_watch_that_is_taken_up_after_its_client_asked_anew_does_not_break_c1() {
    let selection = pods();
    let again = Seen::WatchOpened {
        stream: 2,
        client: KUBELET,
        selection: &selection,
        from: Some(2),
        asked: Duration::from_secs(1),
    };
    let late = opened(3, &selection, 1);
    let history = told(&selection).see(&delivered(1, 1)).see(&again).see(&late);
    assert!(history.broken().is_empty());
}

#[test]
fn resuming_where_it_was_or_before_what_never_arrived_or_in_a_new_life_is_lawful() {
    let selection = pods();
    let on = told(&selection).see(&delivered(1, 1)).see(&opened(2, &selection, 2));
    assert!(on.broken().is_empty());
    // The server said it, and the connection broke before it arrived.
    let lost = told(&selection)
        .see(&Seen::WatchClosed { stream: 1 })
        .see(&opened(2, &selection, 1));
    assert!(lost.broken().is_empty());
    let anew = told(&selection)
        .see(&delivered(1, 1))
        .see(&Seen::Started { process: KUBELET })
        .see(&opened(2, &selection, 1));
    assert!(anew.broken().is_empty());
}

#[test]
fn a_cache_is_behind_until_the_last_change_was_delivered() {
    let selection = pods();
    let missing = |history: History| history.missing().iter().filter(|what| what.starts_with("C3")).count();
    assert_eq!(missing(told(&selection)), 0, "it may be under way");
    assert_eq!(missing(told(&selection).at(10)), 1);
    assert_eq!(missing(told(&selection).see(&delivered(1, 1)).at(10)), 0);
}

#[test]
fn what_a_process_that_stays_broken_lacks_is_not_asked_for_but_its_namesakes_is() {
    let selection = pods();
    let lack = |client, about: &str, left: &str| {
        let opened = Seen::WatchOpened {
            stream: 1,
            client,
            selection: &selection,
            from: Some(1),
            asked: Duration::ZERO,
        };
        let history = History::of(|id| id == "C1").see(&opened);
        let missing = history
            .put("pods", pod(about, "n", "Pending"))
            .at(10)
            .missing_without(&[left]);
        missing.len()
    };
    assert_eq!(lack("kubelet/node-1", "a", "kubelet/node-1"), 0);
    assert_eq!(lack("kubelet/node-10", "a", "kubelet/node-1"), 1);
    assert_eq!(lack("kubelet/node-1", "a", "kubelet/node-10"), 1);
    assert_eq!(lack("scheduler/2", "a", "scheduler/2"), 0);
    assert_eq!(lack("scheduler/1", "about-node-1", "kubelet/node-1"), 1);
}

fn list(version: Option<&str>, revision: u64) -> (Asked, Answered) {
    let asked = Asked {
        version_asked: version.map(str::to_owned),
        floor: 9,
        ..asked(KUBELET, http::Method::GET, "/api/v1/pods")
    };
    let answer = Answered {
        status: 200,
        revision: Some(revision),
        ..Answered::default()
    };
    (asked, answer)
}

fn stopping() -> Seen<'static> {
    Seen::ContainerStopping {
        machine: "n",
        pod_uid: "uid-a",
        container: "c1",
        grace: Duration::from_secs(30),
    }
}

/// A kubelet that acted on revision 9, and starts again.
fn acted() -> History {
    let (newest, answer) = list(None, 9);
    History::new()
        .put("pods", pod("a", "n", "Running"))
        .see(&Seen::Answered(&newest, &answer))
        .see(&stopping())
        .see(&Seen::Started { process: KUBELET })
}

#[test]
fn a_new_life_that_ends_containers_on_an_older_state_breaks_c2() {
    let (old, answer) = list(Some("0"), 5);
    let act = acted().see(&Seen::Answered(&old, &answer)).see(&stopping());
    assert_eq!(act.broken(), ["C2"]);
}

#[test]
fn a_new_life_that_starts_a_pod_that_is_gone_on_an_older_state_breaks_c2() {
    let (old, answer) = list(Some("0"), 5);
    let gone = || {
        acted()
            .delete("pods", &pod("a", "n", "Running"))
            .see(&Seen::Answered(&old, &answer))
    };
    assert_eq!(gone().see(&started("n", "uid-a")).broken(), ["C2"]);
    let lives = acted().see(&Seen::Answered(&old, &answer)).see(&started("n", "uid-a"));
    assert!(lives.broken().is_empty());
}

#[test]
fn an_act_after_a_consistent_read_or_on_an_old_picture_that_was_never_newer_is_lawful() {
    let (old, old_answer) = list(Some("0"), 5);
    let (newest, newest_answer) = list(None, 9);
    let read = acted()
        .see(&Seen::Answered(&old, &old_answer))
        .see(&Seen::Answered(&newest, &newest_answer))
        .see(&stopping());
    assert!(read.broken().is_empty());
    let first = History::new()
        .see(&Seen::Answered(&old, &old_answer))
        .see(&stopping())
        .see(&stopping());
    assert!(first.broken().is_empty());
}

fn rejected(mut pod: Value) -> Value {
    pod["status"] = json!({"phase": "Failed", "reason": "OutOfcpu"});
    pod
}

#[test]
fn an_admitted_pod_that_is_rejected_breaks_k6() {
    let running = History::new().put("pods", pod("a", "n", "Running"));
    assert_eq!(running.put("pods", rejected(pod("a", "n", ""))).broken(), ["K6"]);
    let ran = History::new()
        .put("pods", pod("a", "n", "Pending"))
        .see(&started("n", "uid-a"));
    assert_eq!(ran.put("pods", rejected(pod("a", "n", ""))).broken(), ["K6"]);
}

#[test]
fn a_pod_that_was_never_admitted_may_be_rejected() {
    let bound = History::new().put("pods", pod("a", "n", "Pending"));
    assert!(bound.put("pods", rejected(pod("a", "n", ""))).broken().is_empty());
}

fn service() -> Value {
    json!({"metadata": {"name": "dns", "namespace": "default", "uid": "uid-dns"}, "spec": {"selector": {"app": "dns"}}})
}

fn slice(address: &str) -> Value {
    let slice = json!({"metadata": {"name": "dns-1", "namespace": "default", "uid": "uid-slice",
            "labels": {"kubernetes.io/service-name": "dns"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [address]}]});
    owned(slice, "Service", "dns")
}

/// A flow that goes to 10.244.1.2 since second 10, until `second`.
fn flow(history: History, second: u64) -> History {
    let service = ObjectId {
        resource: "services".into(),
        namespace: "default".to_owned(),
        name: "dns".to_owned(),
    };
    let address = |text: &str| text.parse::<SocketAddrV4>().unwrap();
    let seen = Seen::Flow {
        machine: "n",
        service: &service,
        sent_to: address("10.96.0.10:53"),
        goes_to: Some(address("10.244.1.2:53")),
    };
    let moments = (10..second).step_by(2).chain([second]);
    moments.fold(history, |history, second| history.at(second).see(&seen))
}

fn dns(address: &str) -> History {
    History::new()
        .put("services", service())
        .put("endpointslices.discovery.k8s.io", slice(address))
}

#[test]
fn a_flow_that_stays_pinned_to_what_is_no_endpoint_breaks_e5() {
    assert!(flow(dns("10.244.1.3"), 60).broken().contains(&"E5"));
    let missing = flow(dns("10.244.1.3"), 12).missing();
    assert!(missing.iter().any(|what| what.starts_with("E5")), "{missing:?}");
    assert_eq!(flow(dns("10.244.1.3"), 12).missing_without(&["n"]), [""; 0]);
    // Nobody calls there any more, as at a node port that was given up.
    assert_eq!(flow(dns("10.244.1.3"), 12).at(30).missing(), [""; 0]);
}

#[test]
fn a_flow_to_an_endpoint_or_one_that_the_proxy_had_no_time_for_is_lawful() {
    assert!(flow(dns("10.244.1.2"), 60).broken().is_empty());
    assert!(flow(dns("10.244.1.2"), 60).missing().is_empty());
    assert!(flow(dns("10.244.1.3"), 20).broken().is_empty());
}

#[test]
fn a_flow_stays_with_an_endpoint_that_ends_and_not_with_one_that_is_not_ready() {
    let shown = |conditions: Value| {
        let mut slice = slice("10.244.1.2");
        slice["endpoints"][0]["conditions"] = conditions;
        let history = History::new().put("services", service());
        flow(history.put("endpointslices.discovery.k8s.io", slice), 60).broken()
    };
    assert!(shown(json!({"ready": false, "serving": false})).contains(&"E5"));
    assert!(shown(json!({"ready": false, "serving": true, "terminating": true})).is_empty());
    assert!(shown(json!({"ready": true, "serving": true})).is_empty());
}

#[test]
fn an_address_that_is_not_allocated_to_the_service_that_holds_it_breaks_e1() {
    let mut holder = service();
    holder["spec"]["clusterIP"] = json!("10.96.0.10");
    let tick = asked("user", http::Method::GET, POD);
    let held = |claims: &[&str]| {
        let mut history = History::new().put("services", holder.clone());
        for claim in claims {
            history = history.claim(claim);
        }
        history.see(&Seen::Asked(&tick)).broken()
    };
    assert_eq!(held(&[]), ["E1"]);
    assert!(held(&["/ranges/serviceips/10.96.0.10"]).is_empty());
    assert_eq!(
        held(&["/ranges/serviceips/10.96.0.10", "/ranges/servicenodeports/30000"]),
        ["E1"]
    );
}

#[test]
fn what_the_collector_itself_deletes_is_excused_by_nothing() {
    let excess = || {
        History::new()
            .put("replicasets.apps", set("rs", 1))
            .put("pods", owned(pod("a", "n", "Running"), "ReplicaSet", "rs"))
            .put("replicasets.apps", set("rs", 0))
    };
    let by = |agent: &str| Asked {
        user_agent: agent.to_owned(),
        ..asked("controller-manager/1", http::Method::DELETE, POD)
    };
    let scale = by("kube-controller-manager");
    assert!(excess().see(&Seen::Asked(&scale)).broken().is_empty());
    let collect = by("kube-controller-manager/generic-garbage-collector");
    assert_eq!(excess().see(&Seen::Asked(&collect)).broken(), ["G1"]);
}

/// What `component` tells of pod a, at a second of the first minutes.
fn event(component: &str, uid: &str, at: u64) -> Value {
    let time = format!("1970-01-01T00:{:02}:{:02}Z", at / 60, at % 60);
    json!({"metadata": {"name": "a.1", "namespace": "default", "uid": "uid-event"}, "reason": "Told", "count": 2,
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "a", "uid": uid},
        "source": {"component": component}, "lastTimestamp": time})
}

/// A pod that is gone after ten seconds, and later a namesake of it.
fn replaced() -> History {
    let history = History::of(|id| id == "R1").put("pods", pod("a", "n", "Running"));
    let history = history.at(10).delete("pods", &pod("a", "n", "Running")).at(100);
    let mut other = pod("a", "n", "Running");
    other["metadata"]["uid"] = json!("uid-other");
    history.put("pods", other)
}

#[test]
fn an_event_of_a_namesake_that_is_counted_for_what_is_gone_breaks_r1() {
    for component in ["default-scheduler", "deployment-controller"] {
        let history = replaced().put("events", event(component, "uid-a", 100));
        assert_eq!(history.broken(), ["R1"]);
    }
}

#[test]
fn what_is_told_again_without_its_moment_breaks_r1() {
    let told = |count: i32, at: u64| {
        let mut event = event("default-scheduler", "uid-a", at);
        event["count"] = json!(count);
        event
    };
    let twice = |at| {
        let history = History::of(|id| id == "R1").at(100).put("events", told(1, 100));
        history.at(300).put("events", told(2, at)).broken()
    };
    assert_eq!(twice(100), ["R1"]);
    assert!(twice(290).is_empty());
}

#[test]
fn a_pod_that_is_told_to_be_made_twice_breaks_r1() {
    let after = |history: History, reason: &str, count: i32| {
        let mut event = event("replicaset-controller", "uid-set", 100);
        (event["reason"], event["count"]) = (json!(reason), json!(count));
        event["message"] = json!("Created pod: a");
        history.put("events", event).broken()
    };
    let made = || History::of(|id| id == "R1").put("pods", pod("a", "", "Pending"));
    let told = |reason: &str, count: i32| after(made(), reason, count);
    assert_eq!(told("SuccessfulCreate", 2), ["R1"]);
    assert!(told("SuccessfulCreate", 1).is_empty());
    // Of which the controller may be told late, so that it deletes again.
    assert!(told("SuccessfulDelete", 2).is_empty());
    // The name was drawn again when its first pod was gone.
    let again = || {
        made()
            .delete("pods", &pod("a", "", "Pending"))
            .put("pods", pod("a", "", "Pending"))
    };
    assert!(after(again(), "SuccessfulCreate", 2).is_empty());
    assert_eq!(after(again(), "SuccessfulCreate", 3), ["R1"]);
}

#[test]
fn an_event_that_is_late_or_of_a_kubelet_or_of_a_wrong_clock_or_of_what_is_there_does_not_break_r1() {
    let told = |component, uid, at| replaced().put("events", event(component, uid, at)).broken();
    let none = [""; 0];
    assert_eq!(told("deployment-controller", "uid-other", 100), none);
    assert_eq!(
        told("deployment-controller", "uid-a", 25),
        none,
        "it has waited to be written"
    );
    assert_eq!(told("kubelet", "uid-a", 100), none);
    assert_eq!(told("deployment-controller", "uid-never", 100), none);
    let late = event("deployment-controller", "uid-a", 100);
    let wrong = replaced()
        .know(|cluster| cluster.clock_errs())
        .put("events", late.clone());
    assert_eq!(wrong.broken(), none);
    let second = Duration::from_secs;
    let held = replaced().know(|cluster| cluster.stall(Role::ControllerManager, second(10), second(70)));
    assert_eq!(
        held.put("events", late).broken(),
        none,
        "it was told late that the pod is gone"
    );
}
