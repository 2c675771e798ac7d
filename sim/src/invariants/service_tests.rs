//! The tests of the invariants about availability, readiness gates, the conditions of endpoints, session affinity,
//! connections, and whom a set gives up.

use std::net::SocketAddrV4;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::tests::{History, POD, asked, node, owned, pod, set};
use crate::model::{Asked, Call, Caller, ObjectId, Seen};

/// Judged by one invariant alone.
fn history(id: &'static str) -> History {
    History::of(move |own| own == id)
}

/// A pod of a set that became ready so many seconds after the beginning, or is not ready.
fn ready(name: &str, since: Option<i64>) -> Value {
    let mut pod = owned(pod(name, "n", "Running"), "ReplicaSet", "rs");
    let since = since.map(|since| Timestamp::from_second(since).unwrap().to_string());
    let status = if since.is_some() { "True" } else { "False" };
    pod["status"]["conditions"] = json!([{"type": "Ready", "status": status, "lastTransitionTime": since}]);
    pod
}

fn counting(min_ready: i32, available: i32) -> Value {
    let mut set = owned(set("rs", 2), "Deployment", "d");
    set["spec"]["minReadySeconds"] = json!(min_ready);
    set["status"] = json!({"replicas": 2, "availableReplicas": available});
    set
}

const SETS: &str = "replicasets.apps";
const PODS: &str = "pods";
const SLICES: &str = "endpointslices.discovery.k8s.io";

fn min_ready() -> History {
    history("P9")
        .put(SETS, counting(30, 0))
        .at(100)
        .put(PODS, ready("a", None))
        .at(101)
        .put(PODS, ready("a", Some(101)))
}

#[test]
fn a_pod_that_counts_as_available_too_early_breaks_p9() {
    assert_eq!(min_ready().at(120).put(SETS, counting(30, 1)).broken(), ["P9"]);
    assert!(min_ready().at(131).put(SETS, counting(30, 1)).broken().is_empty());
    assert_eq!(min_ready().at(131).put(SETS, counting(30, 2)).broken(), ["P9"]);
}

#[test]
fn a_status_that_was_written_late_and_a_pod_that_is_gone_unseen_do_not_break_p9() {
    // The kubelet says since when; its write came late.
    let late = min_ready().at(150).put(PODS, ready("b", Some(110)));
    assert!(late.put(SETS, counting(30, 2)).broken().is_empty());
    let gone = |seconds| {
        let gone = min_ready().at(140).delete(PODS, &ready("a", Some(101)));
        gone.at(seconds).put(SETS, counting(30, 1)).broken()
    };
    assert!(
        gone(175).is_empty(),
        "the controller may have looked before a request that was lost"
    );
    assert_eq!(gone(185), ["P9"]);
    // Ready again, but not for long.
    let again = history("P9")
        .put(SETS, counting(60, 0))
        .at(101)
        .put(PODS, ready("a", Some(101)));
    let again = again.at(170).put(PODS, ready("a", None));
    let again = again.at(171).put(PODS, ready("a", Some(171)));
    assert_eq!(again.at(215).put(SETS, counting(60, 1)).broken(), ["P9"]);
    // A wish for less time counts at once, one for more from when it may be seen.
    assert!(min_ready().at(112).put(SETS, counting(10, 1)).broken().is_empty());
    let more = |seconds| {
        let more = min_ready().at(110).put(SETS, counting(60, 0));
        more.at(seconds).put(SETS, counting(60, 1)).broken()
    };
    assert_eq!(more(155), ["P9"]);
    assert!(more(165).is_empty());
}

#[test]
fn while_clocks_are_wrong_p9_is_not_judged() {
    let wrong = min_ready().know(|cluster| cluster.clock_errs());
    assert!(wrong.at(120).put(SETS, counting(30, 1)).broken().is_empty());
}

#[test]
fn a_deployment_that_counts_more_than_its_sets_breaks_p9() {
    let counts = |available: i32| {
        json!({"metadata": {"name": "d", "namespace": "default", "uid": "uid-d"},
            "spec": {"replicas": 2, "selector": {}, "template": {}},
            "status": {"replicas": 2, "availableReplicas": available}})
    };
    let told = || min_ready().at(140).put(SETS, counting(30, 1));
    assert!(told().put("deployments.apps", counts(1)).broken().is_empty());
    assert_eq!(told().put("deployments.apps", counts(2)).broken(), ["P9"]);
    let less = |seconds| {
        let less = told().at(150).put(SETS, counting(30, 0)).at(seconds);
        less.put("deployments.apps", counts(1)).broken()
    };
    assert!(less(185).is_empty(), "the controller cannot know yet");
    assert_eq!(less(195), ["P9"]);
}

