//! Watches: ordered, without gaps or duplicates, resumable, bounded.

use std::time::Duration;

use http::{HeaderValue, Method};
use serde_json::{Value, json};

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn a_watch_shows_what_there_is_and_then_every_change() {
    let world = world().await;
    world.post(CONFIG_MAPS, config_map("a")).await.is(201);
    let mut watch = world.watch(&format!("{CONFIG_MAPS}?watch=1")).await;
    assert_eq!(watch.brief().await, "ADDED a");
    world
        .patch("merge", &format!("{CONFIG_MAPS}/a"), json!({"data": {"a": "2"}}))
        .await
        .is(200);
    world.delete(&format!("{CONFIG_MAPS}/a"), json!(null)).await.is(200);
    assert_eq!(watch.brief().await, "MODIFIED a");
    let deleted = watch.next().await.expect("an event");
    assert_eq!(deleted["type"], "DELETED");
    assert_eq!(
        deleted["object"]["metadata"]["resourceVersion"],
        world.store.revision().to_string()
    );
    assert_eq!(deleted["object"]["data"]["a"], "2");
}

#[tokio::test(start_paused = true)]
async fn an_object_enters_and_leaves_a_watch_by_its_selector() {
    let world = world().await;
    world.post(CONFIG_MAPS, config_map("a")).await.is(201);
    let mut watch = world.watch(&format!("{CONFIG_MAPS}?watch=true&labelSelector=x")).await;
    let path = format!("{CONFIG_MAPS}/a");
    world
        .patch("merge", &path, json!({"metadata": {"labels": {"x": "1"}}}))
        .await
        .is(200);
    world
        .patch("merge", &path, json!({"metadata": {"labels": {"x": "2"}}}))
        .await
        .is(200);
    let left = world
        .patch("merge", &path, json!({"metadata": {"labels": {"x": null}}}))
        .await
        .is(200);
    world.delete(&path, json!(null)).await.is(200);
    assert_eq!(watch.brief().await, "ADDED a");
    assert_eq!(watch.brief().await, "MODIFIED a");
    let gone = watch.next().await.expect("an event");
    assert_eq!(
        (&gone["type"], &gone["object"]["metadata"]["labels"]["x"]),
        (&json!("DELETED"), &json!("2"))
    );
    assert_eq!(
        gone["object"]["metadata"]["resourceVersion"],
        left.version().to_string()
    );
    assert_eq!(watch.brief().await, "silence");
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_resumed_where_it_was_also_by_another_server_on_the_same_disk() {
    let world = world().await;
    let first = world.post(CONFIG_MAPS, config_map("a")).await.is(201).version();
    world.post(CONFIG_MAPS, config_map("b")).await.is(201);
    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={first}");
    assert_eq!(world.watch(&path).await.brief().await, "ADDED b");
    world.delete(&format!("{CONFIG_MAPS}/b"), json!(null)).await.is(200);
    let world = world.restart().await;
    let mut watch = world.watch(&path).await;
    assert_eq!(
        (watch.brief().await, watch.brief().await),
        ("ADDED b".to_owned(), "DELETED b".to_owned())
    );
    assert_eq!(
        world.get(&format!("{CONFIG_MAPS}?resourceVersion=0")).await.names(),
        ["a"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_history_that_is_gone_says_410_as_an_event() {
    let world = world().await;
    for name in ["a", "b", "c"] {
        world.post(CONFIG_MAPS, config_map(name)).await.is(201);
    }
    world
        .store
        .compact(world.store.revision())
        .await
        .expect("the store lives");
    world.post(CONFIG_MAPS, config_map("d")).await.is(201);
    world.get(CONFIG_MAPS).await.is(200);
    let mut watch = world
        .watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion=2"))
        .await;
    let error = watch.next().await.expect("an event");
    assert_eq!(
        (&error["type"], &error["object"]["code"], &error["object"]["reason"]),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
    assert!(watch.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn bookmarks_tell_of_progress_and_the_watch_ends_in_time() {
    let world = world().await;
    let begun = tokio::time::Instant::now();
    let mut watch = world
        .watch(&format!("{PODS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=60"))
        .await;
    world.post(CONFIG_MAPS, config_map("a")).await.is(201);
    let now = world.store.revision();
    let bookmark = watch.next().await.expect("a bookmark");
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["kind"], "Pod");
    let version = bookmark["object"]["metadata"]["resourceVersion"]
        .as_str()
        .expect("a revision");
    assert!(
        version.parse::<u64>().expect("a number") >= now,
        "writes to other kinds are progress too"
    );
    assert!(watch.next().await.is_none());
    assert_eq!(begun.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_initial_events_is_marked_for_who_asks() {
    let world = world().await;
    world.post(CONFIG_MAPS, config_map("a")).await.is(201);
    let asked = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=1";
    let mut watch = world
        .watch(&format!("{CONFIG_MAPS}?{asked}&allowWatchBookmarks=true"))
        .await;
    assert_eq!(watch.brief().await, "ADDED a");
    let end = watch.next().await.expect("a bookmark");
    assert_eq!(
        end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    world
        .get(&format!("{CONFIG_MAPS}?watch=true&sendInitialEvents=true"))
        .await
        .is(422);
    world
        .get(&format!("{CONFIG_MAPS}?watch=true&resourceVersionMatch=NotOlderThan"))
        .await
        .is(422);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_have_the_shape_of_the_objects() {
    let world = world().await;
    let made = world.post(CONFIG_MAPS, config_map("a")).await.is(201).version();
    let seen = |object: &Value| {
        let version = object["metadata"]["resourceVersion"].as_str().expect("a revision");
        version.parse::<u64>().expect("a number")
    };
    let asked = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=1";
    let path = format!("{CONFIG_MAPS}?{asked}&allowWatchBookmarks=true");
    let mut bare = world
        .watch_as("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", &path)
        .await;
    assert_eq!(bare.brief().await, "ADDED a");
    for end in [json!("true"), json!(null)] {
        let bookmark = bare.next().await.expect("a bookmark");
        let object = &bookmark["object"];
        assert_eq!(
            (&bookmark["type"], &object["kind"], &object["apiVersion"]),
            (
                &json!("BOOKMARK"),
                &json!("PartialObjectMetadata"),
                &json!("meta.k8s.io/v1")
            )
        );
        assert!(seen(object) >= made);
        assert_eq!(object["metadata"]["annotations"]["k8s.io/initial-events-end"], end);
    }
    let mut table = world
        .watch_as("application/json;as=Table;v=v1;g=meta.k8s.io", &path)
        .await;
    assert_eq!(
        table.next().await.expect("an event")["object"]["rows"][0]["cells"][0],
        "a"
    );
    let bookmark = table.next().await.expect("a bookmark");
    let object = &bookmark["object"];
    assert_eq!(
        (&bookmark["type"], &object["kind"], &object["rows"]),
        (&json!("BOOKMARK"), &json!("Table"), &json!([]))
    );
    assert!(seen(object) >= made);
}

#[tokio::test(start_paused = true)]
async fn the_rows_of_a_watch_carry_what_was_asked_for() {
    let world = world().await;
    world.post(CONFIG_MAPS, config_map("a")).await.is(201);
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for (asked, kind) in [
        ("", json!("PartialObjectMetadata")),
        ("&includeObject=Object", json!("ConfigMap")),
        ("&includeObject=None", json!(null)),
    ] {
        let mut watch = world
            .watch_as(accept, &format!("{CONFIG_MAPS}?watch=true{asked}"))
            .await;
        let event = watch.next().await.expect("an event");
        assert_eq!(event["object"]["rows"][0]["object"]["kind"], kind);
    }
    let mut wrong = request(
        Method::GET,
        &format!("{CONFIG_MAPS}?watch=true&includeObject=Some"),
        "",
        "",
    );
    wrong.headers_mut().insert("accept", HeaderValue::from_static(accept));
    world.ask(admin(), wrong).await.is(400);
}

#[tokio::test(start_paused = true)]
async fn watches_that_begin_while_others_write_miss_and_repeat_nothing() {
    let world = world().await;
    let writer = async {
        for number in 0..60 {
            world
                .post(CONFIG_MAPS, config_map(&format!("m{number:02}")))
                .await
                .is(201);
        }
    };
    let reader = async {
        let mut ends = Vec::new();
        for _ in 0..10 {
            let list = world.get(CONFIG_MAPS).await.is(200);
            let mut seen = list.names().len();
            let mut watch = world
                .watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={}", list.version()))
                .await;
            while seen < 60 {
                let event = tokio::time::timeout(Duration::from_secs(5), watch.next())
                    .await
                    .expect("no gap")
                    .expect("an event");
                assert_eq!(event["object"]["metadata"]["name"], format!("m{seen:02}"));
                seen += 1;
            }
            ends.push(watch.brief().await);
        }
        ends
    };
    let ((), ends) = tokio::join!(writer, reader);
    assert!(ends.iter().all(|end| end == "silence"), "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn a_path_that_begins_with_watch_is_a_watch() {
    let world = world().await;
    for name in ["a", "b"] {
        world.post(CONFIG_MAPS, config_map(name)).await.is(201);
    }
    let mut watch = world.watch("/api/v1/watch/namespaces/default/configmaps/b").await;
    assert_eq!(watch.brief().await, "ADDED b");
    assert_eq!(watch.brief().await, "silence");
    let one = world.get(&format!("{CONFIG_MAPS}/a?watch=true")).await.is(200);
    assert_eq!(
        one.body["metadata"]["name"], "a",
        "an object by name is read, not watched"
    );
}
