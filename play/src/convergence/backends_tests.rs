//! What slices and `Endpoints` say at rest: what is wrong is found, and what is right beside it is let pass.

use serde_json::{Value, json};

use super::tests::{of_backends, pod, with};

fn service() -> Value {
    json!({"metadata": {"name": "s", "namespace": "a", "uid": "s"},
        "spec": {"clusterIP": "10.96.0.1", "selector": {"app": "web"}, "ports": [{"port": 80}]}})
}

/// How an endpoint names the pod that has the address.
fn target(ip: &str) -> Value {
    let pods = [("10.0.0.1", "p"), ("10.0.0.2", "q"), ("10.0.0.3", "r")];
    let uid = pods.iter().find(|(own, _)| *own == ip).map(|(_, uid)| uid);
    json!({"kind": "Pod", "uid": uid})
}

fn endpoint(ip: &str, ready: bool, serving: bool, terminating: bool) -> Value {
    json!({"addresses": [ip], "nodeName": "n", "targetRef": target(ip),
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating}})
}

fn slice(endpoints: &[Value]) -> Value {
    json!({"metadata": {"name": "s-1", "namespace": "a", "uid": "s-1", "labels": {
            "kubernetes.io/service-name": "s",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 80}]})
}

fn object(ready: &[&str], unready: &[&str]) -> Value {
    let address = |ip: &&str| json!({"ip": ip, "nodeName": "n", "targetRef": target(ip)});
    let list = |ips: &[&str]| ips.iter().map(address).collect::<Vec<_>>();
    json!({"metadata": {"name": "s", "namespace": "a", "uid": "e"},
        "subsets": [{"addresses": list(ready), "notReadyAddresses": list(unready), "ports": [{"port": 80}]}]})
}

/// A service over a ready pod, one that is not, and one that ends.
fn backends_of(service: Value, endpoints: &[Value], object: Value) -> Vec<String> {
    let mut ending = pod("r", "new", "10.0.0.3", true);
    ending["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:00Z");
    of_backends(&[
        ("services", service),
        ("endpointslices.discovery.k8s.io", slice(endpoints)),
        ("endpoints", object),
        ("pods", pod("p", "new", "10.0.0.1", true)),
        ("pods", pod("q", "new", "10.0.0.2", false)),
        ("pods", ending),
    ])
}

#[test]
fn endpoints_that_say_what_the_pods_are_are_at_rest() {
    let endpoints = [
        endpoint("10.0.0.1", true, true, false),
        endpoint("10.0.0.2", false, false, false),
        endpoint("10.0.0.3", false, true, true),
    ];
    let right = object(&["10.0.0.1"], &["10.0.0.2"]);
    assert_eq!(backends_of(service(), &endpoints, right.clone()), [""; 0]);
    // One that publishes all has all as ready, those that end as well.
    let mut open = service();
    open["spec"]["publishNotReadyAddresses"] = json!(true);
    let all = [
        endpoint("10.0.0.1", true, true, false),
        endpoint("10.0.0.2", true, false, false),
        endpoint("10.0.0.3", true, true, true),
    ];
    let ready = object(&["10.0.0.1", "10.0.0.2", "10.0.0.3"], &[]);
    assert_eq!(backends_of(open, &all, ready), [""; 0]);
}

/// A service with a port by name over a pod whose containers, sidecars among them, have these; a slice and an object
/// that have the pod on port `shown`.
fn named(sidecars: Value, containers: Value, shown: Option<i32>) -> Vec<String> {
    let mut pod = pod("p", "new", "10.0.0.1", true);
    pod["spec"] = json!({"nodeName": "n", "initContainers": sidecars, "containers": containers});
    let service = with(service(), "/spec/ports", json!([{"port": 80, "targetPort": "http"}]));
    let ports: Vec<Value> = shown.iter().map(|number| json!({"port": number})).collect();
    let slice = with(
        slice(&[endpoint("10.0.0.1", true, true, false)]),
        "/ports",
        json!(ports),
    );
    let object = match shown {
        Some(_) => with(object(&["10.0.0.1"], &[]), "/subsets/0/ports", json!(ports)),
        None => with(object(&[], &[]), "/subsets", json!(null)),
    };
    of_backends(&[
        ("services", service),
        ("endpointslices.discovery.k8s.io", slice),
        ("endpoints", object),
        ("pods", pod),
    ])
}