fn service() -> Value {
    json!({"metadata": {"name": "s", "namespace": "default", "uid": "uid-s"}, "spec": {"clusterIP": "10.96.0.9",
        "selector": {"app": "x"}, "sessionAffinity": "ClientIP", "ports": [{"port": 80}]}})
}

fn backend(name: &str, ip: &str, is_ready: bool) -> Value {
    let mut pod = ready(name, is_ready.then_some(1));
    pod["metadata"]["labels"] = json!({"app": "x"});
    pod["status"]["podIP"] = json!(ip);
    pod
}

fn endpoint(name: &str, ip: &str, is_ready: bool, serving: bool, terminating: bool) -> Value {
    json!({"addresses": [ip], "conditions": {"ready": is_ready, "serving": serving, "terminating": terminating},
        "targetRef": {"kind": "Pod", "name": name, "uid": format!("uid-{name}")}})
}

fn slice(endpoints: &[Value]) -> Value {
    let mut slice = json!({"metadata": {"name": "s-1", "namespace": "default", "uid": "uid-s-1", "labels": {
            "kubernetes.io/service-name": "s",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}},
        "addressType": "IPv4", "endpoints": endpoints});
    slice = owned(slice, "Service", "s");
    slice
}

/// A service over two ready pods that has been so for long.
fn settled(id: &'static str) -> History {
    let both = [
        endpoint("a", "10.0.0.1", true, true, false),
        endpoint("b", "10.0.0.2", true, true, false),
    ];
    history(id)
        .at(1)
        .put("nodes", node("n"))
        .put("services", service())
        .put(PODS, backend("a", "10.0.0.1", true))
        .put(PODS, backend("b", "10.0.0.2", true))
        .at(2)
        .put(SLICES, slice(&both))
        .at(100)
        .put(PODS, backend("b", "10.0.0.2", false))
}

#[test]
fn what_a_slice_says_of_a_pod_that_is_not_so_breaks_e6() {
    let says = |seconds, is_ready, serving, terminating| {
        let endpoints = [
            endpoint("a", "10.0.0.1", true, true, false),
            endpoint("b", "10.0.0.2", is_ready, serving, terminating),
        ];
        settled("E6").at(seconds).put(SLICES, slice(&endpoints)).broken()
    };
    assert!(says(101, false, false, false).is_empty());
    assert!(
        says(101, true, true, false).is_empty(),
        "the controller cannot know yet"
    );
    assert_eq!(says(120, true, true, false), ["E6"]);
    assert_eq!(says(120, false, false, true), ["E6"]);
    assert_eq!(says(120, true, false, false), ["E6"]);
    assert!(says(120, false, false, false).is_empty());
}

#[test]
fn a_pod_that_is_left_out_because_it_is_not_ready_breaks_e6() {
    let alone = [endpoint("a", "10.0.0.1", true, true, false)];
    assert_eq!(settled("E6").at(101).put(SLICES, slice(&alone)).broken(), ["E6"]);
    let gone = settled("E6").delete(PODS, &backend("b", "10.0.0.2", false));
    assert!(gone.at(101).put(SLICES, slice(&alone)).broken().is_empty());
    let mut unselected = backend("b", "10.0.0.2", false);
    unselected["metadata"]["labels"] = json!({"app": "y"});
    let unselected = settled("E6").put(PODS, unselected);
    assert!(unselected.at(101).put(SLICES, slice(&alone)).broken().is_empty());
    let mut other = service();
    other["spec"]["selector"] = json!({"app": "x", "tier": "z"});
    let other = settled("E6").put("services", other);
    assert!(other.at(101).put(SLICES, slice(&alone)).broken().is_empty());
}

