//! What is wrong at rest is found, and what is right beside it is let pass.

use serde_json::{Value, json};

use super::{backends, defaults, expected, statuses, workloads};
use crate::model::{Cluster, ObjectId};
use crate::scenario::Expect;

const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\nsome\n-----END CERTIFICATE-----\n";

/// A cluster of these objects, each with its resource.
fn cluster(objects: &[(&str, Value)]) -> Cluster {
    let mut cluster = Cluster::default();
    for (revision, (resource, object)) in (1..).zip(objects) {
        let text = |path: &str| {
            object
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let id = ObjectId {
            resource: (*resource).into(),
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
        };
        cluster.apply(id, revision, Some(object.to_string().into_bytes().into()));
    }
    cluster
}

fn of_statuses(objects: &[(&str, Value)]) -> Vec<String> {
    let mut missing = Vec::new();
    statuses::missing(&cluster(objects), &[], &mut missing);
    missing
}

pub(super) fn of_backends(objects: &[(&str, Value)]) -> Vec<String> {
    let mut missing = Vec::new();
    backends::missing(&cluster(objects), &mut missing);
    missing
}

fn of_fields(state: &str, objects: &[(&str, Value)]) -> Vec<String> {
    let expect: Expect = serde_yaml::from_str(&format!("state: [{state}]")).unwrap();
    let mut missing = Vec::new();
    expected(&cluster(objects), &expect, &mut missing);
    missing
}

#[test]
fn fields_in_the_end_are_found_under_keys_with_dots_and_in_lists() {
    let web = json!({"metadata": {"name": "web", "namespace": "default", "annotations": {"example.com/by": "ada"}},
        "spec": {"ports": [{"port": 80}]}});
    let fields = |fields: &str| of_fields(&format!("service/web: {{ {fields} }}"), &[("services", web.clone())]);
    assert!(fields("metadata.annotations.example.com/by: ada, spec.ports.0.port: 80").is_empty());
    assert_eq!(
        fields("metadata.annotations.example.com/by: bob, spec.ports.1.port: 80"),
        [
            "metadata.annotations.example.com/by of service/web is \"ada\", not \"bob\"",
            "spec.ports.1.port of service/web is null, not 80"
        ]
    );
}

#[test]
fn an_object_that_is_not_to_be_there_is_missed_where_it_is() {
    let web = json!({"metadata": {"name": "web", "namespace": "default"}});
    let there = |state: &str| of_fields(state, &[("services", web.clone())]);
    assert!(there("service/api: absent").is_empty());
    assert_eq!(there("service/web: absent"), ["service/web is there, and is not to be"]);
}

#[test]
fn what_is_still_being_deleted_names_the_finalizers_that_it_waits_for() {
    let deleted = |name: &str, finalizers: &[&str]| {
        json!({"metadata": {"name": name, "namespace": "a",
        "deletionTimestamp": "2022-09-01T00:00:00Z", "finalizers": finalizers}})
    };
    let mut missing = Vec::new();
    let one = deleted("one", &["example.com/hold"]);
    let two = deleted("two", &["example.com/hold", "foregroundDeletion"]);
    let objects = [
        ("configmaps", deleted("none", &[])),
        ("configmaps", one),
        ("configmaps", two),
    ];
    workloads(&cluster(&objects), &mut missing);
    assert_eq!(
        missing,
        [
            "configmaps/a/none is still being deleted",
            "configmaps/a/one is still being deleted, and waits for the finalizer example.com/hold",
            "configmaps/a/two is still being deleted, and waits for the finalizers example.com/hold, foregroundDeletion",
        ]
    );
}

pub(super) fn with(mut object: Value, path: &str, value: Value) -> Value {
    *object.pointer_mut(path).unwrap() = value;
    object
}

fn template(image: &str, hash: Option<&str>) -> Value {
    let mut labels = json!({"app": "web"});
    if let Some(hash) = hash {
        labels["pod-template-hash"] = json!(hash);
    }
    json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn set(name: &str, replicas: i32, image: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "a", "uid": name, "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "web", "controller": true}]},
        "spec": {"replicas": replicas, "selector": {}, "template": template(image, Some(name))},
        "status": {"replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
            "fullyLabeledReplicas": replicas}})
}

