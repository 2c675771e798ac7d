//! Each refusal with its code and words; paths that are no objects'.

use http::Method;
use serde_json::json;

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_not_found() {
    let world = world().await;
    let missing = world.get(&format!("{DEPLOYMENTS}/a")).await.is(404);
    assert_eq!(missing.message(), "deployments.apps \"a\" not found");
    assert_eq!(
        missing.body["details"],
        json!({"name": "a", "group": "apps", "kind": "deployments"})
    );
    for path in [
        "/api/v1/nothing",
        "/apis/apps/v2/deployments",
        &format!("{CONFIG_MAPS}/a/status"),
        "/api/v1/pods/a",
    ] {
        let answer = world.get(path).await.is(404);
        assert_eq!(answer.message(), "the server could not find the requested resource");
    }
    let nowhere = world
        .post("/api/v1/namespaces/nowhere/configmaps", config_map("a"))
        .await
        .is(404);
    assert_eq!(nowhere.message(), "namespaces \"nowhere\" not found");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_takes_nothing_is_told_before_any_fault_of_the_object() {
    let world = world().await;
    let mut pod = pod("UPPER", "");
    pod["spec"]["serviceAccountName"] = json!("robot");
    let nowhere = world.post("/api/v1/namespaces/nowhere/pods", pod.clone()).await.is(404);
    assert_eq!(nowhere.message(), "namespaces \"nowhere\" not found");
    world
        .post("/api/v1/namespaces", json!({"metadata": {"name": "n"}}))
        .await
        .is(201);
    world.delete("/api/v1/namespaces/n", json!(null)).await.is(200);
    let closed = world.post("/api/v1/namespaces/n/pods", pod).await.is(403);
    assert_eq!(closed.body["details"]["causes"][0]["reason"], "NamespaceTerminating");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_taken_already_exists() {
    let world = world().await;
    world.post(CONFIG_MAPS, config_map("a")).await.is(201);
    let taken = world.post(CONFIG_MAPS, config_map("a")).await.is(409);
    assert_eq!(
        (taken.reason(), taken.message()),
        ("AlreadyExists", "configmaps \"a\" already exists")
    );
    let mut held = config_map("b");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.post(CONFIG_MAPS, held).await.is(201);
    world.delete(&format!("{CONFIG_MAPS}/b"), json!(null)).await.is(200);
    for path in [CONFIG_MAPS, &format!("{CONFIG_MAPS}?dryRun=All")] {
        let going = world.post(path, config_map("b")).await.is(409);
        assert_eq!(
            (going.reason(), going.message()),
            (
                "AlreadyExists",
                "object is being deleted: configmaps \"b\" already exists"
            )
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalid_object_is_refused_with_every_fault_by_its_field() {
    let world = world().await;
    let mut bad = config_map("UPPER");
    bad["metadata"]["labels"] = json!({"a": "no good"});
    let refused = world.post(CONFIG_MAPS, bad).await.is(422);
    assert_eq!(refused.reason(), "Invalid");
    assert!(
        refused.message().starts_with("ConfigMap \"UPPER\" is invalid: ["),
        "{}",
        refused.message()
    );
    let fields: Vec<_> = refused.body["details"]["causes"]
        .as_array()
        .expect("causes")
        .iter()
        .map(|one| one["field"].clone())
        .collect();
    assert_eq!(fields, ["metadata.name", "metadata.labels"]);
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_has_a_domain_unless_it_is_one_of_kubernetes() {
    let world = world().await;
    let held = |name: &str, finalizer: &str| {
        let mut held = config_map(name);
        held["metadata"]["finalizers"] = json!([finalizer]);
        held
    };
    let rule = "metadata.finalizers[0]: Invalid value: \"hold\": name is neither a standard finalizer name nor is it fully qualified";
    let refused = world.post(CONFIG_MAPS, held("a", "hold")).await.is(422);
    assert_eq!(refused.message(), format!("ConfigMap \"a\" is invalid: {rule}"));
    for (name, finalizer) in [("a", "example.com/hold"), ("b", "orphan"), ("c", "kubernetes")] {
        world.post(CONFIG_MAPS, held(name, finalizer)).await.is(201);
    }
    let refused = world.put(&format!("{CONFIG_MAPS}/a"), &held("a", "hold")).await.is(422);
    assert!(refused.message().ends_with(rule), "{}", refused.text);
}

#[tokio::test(start_paused = true)]
async fn methods_media_types_and_sizes_have_codes_of_their_own() {
    let world = world().await;
    world.post(CONFIG_MAPS, config_map("a")).await.is(201);
    let one = format!("{CONFIG_MAPS}/a");
    let code = async |method: &str, path: &str, media: &str, body: &str| {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        world.ask(admin(), request(method, path, media, body)).await.code
    };
    assert_eq!(code("POST", &one, "application/json", "{}").await, 405);
    assert_eq!(code("PUT", CONFIG_MAPS, "application/json", "{}").await, 405);
    assert_eq!(code("PATCH", CONFIG_MAPS, "application/json", "{}").await, 405);
    assert_eq!(code("HEAD", &one, "", "").await, 405);
    assert_eq!(code("POST", "/api/v1/configmaps", "application/json", "{}").await, 405);
    assert_eq!(code("DELETE", "/api/v1/configmaps", "", "").await, 405);
    assert_eq!(code("DELETE", "/api/v1/namespaces", "", "").await, 405);
    assert_eq!(
        code("DELETE", "/api/v1/watch/namespaces/default/configmaps/a", "", "").await,
        405
    );
    assert_eq!(code("POST", CONFIG_MAPS, "text/plain", "x").await, 415);
    assert_eq!(code("PATCH", &one, "application/json", "{}").await, 415);
    assert_eq!(
        code(
            "PATCH",
            &format!("{CONFIG_MAPS}/none"),
            "application/apply-patch+yaml",
            "{}"
        )
        .await,
        415
    );
    let large = " ".repeat(3 * 1024 * 1024 + 1);
    assert_eq!(code("POST", CONFIG_MAPS, "application/json", &large).await, 413);
    assert_eq!(code("PATCH", &one, "application/merge-patch+json", &large).await, 413);
    assert_eq!(code("DELETE", &one, "application/json", &large).await, 413);
    let mut picky = request(Method::GET, &one, "", "");
    picky
        .headers_mut()
        .insert("accept", http::HeaderValue::from_static("text/html"));
    assert_eq!(world.ask(admin(), picky).await.is(406).reason(), "NotAcceptable");
    world.get(&one).await.is(200);
}

#[tokio::test(start_paused = true)]
async fn a_path_cannot_reach_another_key_by_escapes() {
    let world = world().await;
    world.post(CONFIG_MAPS, config_map("a")).await.is(201);
    for path in [
        "/api/v1/namespaces/default%2Fa/configmaps",
        "/api/v1/namespaces/default/configmaps/x%2Fa",
        "/api/v1/namespaces/default%2Fconfigmaps",
        "/api/v1/namespaces/%2E%2E/configmaps/a",
        "/api/v1/nodes/..%2Fconfigmaps%2Fdefault%2Fa",
    ] {
        for method in [Method::GET, Method::DELETE] {
            let answer = world.ask(admin(), request(method, path, "", "")).await.is(400);
            assert!(answer.message().contains("parameter invalid"), "{}", answer.text);
        }
    }
    assert_eq!(
        world.get("/api/v1/nodes/a%2Fb").await.is(400).message(),
        "Name parameter invalid: \"a/b\": may not contain '/'"
    );
    for name in ["a/b", "..", "a%2Fb"] {
        world.post(CONFIG_MAPS, config_map(name)).await.is(422);
    }
}

#[tokio::test(start_paused = true)]
async fn health_version_and_discovery_are_told() {
    let world = world().await;
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(
            world.ask(None, request(Method::GET, path, "", "")).await.is(200).text,
            "ok"
        );
        assert_eq!(
            world.ask(None, request(Method::HEAD, path, "", "")).await.is(200).text,
            ""
        );
    }
    assert!(
        world
            .get("/readyz?verbose")
            .await
            .is(200)
            .text
            .ends_with("readyz check passed\n")
    );
    assert_eq!(
        world
            .ask(None, request(Method::GET, "/version", "", ""))
            .await
            .is(200)
            .body["major"],
        "1"
    );
    let first = world.get("/apis").await.is(200);
    let mut again = request(Method::GET, "/apis", "", "");
    again
        .headers_mut()
        .insert("if-none-match", first.headers["etag"].clone());
    assert_eq!(world.ask(admin(), again).await.is(304).text, "");
}

#[tokio::test(start_paused = true)]
async fn whoever_touches_endpoints_hears_that_they_are_deprecated() {
    let world = world().await;
    let all = world.get("/api/v1/namespaces/default/endpoints").await.is(200);
    assert_eq!(
        all.headers["warning"],
        "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\""
    );
    assert!(world.get(CONFIG_MAPS).await.headers.get("warning").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_pod_with_an_account_that_is_not_there_is_forbidden() {
    let world = world().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |name: &str, account: &str| {
        json!({"metadata": {"name": name}, "spec": {
            "serviceAccountName": account, "containers": [{"name": "c", "image": "i"}]}})
    };
    let refused = world.post(pods, pod("a", "robot")).await.is(403);
    assert_eq!(
        refused.message(),
        "pods \"a\" is forbidden: error looking up service account default/robot: serviceaccount \"robot\" not found"
    );
    let account = json!({"metadata": {"name": "robot"}});
    world
        .post("/api/v1/namespaces/default/serviceaccounts", account)
        .await
        .is(201);
    world.post(pods, pod("a", "robot")).await.is(201);
    // The account `default` follows its namespace; its pods wait for it.
    world.post(pods, pod("b", "default")).await.is(201);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_wants_a_runtime_that_is_not_there_is_forbidden() {
    let world = world().await;
    let mut wants = pod("a", "");
    wants["spec"]["runtimeClassName"] = json!("gvisor");
    let refused = world.post(PODS, wants).await.is(403);
    assert_eq!(
        refused.message(),
        "pods \"a\" is forbidden: pod rejected: RuntimeClass \"gvisor\" not found"
    );
}