#[test]
fn a_pod_whose_node_is_gone_leaves_the_slices_of_services_that_do_not_publish_all() {
    let endpoint = |name, ip, is_ready| endpoint(name, ip, is_ready, is_ready, false);
    let (a, b) = (endpoint("a", "10.0.0.1", true), endpoint("b", "10.0.0.2", false));
    let gone = || settled("E6").at(200).delete("nodes", &node("n"));
    let written = |history: History, endpoints: &[Value]| history.put(SLICES, slice(endpoints)).broken();
    let (all, alone, none) = ([a.clone(), b], [a], []);
    assert!(written(gone().at(201), &none).is_empty());
    assert!(
        written(gone().at(201), &all).is_empty(),
        "the controller cannot know yet"
    );
    assert_eq!(written(gone().at(220), &alone), ["E6"]);
    // It is there again, and the controller may not have heard of that either.
    let back = || gone().at(210).put("nodes", node("n"));
    assert!(written(back().at(211), &none).is_empty());
    assert_eq!(written(back().at(230), &none), ["E6", "E6"]);
    // Nobody has written the slice since.
    let late = |seconds| gone().at(seconds).put(PODS, backend("a", "10.0.0.1", false)).broken();
    assert!(late(230).is_empty());
    assert_eq!(late(250), ["E6"]);
}

#[test]
fn a_service_that_publishes_all_keeps_the_pods_of_a_node_that_is_gone() {
    let mut open = service();
    open["spec"]["publishNotReadyAddresses"] = json!(true);
    let gone = settled("E6").at(110).put("services", open).at(200);
    let gone = gone.delete("nodes", &node("n")).at(300);
    let a = endpoint("a", "10.0.0.1", true, true, false);
    assert_eq!(gone.put(SLICES, slice(&[a])).broken(), ["E6"]);
}

/// The object of the service over those two pods.
fn object(ready: &[&str], unready: &[&str]) -> Value {
    let one = |name: &&str| {
        let ip = if *name == "a" { "10.0.0.1" } else { "10.0.0.2" };
        json!({"ip": ip, "nodeName": "n", "targetRef": {"kind": "Pod", "uid": format!("uid-{name}")}})
    };
    let list = |names: &[&str]| names.iter().map(one).collect::<Vec<_>>();
    json!({"metadata": {"name": "s", "namespace": "default", "uid": "uid-e",
            "labels": {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}},
        "subsets": [{"addresses": list(ready), "notReadyAddresses": list(unready)}]})
}

#[test]
fn a_pod_that_is_not_ready_stays_in_the_object_or_breaks_e6() {
    let says = |seconds, ready: &[&str], unready: &[&str]| {
        let object = object(ready, unready);
        settled("E6").at(seconds).put("endpoints", object).broken()
    };
    assert!(says(120, &["a"], &["b"]).is_empty());
    assert_eq!(says(120, &["a"], &[]), ["E6"]);
    assert_eq!(says(120, &["a", "b"], &[]), ["E6"]);
    assert_eq!(says(120, &[], &["b"]), ["E6"]);
    assert!(says(101, &["a"], &[]).is_empty(), "the controller cannot know yet");
    let mut open = service();
    open["spec"]["publishNotReadyAddresses"] = json!(true);
    let open = || settled("E6").at(110).put("services", open.clone());
    let told = |history: History, object| history.put("endpoints", object).broken();
    assert!(told(open().at(130), object(&["a", "b"], &[])).is_empty());
    assert_eq!(told(open().at(130), object(&["a"], &["b"])), ["E6"]);
    assert!(told(open().at(111), object(&["a"], &["b"])).is_empty());
}

#[test]
fn objects_of_others_pods_that_go_and_addresses_that_move_do_not_break_e6() {
    let lacking = |history: History| history.put("endpoints", object(&["a"], &[])).broken();
    let mut ending = backend("b", "10.0.0.2", false);
    ending["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:00Z");
    assert!(lacking(settled("E6").put(PODS, ending).at(120)).is_empty());
    let mut named = service();
    named["spec"]["ports"] = json!([{"port": 80, "targetPort": "http"}]);
    assert!(lacking(settled("E6").put("services", named).at(120)).is_empty());
    let mut before = object(&["a", "b"], &[]);
    before["subsets"][0]["addresses"][1]["nodeName"] = json!("m");
    assert!(lacking(settled("E6").at(101).put("endpoints", before).at(120)).is_empty());
    // Somebody else writes it.
    let by_hand = |client, seconds| {
        let asked = asked(client, http::Method::PATCH, "/api/v1/namespaces/default/endpoints/s");
        lacking(settled("E6").at(120).see(&Seen::Asked(&asked)).at(seconds))
    };
    assert!(by_hand("user", 121).is_empty());
    assert_eq!(by_hand("user", 160), ["E6"]);
    assert_eq!(by_hand("controller-manager/1", 121), ["E6"]);
}