fn deployment() -> Value {
    json!({"metadata": {"name": "web", "namespace": "a", "uid": "web"},
        "spec": {"replicas": 1, "revisionHistoryLimit": 1, "progressDeadlineSeconds": 600, "selector": {},
            "template": template("2", None)},
        "status": {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1, "conditions": [
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]}})
}

#[test]
fn a_deployment_that_is_paused_is_at_rest_with_the_pods_that_it_has() {
    let missing = |paused: bool| {
        let mut stays = with(deployment(), "/status/updatedReplicas", json!(0));
        stays["spec"]["paused"] = json!(paused);
        stays["metadata"]["generation"] = json!(1);
        stays["status"]["observedGeneration"] = json!(1);
        let mut missing = Vec::new();
        workloads(&cluster(&[("deployments.apps", stays)]), &mut missing);
        missing
    };
    assert!(missing(true).is_empty());
    assert_eq!(missing(false), ["deployments.apps/a/web has 0 updatedReplicas, not 1"]);
}

pub(super) fn pod(name: &str, set: &str, ip: &str, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({"metadata": {"name": name, "namespace": "a", "uid": name, "labels": {"app": "web", "pod-template-hash": set},
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": set, "controller": true}]},
        "spec": {"nodeName": "n", "containers": []},
        "status": {"phase": "Running", "podIP": ip, "conditions": [
            {"type": "Ready", "status": ready}, {"type": "PodScheduled", "status": "True"},
            {"type": "PodReadyToStartContainers", "status": "True"}, {"type": "Initialized", "status": "True"},
            {"type": "ContainersReady", "status": ready}]}})
}

fn rollout(change: impl Fn(&str, Value) -> Value) -> Vec<String> {
    let objects = [
        ("deployments.apps", deployment()),
        ("replicasets.apps", set("old", 0, "1")),
        ("replicasets.apps", set("new", 1, "2")),
        ("pods", pod("p", "new", "10.0.0.1", true)),
    ];
    of_statuses(&objects.map(|(resource, object)| (resource, change(resource, object))))
}

#[test]
fn a_finished_rollout_is_at_rest() {
    assert_eq!(rollout(|_, object| object), [""; 0]);
}

#[test]
fn a_count_that_is_not_so_is_found() {
    for count in ["readyReplicas", "availableReplicas", "fullyLabeledReplicas"] {
        let found = rollout(|_, object| match object.pointer("/metadata/name") {
            Some(name) if name == "new" => with(object, &format!("/status/{count}"), json!(0)),
            _ => object,
        });
        assert!(found.iter().any(|found| found.contains(count)), "{found:?}");
    }
    let unlabelled = rollout(|resource, object| match resource {
        "pods" => with(object, "/metadata/labels", json!({"app": "web"})),
        _ => object,
    });
    assert_eq!(unlabelled.len(), 1, "{unlabelled:?}");
}

#[test]
fn a_condition_that_disagrees_with_the_counts_is_found() {
    for (index, path, value) in [
        (0, "status", "False"),
        (1, "status", "False"),
        (1, "reason", "ReplicaSetUpdated"),
    ] {
        let found = rollout(|resource, object| match resource {
            "deployments.apps" => with(object, &format!("/status/conditions/{index}/{path}"), json!(value)),
            _ => object,
        });
        assert_eq!(found.len(), 1, "{found:?}");
    }
    // What could once not be made is there now.
    for kind in ["deployments.apps", "replicasets.apps"] {
        let failed = rollout(|resource, mut object| {
            if resource == kind && object["metadata"]["name"] != "old" {
                let failure = json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"});
                let conditions = object["status"]["conditions"].as_array().cloned();
                object["status"]["conditions"] = [conditions.unwrap_or_default(), vec![failure]].concat().into();
            }
            object
        });
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert!(failed[0].contains("ReplicaFailure"), "{failed:?}");
    }
    // A paused rollout says so instead.
    let paused = |value: &str, reason: &str| {
        rollout(|resource, mut object| {
            if resource == "deployments.apps" {
                object["spec"]["paused"] = json!(true);
                object["status"]["conditions"][1] = json!({"type": "Progressing", "status": value, "reason": reason});
            }
            object
        })
    };
    assert_eq!(paused("Unknown", "DeploymentPaused"), [""; 0]);
    assert_eq!(paused("False", "ProgressDeadlineExceeded"), [""; 0]);
    let silent = paused("True", "NewReplicaSetAvailable");
    assert_eq!(silent.len(), 1, "{silent:?}");
    assert!(silent[0].contains("is paused"), "{silent:?}");
}

#[test]
fn pods_of_an_old_template_that_count_as_updated_are_found() {
    let found = rollout(|resource, object| match resource {
        "deployments.apps" => with(object, "/spec/template", template("3", None)),
        _ => object,
    });
    assert!(found.iter().any(|found| found.contains("updatedReplicas")), "{found:?}");
}

#[test]
fn unavailable_replicas_that_are_none_are_found() {
    let found = rollout(|resource, mut object| {
        if resource == "deployments.apps" {
            object["status"]["unavailableReplicas"] = json!(1);
        }
        object
    });
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_set_that_has_not_taken_over_for_how_long_its_pods_are_to_be_ready_is_found() {
    let patient = |name: &str, object: Value| {
        let mut object = object;
        if object.pointer("/metadata/name").is_some_and(|own| own == name) {
            object["spec"]["minReadySeconds"] = json!(8);
        }
        object
    };
    assert_eq!(rollout(|_, object| patient("new", patient("web", object))), [""; 0]);
    for name in ["web", "new"] {
        let found = rollout(|_, object| patient(name, object));
        assert!(found.len() == 1 && found[0].contains("minReadySeconds"), "{found:?}");
    }
    assert_eq!(
        rollout(|_, object| patient("old", object)),
        [""; 0],
        "an old one keeps its own"
    );
}

#[test]
fn a_history_longer_than_its_limit_is_found() {
    let sets = |images: &[&str]| {
        let mut objects = vec![("deployments.apps", deployment())];
        let old = images
            .iter()
            .map(|image| ("replicasets.apps", set(&format!("of-{image}"), 0, image)));
        objects.extend(old);
        objects.push(("replicasets.apps", set("new", 1, "2")));
        objects.push(("pods", pod("p", "new", "10.0.0.1", true)));
        of_statuses(&objects)
    };
    assert_eq!(sets(&["0"]), [""; 0]);
    assert_eq!(sets(&["0", "1"]).len(), 1);
}

#[test]
fn a_ready_pod_with_a_closed_gate_is_found() {
    let gated = |open: &str| {
        let mut pod = pod("p", "new", "10.0.0.1", true);
        pod["spec"]["readinessGates"] = json!([{"conditionType": "g"}]);
        let conditions = pod["status"]["conditions"].as_array_mut().unwrap();
        conditions.push(json!({"type": "g", "status": open}));
        of_statuses(&[("pods", pod)])
    };
    assert_eq!(gated("True"), [""; 0]);
    assert_eq!(gated("False").len(), 1);
}

#[test]
fn a_ready_pod_that_does_not_say_that_it_is_scheduled_is_found() {
    let mut pod = pod("p", "new", "10.0.0.1", true);
    pod["status"]["conditions"][1]["status"] = json!("False");
    assert_eq!(of_statuses(&[("pods", pod)]).len(), 1);
}

#[test]
fn a_ready_pod_whose_kubelet_says_otherwise_besides_is_found() {
    let ready = || pod("p", "new", "10.0.0.1", true);
    let found = |pod: Value, left: &[String]| {
        let mut missing = Vec::new();
        statuses::missing(&cluster(&[("pods", pod)]), left, &mut missing);
        missing.len()
    };
    for place in [2_usize, 3] {
        let mut pod = ready();
        pod["status"]["conditions"][place]["status"] = json!("False");
        assert_eq!(found(pod.clone(), &[]), 1);
        assert_eq!(found(pod, &["n".to_owned()]), 0, "its machine stays broken");
    }
    let mut changed = ready();
    changed["metadata"]["generation"] = json!(2);
    changed["status"]["observedGeneration"] = json!(1);
    assert_eq!(found(changed.clone(), &[]), 1);
    changed["status"]["observedGeneration"] = json!(2);
    assert_eq!(found(changed, &[]), 0);
}

#[test]
fn taints_that_disagree_with_conditions_are_found() {
    let node = |ready: &str, cordoned: bool, taints: &[(&str, &str)]| {
        let taint =
            |(key, effect): &(&str, &str)| json!({"key": format!("node.kubernetes.io/{key}"), "effect": effect});
        let taints: Vec<Value> = taints.iter().map(taint).collect();
        let node = json!({"metadata": {"name": "n", "uid": "n"}, "spec": {"taints": taints, "unschedulable": cordoned},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        of_statuses(&[("nodes", node)]).len()
    };
    assert_eq!(node("True", false, &[]), 0);
    assert_eq!(node("True", false, &[("unreachable", "NoSchedule")]), 1);
    assert_eq!(node("True", false, &[("not-ready", "NoExecute")]), 1);
    assert_eq!(node("Unknown", false, &[("unreachable", "NoSchedule")]), 0);
    assert_eq!(
        node(
            "Unknown",
            false,
            &[("unreachable", "NoSchedule"), ("unreachable", "NoExecute")]
        ),
        0
    );
    assert_eq!(node("False", false, &[]), 1);
    assert_eq!(node("True", true, &[("unschedulable", "NoSchedule")]), 0);
    assert_eq!(node("True", true, &[]), 1);
}

#[test]
fn a_namespace_that_ends_though_nobody_deletes_it_is_found() {
    let namespace = |phase: &str| json!({"metadata": {"name": "a", "uid": "a"}, "status": {"phase": phase}});
    assert_eq!(of_statuses(&[("namespaces", namespace("Active"))]), [""; 0]);
    assert_eq!(of_statuses(&[("namespaces", namespace("Terminating"))]).len(), 1);
}

#[test]
fn pods_of_a_broken_machine_linger_only_while_its_node_is_there() {
    let mut cluster = Cluster::default();
    let id = ObjectId {
        resource: "nodes".into(),
        namespace: String::new(),
        name: "node-1".to_owned(),
    };
    let node = json!({"metadata": {"name": "node-1", "uid": "uid-node-1"}});
    cluster.apply(id.clone(), 2, Some(node.to_string().into_bytes().into()));
    let left = ["node-1".to_owned()];
    assert!(super::may_linger(&cluster, "node-1", &left));
    assert!(!super::may_linger(&cluster, "node-2", &left));
    assert!(!super::may_linger(&cluster, "node-1", &[]));
    cluster.apply(id, 3, None);
    assert!(!super::may_linger(&cluster, "node-1", &left));
}

#[test]
fn a_pod_of_a_node_that_is_gone_is_found_even_if_it_has_finished() {
    let pod = |name, node| {
        let metadata = json!({"namespace": "a", "name": name, "uid": name});
        let object = json!({"metadata": metadata, "spec": {"nodeName": node}, "status": {"phase": "Succeeded"}});
        ("pods", object)
    };
    let node = ("nodes", json!({"metadata": {"name": "node-1", "uid": "node-1"}}));
    let mut missing = Vec::new();
    let objects = [node, pod("kept", "node-1"), pod("lost", "node-2"), pod("nowhere", "")];
    super::orphans(&cluster(&objects), &mut missing);
    assert_eq!(missing, ["pods/a/lost is of node node-2, which is gone"]);
}

#[test]
fn a_namespace_in_use_that_lacks_what_every_one_has_is_found() {
    let object = |namespace, name| json!({"metadata": {"namespace": namespace, "name": name, "uid": name}});
    let space = |name, deleted: Option<&str>| {
        (
            "namespaces",
            json!({"metadata": {"name": name, "uid": name, "deletionTimestamp": deleted}}),
        )
    };
    let account = |namespace| ("serviceaccounts", object(namespace, "default"));
    let root = |namespace, data| {
        let mut map = object(namespace, "kube-root-ca.crt");
        map["data"] = data;
        ("configmaps", map)
    };
    let authority = |namespace| root(namespace, json!({"ca.crt": AUTHORITY}));
    let lacks = |objects: &[(&str, Value)]| {
        let mut missing = Vec::new();
        defaults::missing(&cluster(objects), AUTHORITY, &mut missing);
        missing
    };
    assert_eq!(lacks(&[space("a", None), account("a"), authority("a")]), [""; 0]);
    let others = lacks(&[space("a", None), space("b", None), account("b"), authority("a")]);
    assert_eq!(
        others,
        [
            "serviceaccounts/a/default is not there",
            "configmaps/b/kube-root-ca.crt is not there"
        ]
    );
    assert_eq!(lacks(&[space("a", Some("2026-01-01T00:00:00Z"))]), [""; 0]);
    for data in [
        json!({"ca.crt": "mine"}),
        json!({"ca.crt": AUTHORITY, "more": "mine"}),
        json!(null),
    ] {
        let wrong = lacks(&[space("a", None), account("a"), root("a", data)]);
        let what = "configmaps/a/kube-root-ca.crt does not hold the cluster's authority and nothing else";
        assert_eq!(wrong, [what]);
    }
}

#[test]
fn what_the_api_server_keeps_of_its_own_is_there_in_the_end() {
    let own = |namespace: &str, name: &str, rest: Value| {
        let mut object = json!({"metadata": {"name": name, "uid": name}});
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        object
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        object
    };
    let endpoints = |ip: &str| {
        let subsets = json!([{"addresses": [{"ip": ip}], "ports": [{"name": "https", "port": 6443}]}]);
        ("endpoints", own("default", "kubernetes", json!({"subsets": subsets})))
    };
    let slice = |ips: &[&str]| {
        let endpoints: Vec<Value> = ips.iter().map(|ip| json!({"addresses": [ip]})).collect();
        let rest = json!({"addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "https", "port": 6443}]});
        ("endpointslices.discovery.k8s.io", own("default", "kubernetes", rest))
    };
    let names = ["default", "kube-node-lease", "kube-public", "kube-system"];
    let spaces = names.map(|name| ("namespaces", own("", name, json!({}))));
    let service = || {
        (
            "services",
            own("default", "kubernetes", json!({"spec": {"clusterIP": "10.96.0.1"}})),
        )
    };
    let lacks = |rest: &[(&str, Value)]| {
        let mut missing = Vec::new();
        defaults::kept(&cluster(&[&spaces[..], rest].concat()), &mut missing);
        missing
    };
    assert_eq!(lacks(&[service(), endpoints("1.1.1.1"), slice(&["1.1.1.1"])]), [""; 0]);
    let gone = lacks(&[endpoints("1.1.1.1"), slice(&["1.1.1.1"])]);
    assert_eq!(gone, ["services/default/kubernetes is not there"]);
    for wrong in [
        vec![service(), slice(&["1.1.1.1"])],
        vec![service(), endpoints("2.2.2.2"), slice(&["1.1.1.1"])],
        vec![service(), endpoints("1.1.1.1"), slice(&[])],
        vec![service()],
    ] {
        let told = lacks(&wrong);
        assert!(
            told.len() == 1 && told[0].starts_with("endpoints/default/kubernetes is ["),
            "{told:?}"
        );
    }
    let mut missing = Vec::new();
    defaults::kept(
        &cluster(&[service(), endpoints("1.1.1.1"), slice(&["1.1.1.1"])]),
        &mut missing,
    );
    assert_eq!(missing.len(), 4, "{missing:?}");
}