#[test]
fn a_port_that_goes_by_name_is_that_of_each_pod_with_its_protocol() {
    let container = |name: &str, number: i32, protocol: &str| {
        let ports = json!([{"name": name, "containerPort": number, "protocol": protocol}]);
        json!([{"name": "c", "restartPolicy": "Always", "ports": ports}])
    };
    let (none, http) = (|| json!([]), || container("http", 8080, "TCP"));
    assert_eq!(named(none(), http(), Some(8080)), [""; 0]);
    assert_eq!(named(http(), none(), Some(8080)), [""; 0]);
    assert_eq!(named(none(), http(), Some(80)).len(), 2);
    assert_eq!(named(container("http", 53, "UDP"), http(), Some(8080)), [""; 0]);
    assert_eq!(named(container("http", 53, "UDP"), http(), Some(53)).len(), 2);
    // Whoever lacks it is in the slices without a port, and in no object.
    let mut once = http();
    once[0]["restartPolicy"] = json!(null);
    for (init, containers) in [
        (none(), container("admin", 8080, "TCP")),
        (once, none()),
        (none(), container("http", 53, "UDP")),
    ] {
        assert_eq!(named(init.clone(), containers.clone(), None), [""; 0]);
        assert_ne!(named(init, containers, Some(8080)), [""; 0]);
    }
}

#[test]
fn endpoints_on_other_nodes_in_other_zones_or_of_no_pod_are_found() {
    let found = |path: &str, value: Value| {
        let node = json!({"metadata": {"name": "n", "uid": "n", "labels": {"topology.kubernetes.io/zone": "east"}}});
        let mut endpoint = endpoint("10.0.0.1", true, true, false);
        endpoint["zone"] = json!("east");
        endpoint[path] = value;
        of_backends(&[
            ("nodes", node),
            ("services", service()),
            ("endpointslices.discovery.k8s.io", slice(&[endpoint])),
            ("endpoints", object(&["10.0.0.1"], &[])),
            ("pods", pod("p", "new", "10.0.0.1", true)),
        ])
    };
    assert_eq!(found("zone", json!("east")), [""; 0]);
    assert_eq!(
        found("zone", json!("west")),
        ["the endpoints of endpointslices.discovery.k8s.io/a/s-1 have n in zone \"west\", not \"east\""]
    );
    assert_eq!(found("zone", json!(null)).len(), 1);
    assert!(found("nodeName", json!("m")).concat().contains("and it is on"));
    assert!(found("targetRef", json!(null)).concat().contains("names no pod"));
}

#[test]
fn an_object_of_a_service_that_is_gone_is_found_unless_it_is_somebody_elses() {
    let left = |labels: Value, annotations: Value| {
        let mut object = object(&[], &[]);
        object["metadata"]["labels"] = labels;
        object["metadata"]["annotations"] = annotations;
        of_backends(&[("endpoints", object)])
    };
    let ours = || json!({"endpoints.kubernetes.io/managed-by": "endpoint-controller"});
    assert_eq!(
        left(ours(), json!({})),
        ["endpoints/a/s is there, and its service is not"]
    );
    assert_eq!(left(json!({}), json!({})), [""; 0]);
    assert_eq!(
        left(ours(), json!({"control-plane.alpha.kubernetes.io/leader": "x"})),
        [""; 0]
    );
}

#[test]
fn endpoints_that_say_otherwise_are_found() {
    let right = || {
        vec![
            endpoint("10.0.0.1", true, true, false),
            endpoint("10.0.0.2", false, false, false),
            endpoint("10.0.0.3", false, true, true),
        ]
    };
    let in_object = || object(&["10.0.0.1"], &["10.0.0.2"]);
    let elsewhere = with(service(), "/spec/ports", json!([{"port": 80, "targetPort": 8080}]));
    let found = backends_of(elsewhere, &right(), in_object());
    assert!(
        found.len() == 2 && found.iter().all(|found| found.contains("8080")),
        "{found:?}"
    );
    let mut left_out = right();
    left_out.remove(1);
    assert_eq!(backends_of(service(), &left_out, in_object()).len(), 1);
    let mut serving = right();
    serving[1] = endpoint("10.0.0.2", false, true, false);
    assert_eq!(backends_of(service(), &serving, in_object()).len(), 1);
    let mut foreign = right();
    foreign.push(endpoint("10.0.0.9", false, false, false));
    assert_eq!(backends_of(service(), &foreign, in_object()).len(), 2);
    assert_eq!(backends_of(service(), &right(), object(&["10.0.0.1"], &[])).len(), 1);
    assert_eq!(
        backends_of(service(), &right(), object(&["10.0.0.1", "10.0.0.2"], &[])).len(),
        2
    );
}