/// Two connections from one node, the second so many seconds after the first.
fn connected(history: History, first: &str, then: u64, second: &str) -> Vec<&'static str> {
    let id = ObjectId {
        resource: "services".into(),
        namespace: "default".to_owned(),
        name: "s".to_owned(),
    };
    let to = |ip: &str| Seen::Connected {
        machine: "n",
        service: &id,
        goes_to: Some(SocketAddrV4::new(ip.parse().unwrap(), 80)),
    };
    history.at(200).see(&to(first)).at(200 + then).see(&to(second)).broken()
}

#[test]
fn a_client_that_is_sent_elsewhere_without_need_breaks_e7() {
    assert_eq!(connected(settled("E7"), "10.0.0.1", 1, "10.0.0.2"), ["E7"]);
    assert!(connected(settled("E7"), "10.0.0.1", 1, "10.0.0.1").is_empty());
    assert!(connected(settled("E7"), "10.0.0.1", 10_801, "10.0.0.2").is_empty());
}

#[test]
fn an_endpoint_that_was_gone_for_a_moment_a_changed_service_and_a_fault_do_not_break_e7() {
    let only = |name, ip| slice(&[endpoint(name, ip, true, true, false)]);
    let both = slice(&[
        endpoint("a", "10.0.0.1", true, true, false),
        endpoint("b", "10.0.0.2", true, true, false),
    ]);
    let gone = settled("E7").put(SLICES, only("b", "10.0.0.2"));
    assert!(connected(gone, "10.0.0.1", 1, "10.0.0.2").is_empty());
    let back = settled("E7")
        .at(195)
        .put(SLICES, only("b", "10.0.0.2"))
        .put(SLICES, both);
    assert!(connected(back, "10.0.0.1", 1, "10.0.0.2").is_empty());
    let mut plain = service();
    plain["spec"]["sessionAffinity"] = json!("None");
    let changed = settled("E7").put("services", plain);
    assert!(connected(changed, "10.0.0.1", 1, "10.0.0.2").is_empty());
    let fault = settled("E7").struck();
    assert!(connected(fault, "10.0.0.1", 1, "10.0.0.2").is_empty());
    let here = settled("E7").struck_on("n");
    assert!(connected(here, "10.0.0.1", 1, "10.0.0.2").is_empty());
    let elsewhere = settled("E7").struck_on("m");
    assert_eq!(connected(elsewhere, "10.0.0.1", 1, "10.0.0.2"), ["E7"]);
    let over = settled("E7").know(|cluster| {
        cluster.stall(
            crate::scenario::Role::Proxy,
            Duration::from_secs(20),
            Duration::from_secs(400),
        )
    });
    assert!(connected(over, "10.0.0.1", 1, "10.0.0.2").is_empty());
}

/// A connection from a node, so many seconds after the beginning.
fn connects(history: History, second: u64, to: Option<&str>) -> History {
    let id = ObjectId {
        resource: "services".into(),
        namespace: "default".to_owned(),
        name: "s".to_owned(),
    };
    history.at(second).see(&Seen::Connected {
        machine: "n",
        service: &id,
        goes_to: to.map(|ip| SocketAddrV4::new(ip.parse().unwrap(), 80)),
    })
}

/// The slice with its port, and these endpoints.
fn listening(endpoints: &[Value]) -> Value {
    let mut slice = slice(endpoints);
    slice["ports"] = json!([{"port": 80}]);
    slice
}

/// A service with one endpoint since second 2, to which a connection has been made.
fn reached() -> History {
    let history = history("E8").at(1).put("services", service()).at(2);
    let one = history.put(SLICES, listening(&[endpoint("a", "10.0.0.1", true, true, false)]));
    connects(one, 100, Some("10.0.0.1"))
}

#[test]
fn a_connection_that_goes_nowhere_breaks_e8_even_while_a_fault_is_in_force() {
    let struck = || reached().struck();
    assert_eq!(connects(struck(), 101, None).broken(), ["E8"]);
    // The endpoint goes and still serves: there is no other.
    let going = reached().put(SLICES, listening(&[endpoint("a", "10.0.0.1", false, true, true)]));
    assert_eq!(connects(going, 101, None).broken(), ["E8"]);
    let gone = reached().put(SLICES, listening(&[endpoint("a", "10.0.0.1", false, false, true)]));
    assert!(connects(gone, 101, None).broken().is_empty());
    let restarted = reached().see(&Seen::Started { process: "kubelet/n" });
    assert!(connects(restarted, 101, None).broken().is_empty());
    let changed = reached().put("services", {
        let mut service = service();
        service["spec"]["ports"] = json!([{"port": 81}]);
        service
    });
    assert!(connects(changed, 101, None).broken().is_empty());
}

