//! Lists: selectors, pages of one snapshot, the meanings of resourceVersion, tables.

use http::{HeaderValue, Method};
use serde_json::json;

use crate::world::*;

async fn with_five() -> World {
    let world = world().await;
    for name in ["a", "b", "c", "d", "e"] {
        world.post(CONFIG_MAPS, config_map(name)).await.is(201);
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_paged_list_is_one_snapshot_whatever_is_written_meanwhile() {
    let world = with_five().await;
    let first = world.get(&format!("{CONFIG_MAPS}?limit=2")).await.is(200);
    assert_eq!(first.names(), ["a", "b"]);
    assert_eq!(first.body["metadata"]["remainingItemCount"], 3);
    world.delete(&format!("{CONFIG_MAPS}/c"), json!(null)).await.is(200);
    world.post(CONFIG_MAPS, config_map("bb")).await.is(201);
    world
        .patch("merge", &format!("{CONFIG_MAPS}/d"), json!({"data": {"a": "2"}}))
        .await
        .is(200);
    let token = first.body["metadata"]["continue"].as_str().expect("a token").to_owned();
    let second = world
        .get(&format!("{CONFIG_MAPS}?limit=2&continue={token}"))
        .await
        .is(200);
    assert_eq!(second.names(), ["c", "d"]);
    assert_eq!(second.body["items"][1]["data"]["a"], "1");
    assert_eq!(second.version(), first.version());
    let token = second.body["metadata"]["continue"]
        .as_str()
        .expect("a token")
        .to_owned();
    let third = world.get(&format!("{CONFIG_MAPS}?continue={token}")).await.is(200);
    assert_eq!(third.names(), ["e"]);
    assert_eq!(third.body["metadata"]["continue"], json!(null));
    world
        .get(&format!("{CONFIG_MAPS}?continue={token}&resourceVersion=5"))
        .await
        .is(400);
    world.get(&format!("{CONFIG_MAPS}?continue=nonsense")).await.is(400);
    world
        .store
        .compact(world.store.revision())
        .await
        .expect("the store lives");
    let expired = world.get(&format!("{CONFIG_MAPS}?continue={token}")).await.is(410);
    assert_eq!(expired.reason(), "Expired");
    let token = expired.body["metadata"]["continue"].as_str().expect("a token");
    world.post(CONFIG_MAPS, config_map("f")).await.is(201);
    let rest = world
        .get(&format!("{CONFIG_MAPS}?limit=1&continue={token}"))
        .await
        .is(200);
    assert_eq!(rest.names(), ["e"]);
    assert!(
        rest.version() > third.version(),
        "the rest is of the newest state, and its pages are of one"
    );
    let token = rest.body["metadata"]["continue"].as_str().expect("a token");
    let rest = world.get(&format!("{CONFIG_MAPS}?continue={token}")).await.is(200);
    assert_eq!(rest.names(), ["f"]);
}

#[tokio::test(start_paused = true)]
async fn a_version_asks_for_any_exact_or_fresh_enough_state() {
    let world = with_five().await;
    let old = world.get(&format!("{CONFIG_MAPS}/c")).await.version();
    let names = async |query: &str| {
        world
            .get(&format!("{CONFIG_MAPS}?{query}"))
            .await
            .is(200)
            .names()
            .join("")
    };
    assert_eq!(names("").await, "abcde");
    assert_eq!(names("resourceVersion=0").await, "abcde");
    assert_eq!(names(&format!("resourceVersion={old}")).await, "abcde");
    assert_eq!(
        names(&format!("resourceVersion={old}&resourceVersionMatch=NotOlderThan")).await,
        "abcde"
    );
    assert_eq!(
        names(&format!("resourceVersion={old}&resourceVersionMatch=Exact")).await,
        "abc"
    );
    let late = world.get(&format!("{CONFIG_MAPS}?resourceVersion=9999")).await.is(504);
    assert!(
        late.message()
            .starts_with("Timeout: Too large resource version: 9999, current: ")
    );
    assert_eq!(late.body["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!(late.headers["retry-after"], "1");
    world.get(&format!("{CONFIG_MAPS}?resourceVersion=x")).await.is(400);
    for query in [
        "resourceVersionMatch=Exact",
        "resourceVersion=0&resourceVersionMatch=Exact",
        "resourceVersion=5&resourceVersionMatch=Odd",
        "sendInitialEvents=true",
    ] {
        let refused = world.get(&format!("{CONFIG_MAPS}?{query}")).await.is(422);
        assert!(
            refused
                .message()
                .starts_with("ListOptions.meta.k8s.io \"\" is invalid: "),
            "{}",
            refused.text
        );
    }
    world
        .store
        .compact(world.store.revision())
        .await
        .expect("the store lives");
    let gone = world
        .get(&format!(
            "{CONFIG_MAPS}?resourceVersion={old}&resourceVersionMatch=Exact"
        ))
        .await
        .is(410);
    assert_eq!(gone.message(), "The resourceVersion for the provided list is too old.");
}

#[tokio::test(start_paused = true)]
async fn every_kind_is_found_by_name_and_refuses_fields_that_it_does_not_know() {
    let world = with_five().await;
    for resource in orrery_apiserver::resources::RESOURCES {
        let info = resource.info();
        let root = if info.group.is_empty() {
            "/api".to_owned()
        } else {
            format!("/apis/{}", info.group)
        };
        let path = format!("{root}/{}/{}", info.version, info.plural);
        assert!(
            world
                .get(&format!("{path}?fieldSelector=metadata.name%3Dnobody"))
                .await
                .is(200)
                .names()
                .is_empty()
        );
        for field in resource.field_names() {
            world.get(&format!("{path}?fieldSelector={field}%3Dx")).await.is(200);
        }
        let refused = world
            .get(&format!("{path}?fieldSelector=spec.nothing%3Dx"))
            .await
            .is(400);
        let why = match resource.field_names() {
            [] => "\"spec.nothing\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            _ => "field label not supported: spec.nothing",
        };
        assert_eq!(
            refused.message(),
            format!(
                "Unable to find \"{}/{}, Resource={}\" that match label selector \"\", field selector \"spec.nothing=x\": {why}",
                info.group, info.version, info.plural
            )
        );
    }
    let named = world
        .get(&format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Db"))
        .await
        .is(200);
    assert_eq!(named.names(), ["b"]);
    let others = world
        .get(&format!("{CONFIG_MAPS}?fieldSelector=metadata.name!%3Db&limit=2"))
        .await
        .is(200);
    assert_eq!(others.names(), ["a", "c"]);
    assert_eq!(
        others.body["metadata"]["remainingItemCount"],
        json!(null),
        "nobody counts what a selector leaves"
    );
    world
        .get(&format!("{CONFIG_MAPS}?labelSelector=a%3D%3D%3Db"))
        .await
        .is(400);
}

#[tokio::test(start_paused = true)]
async fn tables_and_bare_metadata_are_shown_to_who_asks() {
    let world = with_five().await;
    let shown = async |accept: &'static str, path: &str| {
        let mut wanted = request(Method::GET, path, "", "");
        wanted.headers_mut().insert("accept", HeaderValue::from_static(accept));
        world.ask(admin(), wanted).await.is(200).body
    };
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let all = shown(table, CONFIG_MAPS).await;
    assert_eq!(
        (&all["kind"], &all["rows"][0]["cells"][0]),
        (&json!("Table"), &json!("a"))
    );
    assert_eq!(
        shown(table, &format!("{CONFIG_MAPS}/a")).await["rows"][0]["object"]["kind"],
        "PartialObjectMetadata"
    );
    let bare = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let bare = shown(bare, CONFIG_MAPS).await;
    assert_eq!(
        (&bare["kind"], &bare["items"][0]["data"]),
        (&json!("PartialObjectMetadataList"), &json!(null))
    );
}
