//! Creating and changing objects.

use http::Method;
use serde_json::json;

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn an_object_gets_uid_time_and_revision_from_the_server() {
    let world = world().await;
    let mut sent = config_map("a");
    sent["metadata"]["uid"] = json!("mine");
    sent["metadata"]["creationTimestamp"] = json!("2000-01-01T00:00:00Z");
    let made = world.post(CONFIG_MAPS, sent).await.is(201);
    assert_ne!(made.body["metadata"]["uid"], "mine");
    assert_ne!(made.body["metadata"]["creationTimestamp"], "2000-01-01T00:00:00Z");
    assert_eq!(made.version(), world.store.revision());
    let read = world.get(&format!("{CONFIG_MAPS}/a")).await.is(200);
    assert_eq!(read.text, made.text, "the bytes of the write are those of every read");
}

#[tokio::test(start_paused = true)]
async fn a_name_is_generated_from_its_prefix() {
    let world = world().await;
    let sent = json!({"metadata": {"generateName": "web-"}});
    let first = world.post(CONFIG_MAPS, sent.clone()).await.is(201);
    let second = world.post(CONFIG_MAPS, sent).await.is(201);
    let name = first.body["metadata"]["name"].as_str().expect("a name");
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    assert_ne!(first.body["metadata"]["name"], second.body["metadata"]["name"]);
}

