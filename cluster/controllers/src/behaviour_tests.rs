//! The contracts of whole controllers, against an API server in memory.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use orrery_api::meta::Object;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::fake::{Server, eventually};
use crate::{CustomKind, Options};

fn service(server: &Server) {
    server.put(
        "services",
        json!({
            "metadata": {"namespace": "a", "name": "web"},
            "spec": {"selector": {"app": "web"}, "clusterIP": "10.96.0.9", "ports": [{"port": 80, "protocol": "TCP"}]}
        }),
    );
}

pub(crate) fn pod(server: &Server, number: u32, node: &str) -> Value {
    server.put(
        "pods",
        json!({
            "metadata": {"namespace": "a", "name": format!("web-{number}"), "labels": {"app": "web"}},
            "spec": {"nodeName": node, "containers": []},
            "status": {
                "phase": "Running", "podIP": format!("10.0.0.{number}"),
                "conditions": [{"type": "Ready", "status": "True"}]
            }
        }),
    )
}

fn map(server: &Server, name: &str, owner: Option<&Value>, finalizers: &[&str]) -> Value {
    let owners: Vec<Value> = owner
        .iter()
        .map(|owner| {
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true
            })
        })
        .collect();
    let meta = json!({"namespace": "a", "name": name, "ownerReferences": owners, "finalizers": finalizers});
    server.put("configmaps", json!({"metadata": meta}))
}

fn exists(server: &Server, name: &str) -> bool {
    server.get("configmaps", "a", name).is_some()
}

fn in_slices(server: &Server) -> Vec<String> {
    let slices = server.list::<EndpointSlice>();
    let mut addresses: Vec<String> = slices
        .into_iter()
        .flat_map(|slice| slice.endpoints)
        .flat_map(|endpoint| endpoint.addresses)
        .collect();
    addresses.sort();
    addresses
}

#[tokio::test(start_paused = true)]
async fn every_pod_of_a_service_is_in_one_slice_however_late_the_slices_are_seen() {
    let server = Server::default();
    node(&server, "n1");
    let _running = server.run(Options::default());
    sleep(Duration::from_secs(1)).await;
    server.hold("endpointslices", true);
    service(&server);
    for number in 1..=5 {
        pod(&server, number, "n1");
        sleep(Duration::from_millis(300)).await;
    }
    eventually("all pods are in slices", || in_slices(&server).len() >= 5).await;
    renew(&server, &["n1"], 60).await;
    let all = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"];
    assert_eq!(in_slices(&server), all);
    server.hold("endpointslices", false);
    renew(&server, &["n1"], 60).await;
    assert_eq!(in_slices(&server), all);
    assert_eq!(server.list::<EndpointSlice>().len(), 1);
    // All is told: nothing more is written.
    let writes = server.writes().len();
    renew(&server, &["n1"], 600).await;
    assert_eq!(server.writes().len(), writes, "{:?}", server.writes());
}

