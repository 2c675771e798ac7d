//! Scale, binding, eviction.

use serde_json::json;

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn a_deployment_is_scaled_by_its_subresource() {
    let world = world().await;
    world.post(DEPLOYMENTS, deployment("a")).await.is(201);
    let path = format!("{DEPLOYMENTS}/a/scale");
    let scale = world.get(&path).await.is(200);
    assert_eq!(
        (&scale.body["kind"], &scale.body["status"]["selector"]),
        (&json!("Scale"), &json!("app=a"))
    );
    let scaled = world
        .patch("merge", &path, json!({"spec": {"replicas": 4}}))
        .await
        .is(200);
    assert_eq!(scaled.body["spec"]["replicas"], 4);
    assert_eq!(
        world.get(&format!("{DEPLOYMENTS}/a")).await.body["metadata"]["generation"],
        2
    );
    world.put(&path, &scale.body).await.is(409);
    world
        .patch("merge", &path, json!({"spec": {"replicas": -1}}))
        .await
        .is(422);
    world
        .put(&path, &json!({"metadata": {"name": "b"}, "spec": {"replicas": 1}}))
        .await
        .is(400);
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_bound_once_to_a_node_that_is_there_and_stays() {
    let world = world().await;
    world
        .post("/api/v1/nodes", json!({"metadata": {"name": "n"}}))
        .await
        .is(201);
    world
        .post(
            "/api/v1/nodes",
            json!({"metadata": {"name": "leaving", "finalizers": ["example.com/x"]}}),
        )
        .await
        .is(201);
    world.delete("/api/v1/nodes/leaving", json!(null)).await.is(200);
    world.post(PODS, pod("p", "")).await.is(201);
    let path = format!("{PODS}/p/binding");
    let to = |node: &str| json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}});
    world.post(&path, to("nowhere")).await.is(409);
    world.post(&path, to("leaving")).await.is(409);
    world.post(&path, to("")).await.is(422);
    let mut other = to("n");
    other["metadata"]["uid"] = json!("another");
    world.post(&path, other).await.is(409);
    let mut other = to("n");
    other["metadata"]["name"] = json!("q");
    world.post(&path, other).await.is(400);
    world.post(&format!("{path}?dryRun=All"), to("n")).await.is(201);
    assert_eq!(
        world.get(&format!("{PODS}/p")).await.body["spec"]["nodeName"],
        json!(null)
    );
    world.post(&path, to("n")).await.is(201);
    let bound = world.get(&format!("{PODS}/p")).await.is(200);
    assert_eq!(bound.body["spec"]["nodeName"], "n");
    assert_eq!(bound.body["status"]["conditions"][0]["type"], "PodScheduled");
    let again = world.post(&path, to("n")).await.is(409);
    assert!(
        again.message().ends_with("pod p is already assigned to node \"n\""),
        "{}",
        again.text
    );
}

#[tokio::test(start_paused = true)]
async fn no_pod_is_bound_in_a_namespace_that_goes() {
    let world = world().await;
    for (path, name) in [("/api/v1/nodes", "n"), ("/api/v1/namespaces", "going")] {
        world.post(path, json!({"metadata": {"name": name}})).await.is(201);
    }
    let pods = "/api/v1/namespaces/going/pods";
    world.post(pods, pod("p", "")).await.is(201);
    world.delete("/api/v1/namespaces/going", json!(null)).await.is(200);
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let refused = world.post(&format!("{pods}/p/binding"), binding).await.is(403);
    assert_eq!(refused.body["details"]["causes"][0]["reason"], "NamespaceTerminating");
    assert_eq!(world.get(&format!("{pods}/p")).await.body["spec"].get("nodeName"), None);
}

#[tokio::test(start_paused = true)]
async fn an_eviction_deletes_in_order() {
    let world = world().await;
    world.post(PODS, pod("p", "n")).await.is(201);
    let path = format!("{PODS}/p/eviction");
    world
        .post(&format!("{path}?dryRun=All"), json!({"metadata": {"name": "p"}}))
        .await
        .is(201);
    assert_eq!(
        world.get(&format!("{PODS}/p")).await.body["metadata"]["deletionTimestamp"],
        json!(null)
    );
    world.post(&path, json!({"metadata": {"name": "q"}})).await.is(400);
    world
        .post(
            &path,
            json!({"metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 3}}),
        )
        .await
        .is(201);
    assert_eq!(
        world.get(&format!("{PODS}/p")).await.body["metadata"]["deletionGracePeriodSeconds"],
        3
    );
}