#[tokio::test(start_paused = true)]
async fn a_stale_update_conflicts_and_an_unconditional_one_overwrites() {
    let world = world().await;
    let path = format!("{CONFIG_MAPS}/a");
    let first = world.post(CONFIG_MAPS, config_map("a")).await.is(201).body;
    let mut newer = first.clone();
    newer["data"]["a"] = json!("2");
    world.put(&path, &newer).await.is(200);
    let mut stale = first.clone();
    stale["data"]["a"] = json!("3");
    let refused = world.put(&path, &stale).await.is(409);
    assert_eq!(refused.reason(), "Conflict");
    assert_eq!(
        refused.message(),
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    for version in ["", "0"] {
        stale["metadata"]["resourceVersion"] = json!(version);
        world.put(&path, &stale).await.is(200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_never_overwritten_unconditionally() {
    let world = world().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    world.post(leases, json!({"metadata": {"name": "l"}})).await.is(201);
    let refused = world
        .put(
            &format!("{leases}/l"),
            &json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}}),
        )
        .await
        .is(422);
    assert!(
        refused.message().contains("metadata.resourceVersion"),
        "{}",
        refused.text
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_that_changes_nothing_makes_no_revision() {
    let world = world().await;
    let made = world.post(DEPLOYMENTS, deployment("a")).await.is(201);
    let path = format!("{DEPLOYMENTS}/a");
    let before = world.store.revision();
    world.put(&path, &made.body).await.is(200);
    world
        .patch(
            "merge",
            &path,
            json!({"metadata": {"labels": {"x": null}, "annotations": {}}}),
        )
        .await
        .is(200);
    world
        .patch(
            "strategic",
            &path,
            json!({"spec": {"template": {"spec": {"nodeSelector": {"x": null}}}}}),
        )
        .await
        .is(200);
    world
        .patch(
            "json",
            &path,
            json!([{"op": "test", "path": "/metadata/name", "value": "a"}]),
        )
        .await
        .is(200);
    assert_eq!(world.store.revision(), before);
}

#[tokio::test(start_paused = true)]
async fn three_kinds_of_patches_change_an_object() {
    let world = world().await;
    world.post(DEPLOYMENTS, deployment("a")).await.is(201);
    let path = format!("{DEPLOYMENTS}/a");
    let patched = world
        .patch("merge", &path, json!({"spec": {"replicas": 2}}))
        .await
        .is(200);
    assert_eq!(patched.body["spec"]["replicas"], 2);
    let side = json!({"spec": {"template": {"spec": {"containers": [{"name": "d", "image": "j"}]}}}});
    let patched = world.patch("strategic", &path, side).await.is(200);
    let containers = patched.body["spec"]["template"]["spec"]["containers"]
        .as_array()
        .map(Vec::len);
    assert_eq!(
        containers,
        Some(2),
        "a strategic merge patch merges lists by their keys"
    );
    let patched = world
        .patch(
            "json",
            &path,
            json!([{"op": "replace", "path": "/spec/replicas", "value": 3}]),
        )
        .await
        .is(200);
    assert_eq!(patched.body["spec"]["replicas"], 3);
    let failed = world
        .patch(
            "json",
            &path,
            json!([{"op": "test", "path": "/spec/replicas", "value": 9}]),
        )
        .await
        .is(422);
    assert_eq!(failed.reason(), "Invalid");
    world.patch("merge", &path, json!([1])).await.is(400);
    let based = json!({"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 5}});
    world.patch("merge", &path, based).await.is(409);
}

#[tokio::test(start_paused = true)]
async fn spec_and_status_are_written_apart_and_only_spec_counts_as_a_generation() {
    let world = world().await;
    let made = world.post(DEPLOYMENTS, deployment("a")).await.is(201);
    assert_eq!(made.body["metadata"]["generation"], 1);
    let path = format!("{DEPLOYMENTS}/a");
    let both = json!({"spec": {"replicas": 7}, "status": {"replicas": 7, "observedGeneration": 1}});
    let status = world
        .patch("merge", &format!("{path}/status"), both.clone())
        .await
        .is(200);
    assert_eq!(status.body["spec"]["replicas"], 1);
    assert_eq!(status.body["status"]["replicas"], 7);
    assert_eq!(status.body["metadata"]["generation"], 1);
    let mut both = both;
    both["status"]["replicas"] = json!(8);
    let spec = world.patch("merge", &path, both).await.is(200);
    assert_eq!(spec.body["spec"]["replicas"], 7);
    assert_eq!(spec.body["status"]["replicas"], 7);
    assert_eq!(spec.body["metadata"]["generation"], 2);
    let labelled = world
        .patch("merge", &path, json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .is(200);
    assert_eq!(labelled.body["metadata"]["generation"], 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_body_names_must_be_what_the_path_names() {
    let world = world().await;
    world.post(CONFIG_MAPS, config_map("a")).await.is(201);
    let path = format!("{CONFIG_MAPS}/a");
    let said = |answer: Answer| answer.is(400).message().to_owned();
    assert_eq!(
        said(world.put(&path, &config_map("b")).await),
        "the name of the object (b) does not match the name on the URL (a)"
    );
    assert_eq!(
        said(world.put(&path, &json!({"data": {}})).await),
        "the name of the object (a based on URL) was undeterminable: name must be provided"
    );
    let elsewhere = json!({"metadata": {"name": "a", "namespace": "other"}});
    assert_eq!(
        said(world.put(&path, &elsewhere).await),
        "the namespace of the object (other) does not match the namespace on the request (default)"
    );
    assert_eq!(
        said(world.post(CONFIG_MAPS, elsewhere).await),
        "the namespace of the provided object does not match the namespace sent on the request"
    );
    let other = json!({"metadata": {"name": "a", "uid": "another"}});
    let refused = world.put(&path, &other).await.is(409);
    assert!(
        refused
            .message()
            .contains("Precondition failed: UID in precondition: another, UID in object meta: ")
    );
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_answers_and_leaves_nothing() {
    let world = world().await;
    world.post(CONFIG_MAPS, config_map("a")).await.is(201);
    let before = world.store.revision();
    world
        .post(&format!("{SERVICES}?dryRun=All"), service("s", "NodePort"))
        .await
        .is(201);
    let changed = world
        .patch(
            "merge",
            &format!("{CONFIG_MAPS}/a?dryRun=All"),
            json!({"data": {"a": "2"}}),
        )
        .await
        .is(200);
    assert_eq!(changed.body["data"]["a"], "2");
    world
        .delete(&format!("{CONFIG_MAPS}/a?dryRun=All"), json!(null))
        .await
        .is(200);
    world
        .delete(&format!("{CONFIG_MAPS}/a"), json!({"dryRun": ["All"]}))
        .await
        .is(200);
    world
        .post(&format!("{CONFIG_MAPS}?dryRun=All"), config_map("a"))
        .await
        .is(409);
    world
        .post(&format!("{CONFIG_MAPS}?dryRun=Some"), config_map("b"))
        .await
        .is(400);
    world
        .delete(&format!("{CONFIG_MAPS}/a"), json!({"dryRun": ["Some"]}))
        .await
        .is(422);
    assert_eq!(world.store.revision(), before);
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_are_refused_warned_of_or_dropped_as_the_client_asks() {
    let world = world().await;
    let odd = |name: &str| json!({"metadata": {"name": name}, "dáta": {}, "data": {"a": "1"}});
    let strict = world
        .post(&format!("{CONFIG_MAPS}?fieldValidation=Strict"), odd("a"))
        .await
        .is(400);
    assert_eq!(
        strict.message(),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"dáta\""
    );
    let warned = world.post(CONFIG_MAPS, odd("b")).await.is(201);
    let warning = warned.headers.get("warning").expect("a warning").as_bytes();
    assert_eq!(String::from_utf8_lossy(warning), "299 - \"unknown field \\\"dáta\\\"\"");
    let ignored = world
        .post(&format!("{CONFIG_MAPS}?fieldValidation=Ignore"), odd("c"))
        .await
        .is(201);
    assert!(ignored.headers.get("warning").is_none());
    world
        .post(&format!("{CONFIG_MAPS}?fieldValidation=Maybe"), odd("d"))
        .await
        .is(400);
}

#[tokio::test(start_paused = true)]
async fn what_is_odd_about_a_template_is_told_whenever_a_spec_is_written() {
    let world = world().await;
    let mut odd = deployment("a");
    odd["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "0.512"}});
    let warning = "299 - \"spec.template.spec.containers[0].resources.limits[memory]: fractional byte value \\\"512m\\\" is invalid, must be an integer\"";
    for dry_run in ["?dryRun=All", ""] {
        let path = format!("{DEPLOYMENTS}{dry_run}");
        let made = world.post(&path, odd.clone()).await.is(201);
        assert_eq!(made.warnings(), [warning]);
    }
    let taken = world.post(DEPLOYMENTS, odd).await.is(409);
    assert!(taken.warnings().is_empty(), "{}", taken.text);
    let path = format!("{DEPLOYMENTS}/a");
    let scaled = world
        .patch("merge", &path, json!({"spec": {"replicas": 2}}))
        .await
        .is(200);
    assert_eq!(scaled.warnings(), [warning]);
    for (path, patch) in [
        (path.clone(), json!({"metadata": {"labels": {"a": "b"}}})),
        (format!("{path}/status"), json!({"status": {"replicas": 1}})),
    ] {
        let changed = world.patch("merge", &path, patch).await.is(200);
        assert!(changed.warnings().is_empty(), "{}", changed.text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_pod_is_looked_at_with_its_defaults() {
    let world = world().await;
    let mut odd = pod("p", "");
    odd["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80}]);
    odd["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "512m"}});
    let made = world.post(PODS, odd).await.is(201);
    let told = [
        "299 - \"spec.containers[0].resources.limits[memory]: fractional byte value \\\"512m\\\" is invalid, must be an integer\"",
        "299 - \"spec.containers[0].resources.requests[memory]: fractional byte value \\\"512m\\\" is invalid, must be an integer\"",
        "299 - \"spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]\"",
    ];
    assert_eq!(made.warnings(), told);
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let changed = world.patch("merge", &format!("{PODS}/p"), labels).await.is(200);
    assert!(changed.warnings().is_empty(), "{}", changed.text);
}

#[tokio::test(start_paused = true)]
async fn whoever_ignores_unknown_fields_is_stored_as_everybody_is() {
    let world = world().await;
    let mut odd = pod("p", "");
    odd["spec"]["nodeName"] = json!("");
    odd["spec"]["containers"][0]["env"] = json!([]);
    odd["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "0.5"}});
    let made = world
        .post(&format!("{PODS}?fieldValidation=Ignore"), odd.clone())
        .await
        .is(201);
    let spec = &made.body["spec"];
    assert_eq!(
        (
            spec.get("nodeName"),
            spec["containers"][0].get("env"),
            &spec["containers"][0]["resources"]["limits"]["cpu"]
        ),
        (None, None, &json!("500m"))
    );
    let before = world.store.revision();
    let patch = json!({"spec": {"nodeName": "", "containers": odd["spec"]["containers"]}});
    let path = format!("{PODS}/p?fieldValidation=Ignore");
    world.patch("strategic", &path, patch).await.is(200);
    assert_eq!(world.store.revision(), before, "the patch says what there is");
    let mut wrong = pod("q", "");
    wrong["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "many"}});
    world
        .post(&format!("{PODS}?fieldValidation=Ignore"), wrong)
        .await
        .is(400);
}

#[tokio::test(start_paused = true)]
async fn bodies_may_be_yaml_or_protobuf() {
    let world = world().await;
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y\ndata:\n  a: b\n";
    let made = world
        .ask(admin(), request(Method::POST, CONFIG_MAPS, "application/yaml", yaml))
        .await
        .is(201);
    assert_eq!(made.body["data"]["a"], "b");
    // runtime.Unknown{typeMeta: {apiVersion: v1, kind: ConfigMap}, raw: ConfigMap{metadata: {name: p}}}
    let body = "k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x05\x0a\x03\x0a\x01p";
    let media = "application/vnd.kubernetes.protobuf";
    let made = world
        .ask(admin(), request(Method::POST, CONFIG_MAPS, media, body))
        .await
        .is(201);
    assert_eq!(made.body["metadata"]["name"], "p");
}
