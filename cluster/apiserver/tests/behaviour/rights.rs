//! Who may do what: nobody without an identity, nodes only what is their own.

use http::Method;
use orrery_api::message::Identity;
use serde_json::{Value, json};

use crate::world::*;

async fn code(world: &World, identity: Option<Identity>, method: Method, path: &str, body: Value) -> u16 {
    let media = if method == Method::PATCH {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    world.ask(identity, request(method, path, media, &body)).await.code
}

#[tokio::test(start_paused = true)]
async fn who_has_no_identity_gets_health_and_version_alone() {
    let world = world().await;
    for path in [
        "/api",
        "/apis",
        "/openapi/v3",
        "/metrics",
        "/",
        CONFIG_MAPS,
        "/api/v1/nothing",
        "//healthz",
        "/healthz%2F..",
    ] {
        let refused = world.ask(None, request(Method::GET, path, "", "")).await.is(401);
        assert_eq!((refused.reason(), refused.message()), ("Unauthorized", "Unauthorized"));
    }
    assert_eq!(
        code(&world, None, Method::POST, CONFIG_MAPS, config_map("a")).await,
        401
    );
}

#[tokio::test(start_paused = true)]
async fn who_may_not_hears_what_and_where() {
    let world = world().await;
    let jane = Some(Identity::new("jane", &[]));
    let refused = world
        .ask(jane, request(Method::GET, &format!("{PODS}/p"), "", ""))
        .await
        .is(403);
    assert_eq!(
        refused.message(),
        "pods \"p\" is forbidden: User \"jane\" cannot get resource \"pods\" in API group \"\" in the namespace \"default\""
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_touches_only_its_own_pods() {
    let world = world().await;
    world.post(PODS, pod("mine", "n1")).await.is(201);
    world.post(PODS, pod("other", "n2")).await.is(201);
    let node = || Some(Identity::node("n1"));
    let status = json!({"status": {"message": "x"}});
    assert_eq!(
        code(
            &world,
            node(),
            Method::PATCH,
            &format!("{PODS}/mine/status"),
            status.clone()
        )
        .await,
        200
    );
    assert_eq!(
        code(&world, node(), Method::PATCH, &format!("{PODS}/other/status"), status).await,
        403
    );
    assert_eq!(
        code(&world, node(), Method::DELETE, &format!("{PODS}/other"), json!(null)).await,
        403
    );
    assert_eq!(
        code(&world, node(), Method::DELETE, &format!("{PODS}/mine"), json!(null)).await,
        200
    );
    assert_eq!(
        code(&world, node(), Method::POST, PODS, pod("new", "n1")).await,
        403,
        "only mirror pods"
    );
    let mut mirror = pod("mirror", "n1");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    assert_eq!(code(&world, node(), Method::POST, PODS, mirror.clone()).await, 201);
    mirror["spec"]["nodeName"] = json!("n2");
    assert_eq!(code(&world, node(), Method::POST, PODS, mirror).await, 403);
}

#[tokio::test(start_paused = true)]
async fn a_node_is_itself_and_says_not_where_workloads_go() {
    let world = world().await;
    let node = || Some(Identity::node("n1"));
    let nodes = "/api/v1/nodes";
    assert_eq!(
        code(&world, node(), Method::POST, nodes, json!({"metadata": {"name": "n2"}})).await,
        403
    );
    assert_eq!(
        code(&world, node(), Method::POST, nodes, json!({"metadata": {"name": "n1"}})).await,
        201
    );
    let one = "/api/v1/nodes/n1";
    for (change, expected) in [
        (json!({"metadata": {"labels": {"zone": "a"}}}), 200),
        (
            json!({"metadata": {"labels": {"node-restriction.kubernetes.io/a": "b"}}}),
            403,
        ),
        (json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}), 403),
    ] {
        assert_eq!(code(&world, node(), Method::PATCH, one, change).await, expected);
    }
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    assert_eq!(
        code(
            &world,
            node(),
            Method::POST,
            leases,
            json!({"metadata": {"name": "n2"}})
        )
        .await,
        403
    );
    assert_eq!(
        code(
            &world,
            node(),
            Method::POST,
            leases,
            json!({"metadata": {"name": "n1"}})
        )
        .await,
        201
    );
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    assert_eq!(
        code(
            &world,
            node(),
            Method::POST,
            leases,
            json!({"metadata": {"name": "n1"}})
        )
        .await,
        403
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_reads_the_secrets_of_its_pods_and_no_others() {
    let world = world().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    for name in ["mounted", "env", "other"] {
        world.post(secrets, json!({"metadata": {"name": name}})).await.is(201);
    }
    let mut user = pod("p", "n1");
    user["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": "mounted"}}]);
    user["spec"]["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "env"}}]);
    world.post(PODS, user).await.is(201);
    let get = async |node: &str, name: &str| {
        code(
            &world,
            Some(Identity::node(node)),
            Method::GET,
            &format!("{secrets}/{name}"),
            json!(null),
        )
        .await
    };
    assert_eq!((get("n1", "mounted").await, get("n1", "env").await), (200, 200));
    assert_eq!((get("n1", "other").await, get("n2", "env").await), (403, 403));
    assert_eq!(
        code(&world, Some(Identity::node("n1")), Method::GET, secrets, json!(null)).await,
        403
    );
}
