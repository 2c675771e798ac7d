//! Custom kinds: given with the server, and served as all others are.

use orrery_apiserver::{CustomResource, CustomResourceDefinition, Kinds};
use serde_json::{Value, json};

use crate::world::*;

const WEBSITES: &str = "/apis/example.com/v1/namespaces/default/websites";

async fn with_websites() -> World {
    let definition = CustomResourceDefinition {
        group: "example.com".to_owned(),
        version: "v1".to_owned(),
        kind: "Website".to_owned(),
        plural: "websites".to_owned(),
        singular: "website".to_owned(),
        short_names: vec!["site".to_owned()],
        namespaced: true,
    };
    let resource = CustomResource::new(&definition)
        .expect("good names")
        .checked(|object: &Value| {
            let replicas = object["spec"]["replicas"].as_i64();
            let fault = || orrery_api::field::Error::invalid("spec.replicas", replicas, "must not be negative");
            (replicas < Some(0)).then(fault).into_iter().collect()
        });
    World::serving(Kinds::with(vec![resource]).expect("a new kind")).await
}

fn website(name: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Website", "metadata": {"name": name}, "spec": {"replicas": 1}})
}

#[tokio::test(start_paused = true)]
async fn a_custom_object_lives_as_any_other() {
    let world = with_websites().await;
    let mut watch = world.watch(&format!("{WEBSITES}?watch=1")).await;
    let one = format!("{WEBSITES}/a");
    let made = world.post(WEBSITES, website("a")).await.is(201);
    assert_eq!(made.body["metadata"]["generation"], 1);
    let ready = json!({"status": {"ready": 1}, "spec": {"replicas": 9}});
    let told = world.patch("merge", &format!("{one}/status"), ready).await.is(200);
    assert_eq!(
        (&told.body["status"]["ready"], &told.body["spec"]["replicas"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(told.body["metadata"]["generation"], 1);
    let wish = json!({"status": {"ready": 9}, "spec": {"replicas": 2}});
    let scaled = world.patch("merge", &one, wish).await.is(200);
    assert_eq!(
        (&scaled.body["status"]["ready"], &scaled.body["metadata"]["generation"]),
        (&json!(1), &json!(2))
    );
    world.put(&one, &made.body).await.is(409);
    world.put(&one, &website("a")).await.is(422);
    world.patch("strategic", &one, json!({"spec": {}})).await.is(415);
    assert_eq!(world.get(WEBSITES).await.is(200).names(), ["a"]);
    world.delete(&one, json!(null)).await.is(200);
    world.get(&one).await.is(404);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(watch.brief().await);
    }
    assert_eq!(seen, ["ADDED a", "MODIFIED a", "MODIFIED a", "DELETED a"]);
}

#[tokio::test(start_paused = true)]
async fn a_custom_kind_is_told_of_and_its_check_heard() {
    let world = with_websites().await;
    let listed = world.get("/apis/example.com/v1").await.is(200);
    let names: Vec<&str> = listed.body["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(names, ["websites", "websites/status"]);
    assert_eq!(listed.body["resources"][0]["shortNames"], json!(["site"]));
    let mut wrong = website("a");
    wrong["spec"]["replicas"] = json!(-1);
    let refused = world.post(WEBSITES, wrong).await.is(422);
    assert_eq!(
        refused.message(),
        "Website.example.com \"a\" is invalid: spec.replicas: Invalid value: -1: must not be negative"
    );
    let other = crate::world::world().await;
    other.get(WEBSITES).await.is(404);
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_holds_a_custom_object() {
    let world = with_websites().await;
    let mut held = website("a");
    // Those of custom objects need no domain, as in Kubernetes.
    held["metadata"]["finalizers"] = json!(["example.com/dns", "hold"]);
    world.post(WEBSITES, held).await.is(201);
    let one = format!("{WEBSITES}/a");
    let going = world.delete(&one, json!(null)).await.is(200);
    assert!(going.body["metadata"]["deletionTimestamp"].is_string());
    world
        .patch("merge", &one, json!({"metadata": {"finalizers": null}}))
        .await
        .is(200);
    world.get(&one).await.is(404);
}