#[tokio::test(start_paused = true)]
async fn a_slice_whose_creation_was_never_confirmed_is_not_made_twice() {
    let server = Server::default();
    node(&server, "n1");
    let _running = server.run(Options::default());
    sleep(Duration::from_secs(1)).await;
    server.hold("endpointslices", true);
    server.lose_answers("endpointslices", 2);
    service(&server);
    pod(&server, 1, "n1");
    renew(&server, &["n1"], 30).await;
    assert_eq!(in_slices(&server), ["10.0.0.1"]);
    assert_eq!(server.list::<EndpointSlice>().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_service_whose_slice_is_relabelled_gets_another_one() {
    const SERVICE: &str = "kubernetes.io/service-name";
    const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
    for (label, value) in [
        (SERVICE, None),
        (SERVICE, Some("other")),
        (MANAGED_BY, None),
        (MANAGED_BY, Some("somebody")),
    ] {
        let server = Server::default();
        node(&server, "n1");
        let _running = server.run(Options::default());
        service(&server);
        pod(&server, 1, "n1");
        eventually("the pod is in a slice", || in_slices(&server) == ["10.0.0.1"]).await;
        sleep(Duration::from_secs(1)).await;
        let name = server.list::<EndpointSlice>()[0].name().to_owned();
        let mut slice = server.get("endpointslices", "a", &name).expect("the slice");
        let labels = slice["metadata"]["labels"].as_object_mut().expect("its labels");
        match value {
            Some(value) => labels.insert(label.to_owned(), json!(value)),
            None => labels.remove(label),
        };
        server.put("endpointslices", slice);
        let is_kept = |slice: &EndpointSlice| {
            slice.label(SERVICE) == Some("web") && slice.label(MANAGED_BY) == Some("endpointslice-controller.k8s.io")
        };
        let kept = || server.list::<EndpointSlice>().iter().any(is_kept);
        eventually("another slice is there", kept).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_in_a_slice_only_while_its_node_is_there() {
    let server = Server::default();
    node(&server, "n1");
    let _running = server.run(Options::default());
    service(&server);
    pod(&server, 1, "n1");
    eventually("the pod is in a slice", || in_slices(&server) == ["10.0.0.1"]).await;
    server.remove("nodes", "", "n1");
    eventually("its node is gone", || in_slices(&server).is_empty()).await;
    node(&server, "n1");
    eventually("its node is back", || in_slices(&server) == ["10.0.0.1"]).await;
}

#[tokio::test(start_paused = true)]
async fn endpoints_follow_their_service() {
    let server = Server::default();
    let _running = server.run(Options::default());
    service(&server);
    pod(&server, 1, "n1");
    let has_address = || {
        let endpoints = server.list::<Endpoints>();
        endpoints
            .iter()
            .flat_map(|one| one.subsets.iter().flatten())
            .any(|subset| subset.addresses.is_some())
    };
    eventually("the endpoints have an address", has_address).await;
    server.put(
        "endpoints",
        json!({"metadata": {"namespace": "a", "name": "others"}, "subsets": []}),
    );
    server.remove("services", "a", "web");
    eventually("the endpoints are gone", || {
        server.get("endpoints", "a", "web").is_none()
    })
    .await;
    assert!(server.get("endpoints", "a", "others").is_some());
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_nobody_goes_and_what_has_a_living_owner_stays() {
    let server = Server::default();
    let ghost = json!({"metadata": {"name": "gone", "uid": "of-old"}});
    map(&server, "old-orphan", Some(&ghost), &[]);
    let _running = server.run(Options::default());
    eventually("the orphan of old is gone", || !exists(&server, "old-orphan")).await;
    let owner = map(&server, "owner", None, &[]);
    map(&server, "child", Some(&owner), &[]);
    sleep(Duration::from_secs(60)).await;
    assert!(exists(&server, "child"));
    server.remove("configmaps", "a", "owner");
    eventually("the child is gone", || !exists(&server, "child")).await;
}

/// A secret of which nothing is heard.
fn unheard_secret(server: &Server) -> Value {
    server.hold("secrets", true);
    server.put("secrets", json!({"metadata": {"namespace": "a", "name": "owner"}}))
}

/// A map that says it belongs to the secret, as one of that API version.
fn map_of_secret(server: &Server, name: &str, version: &str, secret: &Value) {
    let (owner, uid) = (&secret["metadata"]["name"], &secret["metadata"]["uid"]);
    let meta = json!({"namespace": "a", "name": name, "ownerReferences": [{
        "apiVersion": version, "kind": "Secret", "name": owner, "uid": uid
    }]});
    server.put("configmaps", json!({"metadata": meta}));
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_owner_has_not_been_heard_of_yet_stays() {
    let server = Server::default();
    let _running = server.run(Options::default());
    sleep(Duration::from_secs(1)).await;
    let owner = unheard_secret(&server);
    map_of_secret(&server, "child", "v1", &owner);
    sleep(Duration::from_secs(120)).await;
    assert!(exists(&server, "child"));
}

#[tokio::test(start_paused = true)]
async fn a_child_goes_with_an_owner_that_is_never_heard_of() {
    let server = Server::default();
    let _running = server.run(Options::default());
    sleep(Duration::from_secs(1)).await;
    let owner = unheard_secret(&server);
    map_of_secret(&server, "child", "v1", &owner);
    sleep(Duration::from_secs(10)).await;
    assert!(exists(&server, "child"));
    server.remove("secrets", "a", "owner");
    sleep(Duration::from_secs(60)).await;
    assert!(!exists(&server, "child"));
}

/// A kind of somebody's own with the name of another one.
struct OwnSecret;

impl k8s_openapi::Resource for OwnSecret {
    const API_VERSION: &'static str = "example.com/v1";
    const GROUP: &'static str = "example.com";
    const KIND: &'static str = "Secret";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "ownsecrets";
    type Scope = k8s_openapi::NamespaceResourceScope;
}

#[tokio::test(start_paused = true)]
async fn an_owner_is_not_gone_because_none_of_another_group_is_there() {
    let server = Server::default();
    let _running = server.run(Options {
        custom_kinds: vec![CustomKind::of::<OwnSecret>()],
        ..Options::default()
    });
    sleep(Duration::from_secs(1)).await;
    let owner = unheard_secret(&server);
    map_of_secret(&server, "mistaken", "example.com/v1", &owner);
    eventually("it belongs to nobody", || !exists(&server, "mistaken")).await;
    map_of_secret(&server, "child", "v1", &owner);
    sleep(Duration::from_secs(10)).await;
    assert!(exists(&server, "child"));
}

#[tokio::test(start_paused = true)]
async fn an_owner_deleted_in_the_foreground_goes_last() {
    let server = Server::default();
    let owner = map(&server, "owner", None, &[]);
    map(&server, "child", Some(&owner), &["test/held"]);
    let _running = server.run(Options::default());
    sleep(Duration::from_secs(1)).await;
    server.delete("configmaps", "a", "owner", "Foreground");
    sleep(Duration::from_secs(60)).await;
    assert!(exists(&server, "owner"));
    let child = server.get("configmaps", "a", "child").expect("its finalizer holds it");
    assert!(!child["metadata"]["deletionTimestamp"].is_null());
    server.remove("configmaps", "a", "child");
    eventually("the owner is gone", || !exists(&server, "owner")).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_any_namespace_is_collected_as_everything_else() {
    let server = Server::default();
    let _running = server.run(Options::default());
    sleep(Duration::from_secs(1)).await;
    lease(&server, "a", "mine");
    sleep(Duration::from_secs(1)).await;
    server.delete("leases", "a", "mine", "Foreground");
    eventually("the lease is gone", || server.get("leases", "a", "mine").is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_orphans_leaves_its_dependents() {
    let server = Server::default();
    let owner = map(&server, "owner", None, &[]);
    let _running = server.run(Options::default());
    sleep(Duration::from_secs(1)).await;
    // Even the one that nobody has heard of yet.
    server.hold("configmaps", true);
    map(&server, "child", Some(&owner), &[]);
    server.delete("configmaps", "a", "owner", "Orphan");
    server.hold("configmaps", false);
    eventually("the owner is gone", || !exists(&server, "owner")).await;
    sleep(Duration::from_secs(60)).await;
    let child = server
        .list::<ConfigMap>()
        .into_iter()
        .find(|map| map.name() == "child")
        .expect("it stays");
    assert!(child.metadata.owner_references.unwrap_or_default().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_ends_when_it_is_empty_and_has_its_defaults_until_then() {
    let server = Server::default();
    let _running = server.run(Options {
        cluster_ca: "PEM".into(),
        ..Options::default()
    });
    server.put(
        "namespaces",
        json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}}),
    );
    eventually("it has an account", || {
        server.get("serviceaccounts", "a", "default").is_some()
    })
    .await;
    eventually("it has the authority", || exists(&server, "kube-root-ca.crt")).await;
    server.remove("configmaps", "a", "kube-root-ca.crt");
    server.remove("serviceaccounts", "a", "default");
    eventually("the authority is back", || exists(&server, "kube-root-ca.crt")).await;
    eventually("the account is back", || {
        server.get("serviceaccounts", "a", "default").is_some()
    })
    .await;
    map(&server, "held", None, &["test/held"]);
    server.delete("namespaces", "", "a", "Background");
    let account_gone = || server.get("serviceaccounts", "a", "default").is_none();
    eventually("its account is gone", account_gone).await;
    sleep(Duration::from_secs(60)).await;
    let namespace = server.get("namespaces", "", "a").expect("it waits for what is held");
    let conditions = namespace["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert!(
        conditions
            .iter()
            .any(|one| one["type"] == "NamespaceContentRemaining" && one["status"] == "True")
    );
    server.remove("configmaps", "a", "held");
    eventually("it is gone", || server.get("namespaces", "", "a").is_none()).await;
}

pub(crate) fn node(server: &Server, name: &str) {
    let conditions = json!([{"type": "Ready", "status": "True"}]);
    server.put(
        "nodes",
        json!({"metadata": {"name": name}, "spec": {}, "status": {"conditions": conditions}}),
    );
}

/// Renews a lease.
pub(crate) fn lease(server: &Server, namespace: &str, name: &str) {
    let time = jiff::Timestamp::from_second(server.revision() as i64).expect("a small number");
    let lease = json!({
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"renewTime": format!("{time}")}
    });
    server.put("leases", lease);
}

/// Lets `nodes` renew their leases for `seconds`.
pub(crate) async fn renew(server: &Server, nodes: &[&str], seconds: u64) {
    for _ in (0..seconds).step_by(10) {
        for node in nodes {
            lease(server, "kube-node-lease", node);
        }
        sleep(Duration::from_secs(10)).await;
    }
}

pub(crate) fn taints(server: &Server, name: &str) -> Vec<String> {
    let node = server
        .list::<Node>()
        .into_iter()
        .find(|node| node.name() == name)
        .expect("the node");
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    taints
        .into_iter()
        .map(|taint| format!("{}:{}", taint.key, taint.effect))
        .collect()
}

/// The taints of a node that is given up.
pub(crate) const LOST: [&str; 2] = [
    "node.kubernetes.io/unreachable:NoSchedule",
    "node.kubernetes.io/unreachable:NoExecute",
];

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_given_up_and_taken_back() {
    let server = Server::default();
    node(&server, "n1");
    node(&server, "n2");
    pod(&server, 1, "n1");
    pod(&server, 2, "n2");
    let _running = server.run(Options::default());
    renew(&server, &["n1", "n2"], 30).await;
    assert!(taints(&server, "n2").is_empty());
    renew(&server, &["n1"], 70).await;
    assert_eq!(taints(&server, "n2"), LOST);
    assert!(taints(&server, "n1").is_empty());
    let left: Vec<String> = server.list::<Pod>().iter().map(|pod| pod.name().to_owned()).collect();
    assert_eq!(left, ["web-1"]);
    node(&server, "n2");
    renew(&server, &["n1", "n2"], 20).await;
    assert!(taints(&server, "n2").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_namesake_of_a_nodes_lease_is_no_sign_of_life() {
    let server = Server::default();
    node(&server, "n1");
    node(&server, "n2");
    let _running = server.run(Options::default());
    renew(&server, &["n1", "n2"], 30).await;
    for _ in 0..7 {
        lease(&server, "somewhere", "n2");
        renew(&server, &["n1"], 10).await;
    }
    assert_eq!(taints(&server, "n2"), LOST);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_evicted_when_all_nodes_are_cut_off_at_once() {
    let server = Server::default();
    for number in 1..=4 {
        node(&server, &format!("n{number}"));
        pod(&server, number, &format!("n{number}"));
    }
    let _running = server.run(Options::default());
    let all = ["n1", "n2", "n3", "n4"];
    renew(&server, &all, 30).await;
    // The last signs of life are spread over a renewal's time.
    renew(&server, &["n3", "n4"], 10).await;
    sleep(Duration::from_secs(900)).await;
    for name in all {
        assert_eq!(taints(&server, name), ["node.kubernetes.io/unreachable:NoSchedule"]);
    }
    assert_eq!(server.list::<Pod>().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_given_up_stays_so_while_no_other_is_heard_for_a_moment() {
    let server = Server::default();
    node(&server, "n1");
    node(&server, "n2");
    let mut patient = pod(&server, 1, "n2");
    let key = "node.kubernetes.io/unreachable";
    patient["spec"]["tolerations"] = json!([{"key": key, "operator": "Exists", "tolerationSeconds": 100}]);
    server.put("pods", patient);
    let _running = server.run(Options::default());
    renew(&server, &["n1", "n2"], 30).await;
    renew(&server, &["n1"], 60).await;
    assert_eq!(taints(&server, "n2"), LOST);
    // Long enough to doubt whether nodes can be heard at all, and within the grace of the one that is well.
    sleep(Duration::from_secs(28)).await;
    assert_eq!(taints(&server, "n2"), LOST);
    renew(&server, &["n1"], 70).await;
    assert!(server.list::<Pod>().is_empty(), "its time has gone on");
}

/// Taints `n1` with `keys`, each driving pods out.
pub(crate) fn taint(server: &Server, keys: &[&str]) {
    let mut node = server.get("nodes", "", "n1").expect("the node");
    node["spec"]["taints"] = keys
        .iter()
        .map(|key| json!({"key": key, "effect": "NoExecute"}))
        .collect();
    server.put("nodes", node);
}

#[tokio::test(start_paused = true)]
async fn a_pod_stays_for_as_long_as_it_tolerates_the_taint_that_is_in_force() {
    let server = Server::default();
    node(&server, "n1");
    let mut pod = pod(&server, 1, "n1");
    pod["spec"]["tolerations"] = json!([
        {"key": "slow", "operator": "Exists", "tolerationSeconds": 100},
        {"key": "fast", "operator": "Exists", "tolerationSeconds": 20}
    ]);
    server.put("pods", pod);
    let _running = server.run(Options::default());
    renew(&server, &["n1"], 10).await;
    taint(&server, &["slow", "fast"]);
    renew(&server, &["n1"], 10).await;
    taint(&server, &["slow"]);
    renew(&server, &["n1"], 80).await;
    assert_eq!(server.list::<Pod>().len(), 1);
    // The other taint comes back: that does not renew the first one's time.
    taint(&server, &["slow", "fast"]);
    renew(&server, &["n1"], 20).await;
    assert!(server.list::<Pod>().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_taint_taken_away_before_its_time_evicts_nobody_even_when_that_is_not_heard() {
    let server = Server::default();
    node(&server, "n1");
    let mut pod = pod(&server, 1, "n1");
    pod["spec"]["tolerations"] = json!([{"key": "slow", "operator": "Exists", "tolerationSeconds": 30}]);
    server.put("pods", pod);
    let _running = server.run(Options::default());
    renew(&server, &["n1"], 10).await;
    taint(&server, &["slow"]);
    renew(&server, &["n1"], 10).await;
    server.hold("nodes", true);
    taint(&server, &[]);
    renew(&server, &["n1"], 60).await;
    assert_eq!(server.list::<Pod>().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_node_that_is_gone_are_removed() {
    let server = Server::default();
    node(&server, "n1");
    pod(&server, 1, "n1");
    pod(&server, 2, "gone");
    let _running = server.run(Options::default());
    renew(&server, &["n1"], 30).await;
    assert_eq!(server.list::<Pod>().len(), 2);
    renew(&server, &["n1"], 60).await;
    let left: Vec<String> = server.list::<Pod>().iter().map(|pod| pod.name().to_owned()).collect();
    assert_eq!(left, ["web-1"]);
}

#[tokio::test(start_paused = true)]
async fn pods_whose_end_nobody_confirms_have_failed_though_finalizers_hold_them() {
    let server = Server::default();
    let taints = json!([{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]);
    let conditions = json!([{"type": "Ready", "status": "False"}]);
    server.put(
        "nodes",
        json!({"metadata": {"name": "out"}, "spec": {"taints": taints}, "status": {"conditions": conditions}}),
    );
    let all = [("unbound", None, "Pending"), ("lost", Some("out"), "Running")];
    for (name, node, phase) in all {
        let meta = json!({
            "namespace": "a", "name": name,
            "finalizers": ["test/held"], "deletionTimestamp": "2026-01-01T00:00:01Z"
        });
        let spec = json!({"nodeName": node, "containers": []});
        let pod = json!({"metadata": meta, "spec": spec, "status": {"phase": phase}});
        server.put("pods", pod);
    }
    let _running = server.run(Options::default());
    for (name, ..) in all {
        let phase = || server.get("pods", "a", name).expect("it is held")["status"]["phase"].clone();
        eventually("it has failed", || phase() == "Failed").await;
    }
}