#[test]
fn a_node_without_an_endpoint_of_its_own_need_not_take_connections_to_a_local_service() {
    let local = || {
        let mut service = service();
        service["spec"]["internalTrafficPolicy"] = json!("Local");
        let history = history("E8").at(1).put("services", service).at(2);
        let one = history.put(SLICES, listening(&[endpoint("a", "10.0.0.1", true, true, false)]));
        connects(one, 100, Some("10.0.0.1"))
    };
    let elsewhere = local().put(SLICES, listening(&[endpoint("b", "10.0.0.2", true, true, false)]));
    assert!(connects(elsewhere.at(200), 201, None).broken().is_empty());
    let mut here = endpoint("b", "10.0.0.2", true, true, false);
    here["nodeName"] = json!("n");
    let here = local().put(SLICES, listening(&[here]));
    assert_eq!(connects(here.at(200), 300, None).broken(), ["E8"]);
    assert_eq!(connects(local(), 200, Some("10.0.0.9")).broken(), ["E8"]);
}

#[test]
fn a_connection_to_what_is_no_endpoint_for_long_breaks_e8() {
    let both = |is_ready: bool| {
        listening(&[
            endpoint("a", "10.0.0.1", is_ready, true, !is_ready),
            endpoint("b", "10.0.0.2", true, true, false),
        ])
    };
    let leaving = || reached().put(SLICES, both(true)).at(110).put(SLICES, both(false));
    assert!(connects(leaving(), 115, Some("10.0.0.1")).broken().is_empty());
    assert_eq!(connects(leaving(), 150, Some("10.0.0.1")).broken(), ["E8"]);
    assert!(connects(leaving(), 150, Some("10.0.0.2")).broken().is_empty());
    let struck = leaving().struck();
    assert!(connects(struck, 150, Some("10.0.0.1")).broken().is_empty());
    let elsewhere = leaving().struck_on("m");
    assert_eq!(connects(elsewhere, 150, Some("10.0.0.1")).broken(), ["E8"]);
}

/// The controller manager asks to delete the pod `a`, which is ready, of a set that has another, which is not.
fn gives_up(other: Option<i64>, delete: impl Fn(&mut Asked), replicas: i32) -> Vec<&'static str> {
    let namespace = json!({"metadata": {"name": "default", "uid": "uid-default"}});
    let mut asked = asked("controller-manager/1", http::Method::DELETE, POD);
    asked.uid = Some("uid-a".to_owned());
    delete(&mut asked);
    history("P10")
        .put("namespaces", namespace)
        .put(SETS, set("rs", replicas))
        .at(1)
        .put(PODS, ready("a", Some(1)))
        .put(PODS, ready("b", other))
        .at(60)
        .see(&Seen::Asked(&asked))
        .broken()
}

#[test]
fn a_ready_pod_that_is_given_up_before_one_that_is_not_breaks_p10() {
    assert_eq!(gives_up(None, |_| {}, 1), ["P10"]);
    assert!(gives_up(Some(1), |_| {}, 1).is_empty());
    assert!(gives_up(None, |_| {}, 0).is_empty(), "all go");
    assert!(
        gives_up(None, |asked| asked.base = Some(3), 1).is_empty(),
        "it is evicted"
    );
    assert!(gives_up(None, |asked| asked.client = "user".to_owned(), 1).is_empty());
}

/// A call of port `http` of a service with two ports that has been over these endpoints for long: one on the node that
/// the call meets, and one on another.
fn called(endpoints: &[Value], policy: &str, at_node_port: bool, call: Call) -> Vec<&'static str> {
    calls(endpoints, policy, |history| history.at(100), at_node_port, call)
}

/// The same after whatever `until` has come to pass.
fn calls(
    endpoints: &[Value],
    policy: &str,
    until: impl Fn(History) -> History,
    at_node_port: bool,
    call: Call,
) -> Vec<&'static str> {
    let caller = Caller::Pod("10.0.0.1".parse().unwrap());
    calls_by(caller, endpoints, policy, until, at_node_port, call)
}

