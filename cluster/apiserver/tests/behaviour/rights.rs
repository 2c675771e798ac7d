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
    let found = json!({"metadata": {"labels": {"app": "web"}}, "status": {"message": "y"}});
    let refused = world
        .ask(
            node(),
            request(
                Method::PATCH,
                &format!("{PODS}/mine/status"),
                "application/merge-patch+json",
                &found.to_string(),
            ),
        )
        .await
        .is(403);
    assert_eq!(
        refused.message(),
        "pods \"mine\" is forbidden: node \"n1\" cannot update labels through pod status"
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
        (
            json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "a", "a.node.kubernetes.io/b": "c"}}}),
            200,
        ),
        (
            json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}),
            200,
        ),
        (
            json!({"metadata": {"labels": {"node-role.kubernetes.io/worker": ""}}}),
            403,
        ),
        (json!({"metadata": {"labels": {"mine.k8s.io/a": "b"}}}), 403),
        (json!({"metadata": {"labels": {"minek8s.io/a": "b"}}}), 200),
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
async fn a_node_reads_itself_and_its_pods_and_no_others() {
    let world = world().await;
    for name in ["n1", "n2"] {
        world
            .post("/api/v1/nodes", json!({"metadata": {"name": name}}))
            .await
            .is(201);
        world.post(PODS, pod(&format!("on-{name}"), name)).await.is(201);
    }
    let read = async |path: &str| {
        let node = Some(Identity::node("n1"));
        world.ask(node, request(Method::GET, path, "", "")).await
    };
    for path in [
        "/api/v1/nodes/n1",
        "/api/v1/nodes?fieldSelector=metadata.name%3Dn1",
        "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1",
        &format!("{PODS}/on-n1"),
    ] {
        read(path).await.is(200);
    }
    for (path, why) in [
        (
            "/api/v1/nodes/n2",
            "node 'n1' cannot read 'n2', only its own Node object",
        ),
        (
            "/api/v1/nodes/n2?fieldSelector=metadata.name%3Dn1",
            "node 'n1' cannot read 'n2', only its own Node object",
        ),
        (
            "/api/v1/nodes",
            "node 'n1' cannot read all nodes, only its own Node object",
        ),
        (
            "/api/v1/nodes?watch=true&fieldSelector=metadata.name!%3Dn1",
            "node 'n1' cannot read all nodes, only its own Node object",
        ),
        (
            "/api/v1/pods",
            "can only list/watch pods with spec.nodeName field selector",
        ),
        (
            "/api/v1/pods?watch=true&fieldSelector=spec.nodeName%3Dn2",
            "can only list/watch pods with spec.nodeName field selector",
        ),
        (
            format!("{PODS}/on-n2").as_str(),
            "no relationship found between node 'n1' and this object",
        ),
    ] {
        let refused = read(path).await.is(403);
        assert!(refused.message().ends_with(why), "{}", refused.text);
    }
    read(&format!("{PODS}/nobody")).await.is(404);
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

#[tokio::test(start_paused = true)]
async fn who_acts_as_somebody_else_has_that_ones_rights_and_not_his_own() {
    let world = world().await;
    world.post(CONFIG_MAPS, config_map("a")).await.is(201);
    let asked_as = async |sender: Option<Identity>, user: &'static str, method: Method, path: &str| {
        let mut asked = request(method, path, "", "");
        let headers = asked.headers_mut();
        headers.insert("impersonate-user", http::HeaderValue::from_static(user));
        headers.insert("impersonate-group", http::HeaderValue::from_static("system:nodes"));
        world.ask(sender, asked).await
    };
    let one = format!("{CONFIG_MAPS}/a");
    let refused = asked_as(admin(), "jane", Method::DELETE, &one).await.is(403);
    assert_eq!(
        refused.message(),
        "configmaps \"a\" is forbidden: User \"jane\" cannot delete resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    world.get(&one).await.is(200);
    asked_as(admin(), "jane", Method::GET, "/apis").await.is(200);
    asked_as(admin(), "jane", Method::GET, "/metrics").await.is(403);
    let lend = asked_as(Some(Identity::new("joe", &[])), "jane", Method::GET, "/apis")
        .await
        .is(403);
    assert_eq!(
        lend.message(),
        "users \"jane\" is forbidden: User \"joe\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
    );
    // What a node may do is looked at as the node's own, too.
    world.post(PODS, pod("other", "n2")).await.is(201);
    asked_as(admin(), "system:node:n1", Method::DELETE, &format!("{PODS}/other"))
        .await
        .is(403);
}