/// The same by somebody else.
fn calls_by(
    caller: Caller,
    endpoints: &[Value],
    policy: &str,
    until: impl Fn(History) -> History,
    at_node_port: bool,
    call: Call,
) -> Vec<&'static str> {
    let mut service = service();
    let key = if at_node_port {
        "externalTrafficPolicy"
    } else {
        "internalTrafficPolicy"
    };
    service["spec"][key] = json!(policy);
    let mut slice = slice(endpoints);
    slice["ports"] = json!([{"name": "http", "port": 80}, {"name": "admin", "port": 81}]);
    for (endpoint, node) in slice["endpoints"].as_array_mut().unwrap().iter_mut().zip(["n", "m"]) {
        endpoint["nodeName"] = json!(node);
    }
    let id = ObjectId {
        resource: "services".into(),
        namespace: "default".to_owned(),
        name: "s".to_owned(),
    };
    let history = history("E9").at(1).put("services", service).put(SLICES, slice);
    let seen = Seen::Called {
        machine: "n",
        service: &id,
        port: "http",
        caller,
        at_node_port,
        call,
    };
    until(history).see(&seen).broken()
}

#[test]
fn a_call_soon_after_a_change_or_a_fault_does_not_break_e9() {
    let one = [endpoint("a", "10.0.0.1", true, true, false)];
    let lost = |until: fn(History) -> History| calls(&one, "Cluster", until, false, Call::Lost);
    assert_eq!(lost(|history| history.at(100)), ["E9"]);
    assert!(lost(|history| history.at(3)).is_empty());
    assert!(lost(|history| history.at(100).struck()).is_empty());
    assert!(lost(|history| history.at(100).struck_on("n")).is_empty());
    assert_eq!(lost(|history| history.at(100).struck_on("m")), ["E9"]);
}

#[test]
fn a_call_that_ends_elsewhere_or_whose_answer_misses_its_way_breaks_e9() {
    let [own, other] = ["10.0.0.1", "10.0.0.2"];
    let both = [
        endpoint("a", own, true, true, false),
        endpoint("b", other, true, true, false),
    ];
    let to = |ip: &str, port, masqueraded| Call::Arrives {
        at: SocketAddrV4::new(ip.parse().unwrap(), port),
        masqueraded,
    };
    let right = [
        ("Cluster", false, to(own, 80, true)),
        ("Cluster", false, to(other, 80, false)),
        ("Cluster", true, to(other, 80, true)),
        ("Local", false, to(own, 80, true)),
    ];
    for (policy, at_node_port, call) in right {
        let broken = called(&both, policy, at_node_port, call);
        assert!(broken.is_empty(), "{policy} {at_node_port} {call:?}");
    }
    let wrong = [
        ("Cluster", false, to(own, 80, false)),
        ("Cluster", false, to(other, 80, true)),
        ("Cluster", false, to(other, 81, false)),
        ("Cluster", false, Call::Refused),
        ("Cluster", true, to(other, 80, false)),
        ("Cluster", true, Call::Lost),
        ("Local", false, to(other, 80, false)),
    ];
    for (policy, at_node_port, call) in wrong {
        let broken = called(&both, policy, at_node_port, call);
        assert_eq!(broken, ["E9"], "{policy} {at_node_port} {call:?}");
    }
    // A node shows itself always.
    let by_node = |masqueraded| {
        let until = |history: History| history.at(100);
        calls_by(Caller::Node, &both, "Cluster", until, false, to(other, 80, masqueraded))
    };
    assert!(by_node(true).is_empty());
    assert_eq!(by_node(false), ["E9"]);
}

#[test]
fn a_call_of_nobody_is_to_be_refused() {
    let nobody = [endpoint("a", "10.0.0.1", false, false, false)];
    assert!(called(&nobody, "Cluster", true, Call::Refused).is_empty());
    assert_eq!(called(&nobody, "Cluster", true, Call::Lost), ["E9"]);
    assert!(called(&nobody, "Local", false, Call::Lost).is_empty());
    // Who is on its way out and still serves is called where there is no other.
    let leaving = [endpoint("a", "10.0.0.1", false, true, true)];
    assert_eq!(called(&leaving, "Cluster", true, Call::Refused), ["E9"]);
}
