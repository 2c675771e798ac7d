//! Deleting: at once, in order, by finalizers, on conditions.

use serde_json::json;

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn an_object_without_finalizers_goes_at_once_and_says_which_it_was() {
    let world = world().await;
    let made = world.post(CONFIG_MAPS, config_map("a")).await.is(201);
    let gone = world.delete(&format!("{CONFIG_MAPS}/a"), json!(null)).await.is(200);
    assert_eq!(gone.body["status"], "Success");
    assert_eq!(
        gone.body["details"],
        json!({"name": "a", "kind": "configmaps", "uid": made.body["metadata"]["uid"]})
    );
    world.delete(&format!("{CONFIG_MAPS}/a"), json!(null)).await.is(404);
}

#[tokio::test(start_paused = true)]
async fn an_object_with_finalizers_stays_until_the_last_one_is_removed() {
    let world = world().await;
    let mut held = config_map("a");
    held["metadata"]["finalizers"] = json!(["example.com/b", "example.com/a"]);
    world.post(CONFIG_MAPS, held).await.is(201);
    let path = format!("{CONFIG_MAPS}/a");
    let going = world.delete(&path, json!(null)).await.is(200);
    let deleted_at = going.body["metadata"]["deletionTimestamp"].clone();
    assert!(deleted_at.is_string());
    let before = world.store.revision();
    let again = world.delete(&path, json!(null)).await.is(200);
    assert_eq!(again.body["metadata"]["deletionTimestamp"], deleted_at);
    assert_eq!(world.store.revision(), before, "a second deletion changes nothing");
    let more = json!({"metadata": {"finalizers": ["example.com/a", "example.com/b", "example.com/c"]}});
    let refused = world.patch("merge", &path, more).await.is(422);
    assert!(
        refused
            .message()
            .contains("no new finalizers can be added if the object is being deleted")
    );
    let undone = world
        .patch("merge", &path, json!({"metadata": {"deletionTimestamp": null}}))
        .await
        .is(200);
    assert_eq!(
        undone.body["metadata"]["deletionTimestamp"], deleted_at,
        "a deletion is never taken back"
    );
    world
        .patch("merge", &path, json!({"metadata": {"finalizers": ["example.com/a"]}}))
        .await
        .is(200);
    let last = world
        .patch("merge", &path, json!({"metadata": {"finalizers": null}}))
        .await
        .is(200);
    assert_eq!(last.version(), world.store.revision());
    world.get(&path).await.is(404);
}

#[tokio::test(start_paused = true)]
async fn the_policy_decides_which_finalizer_waits_for_the_collector() {
    let world = world().await;
    for (name, policy, finalizers) in [
        ("f", "Foreground", json!(["foregroundDeletion"])),
        ("o", "Orphan", json!(["orphan"])),
    ] {
        world.post(DEPLOYMENTS, deployment(name)).await.is(201);
        let going = world
            .delete(&format!("{DEPLOYMENTS}/{name}"), json!({"propagationPolicy": policy}))
            .await
            .is(200);
        assert_eq!(going.body["metadata"]["finalizers"], finalizers);
        assert_eq!(going.body["metadata"]["generation"], 2);
    }
    world
        .delete(&format!("{DEPLOYMENTS}/f"), json!({"propagationPolicy": "Background"}))
        .await
        .is(200);
    world.get(&format!("{DEPLOYMENTS}/f")).await.is(404);
    let path = format!("{DEPLOYMENTS}/o");
    world
        .delete(&path, json!({"propagationPolicy": "Sideways"}))
        .await
        .is(422);
    world
        .delete(&path, json!({"propagationPolicy": "Orphan", "orphanDependents": true}))
        .await
        .is(422);
}

#[tokio::test(start_paused = true)]
async fn an_event_waits_for_no_collector_whatever_the_policy_says() {
    let world = world().await;
    let events = "/api/v1/namespaces/default/events";
    for options in [
        json!({"propagationPolicy": "Foreground"}),
        json!({"propagationPolicy": "Orphan"}),
        json!({"orphanDependents": true}),
    ] {
        let event = json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}});
        world.post(events, event).await.is(201);
        world.delete(&format!("{events}/e"), options).await.is(200);
        world.get(&format!("{events}/e")).await.is(404);
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_pod_is_given_time_that_may_only_be_shortened() {
    let world = world().await;
    world.post(PODS, pod("p", "n")).await.is(201);
    let path = format!("{PODS}/p");
    let going = world.delete(&path, json!({"gracePeriodSeconds": 60})).await.is(200);
    assert_eq!(going.body["metadata"]["deletionGracePeriodSeconds"], 60);
    let before = world.store.revision();
    for options in [
        json!(null),
        json!({"gracePeriodSeconds": 90}),
        json!({"gracePeriodSeconds": 60}),
    ] {
        world.delete(&path, options).await.is(200);
    }
    assert_eq!(world.store.revision(), before);
    let shorter = world.delete(&path, json!({"gracePeriodSeconds": 5})).await.is(200);
    assert_eq!(shorter.body["metadata"]["deletionGracePeriodSeconds"], 5);
    assert!(
        shorter.body["metadata"]["deletionTimestamp"].as_str() < going.body["metadata"]["deletionTimestamp"].as_str()
    );
    let gone = world.delete(&path, json!({"gracePeriodSeconds": 0})).await.is(200);
    assert_eq!(gone.body["kind"], "Pod");
    world.get(&path).await.is(404);
}

#[tokio::test(start_paused = true)]
async fn a_second_deletion_of_a_pod_that_ends_changes_its_finalizers_only_with_its_grace() {
    let world = world().await;
    world.post(PODS, pod("p", "n")).await.is(201);
    let path = format!("{PODS}/p");
    let first = json!({"gracePeriodSeconds": 60, "propagationPolicy": "Foreground"});
    world.delete(&path, first).await.is(200);
    let before = world.store.revision();
    for options in [
        json!({"propagationPolicy": "Background"}),
        json!({"propagationPolicy": "Orphan", "gracePeriodSeconds": 60}),
    ] {
        let again = world.delete(&path, options).await.is(200);
        assert_eq!(again.body["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    }
    assert_eq!(world.store.revision(), before);
    let shorter = json!({"propagationPolicy": "Background", "gracePeriodSeconds": 5});
    let shorter = world.delete(&path, shorter).await.is(200);
    assert_eq!(shorter.body["metadata"]["finalizers"], json!(null));
    assert_eq!(shorter.body["metadata"]["deletionGracePeriodSeconds"], 5);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_has_ended_while_it_was_given_time_keeps_it_unless_a_deletion_names_less() {
    let world = world().await;
    world.post(PODS, pod("p", "n")).await.is(201);
    let path = format!("{PODS}/p");
    world.delete(&path, json!({"gracePeriodSeconds": 30})).await.is(200);
    let ended = json!({"status": {"phase": "Succeeded"}});
    world.patch("merge", &format!("{path}/status"), ended).await.is(200);
    let before = world.store.revision();
    for options in [json!(null), json!({"gracePeriodSeconds": 60})] {
        world.delete(&path, options).await.is(200);
    }
    assert_eq!(world.store.revision(), before);
    let shorter = world.delete(&path, json!({"gracePeriodSeconds": 5})).await.is(200);
    assert_eq!(shorter.body["metadata"]["deletionGracePeriodSeconds"], 5);
    world.delete(&path, json!({"gracePeriodSeconds": 0})).await.is(200);
    world.get(&path).await.is(404);
}

#[tokio::test(start_paused = true)]
async fn a_grace_beyond_all_time_harms_nobody() {
    let world = world().await;
    world.post(PODS, pod("p", "n")).await.is(201);
    let path = format!("{PODS}/p");
    world
        .delete(&path, json!({"gracePeriodSeconds": i64::MAX}))
        .await
        .is(200);
    world
        .delete(&path, json!({"gracePeriodSeconds": i64::MIN}))
        .await
        .is(200);
    world.get(&path).await.is(200);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_never_ran_goes_at_once() {
    let world = world().await;
    world.post(PODS, pod("p", "")).await.is(201);
    world.delete(&format!("{PODS}/p"), json!(null)).await.is(200);
    world.get(&format!("{PODS}/p")).await.is(404);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_holds_to_its_preconditions() {
    let world = world().await;
    let made = world.post(CONFIG_MAPS, config_map("a")).await.is(201);
    let path = format!("{CONFIG_MAPS}/a");
    for wrong in [json!({"uid": "x"}), json!({"resourceVersion": "1"})] {
        let refused = world.delete(&path, json!({"preconditions": wrong})).await.is(409);
        assert!(refused.message().contains("Precondition failed"), "{}", refused.text);
    }
    let right = json!({"uid": made.body["metadata"]["uid"], "resourceVersion": made.version().to_string()});
    world.delete(&path, json!({"preconditions": right})).await.is(200);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_terminates_takes_nothing_new_and_goes_when_it_is_finalized() {
    let world = world().await;
    world
        .post("/api/v1/namespaces", json!({"metadata": {"name": "n"}}))
        .await
        .is(201);
    let going = world.delete("/api/v1/namespaces/n", json!(null)).await.is(200);
    assert_eq!(going.body["status"]["phase"], "Terminating");
    let refused = world
        .post("/api/v1/namespaces/n/configmaps", config_map("a"))
        .await
        .is(403);
    assert_eq!(
        refused.message(),
        "configmaps \"a\" is forbidden: unable to create new content in namespace n because it is being terminated"
    );
    assert_eq!(refused.body["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let mut done = going.body.clone();
    done["spec"] = json!({"finalizers": ["nonsense"]});
    world.put("/api/v1/namespaces/n/finalize", &done).await.is(422);
    done["spec"] = json!({});
    world.put("/api/v1/namespaces/n/finalize", &done).await.is(200);
    world.get("/api/v1/namespaces/n").await.is(404);
    for name in ["default", "kube-system", "kube-public"] {
        let kept = world
            .delete(&format!("/api/v1/namespaces/{name}"), json!(null))
            .await
            .is(403);
        assert_eq!(
            kept.message(),
            format!("namespaces {name:?} is forbidden: this namespace may not be deleted")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_as_far_as_it_is_selected() {
    let world = world().await;
    for name in ["a", "b", "c"] {
        let mut one = config_map(name);
        one["metadata"]["labels"] = json!({"first": if name == "a" { "yes" } else { "no" }});
        world.post(CONFIG_MAPS, one).await.is(201);
    }
    world
        .delete(&format!("{CONFIG_MAPS}?labelSelector=first%3Dno"), json!(null))
        .await
        .is(200);
    assert_eq!(world.get(CONFIG_MAPS).await.names(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn the_service_kubernetes_comes_back() {
    let world = world().await;
    let path = format!("{SERVICES}/kubernetes");
    while world.get(&path).await.code != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let before = world.get(&path).await;
    world.delete(&path, json!(null)).await.is(200);
    world.get(&path).await.is(404);
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    let after = world.get(&path).await.is(200);
    assert_eq!(after.body["spec"]["clusterIP"], before.body["spec"]["clusterIP"]);
    assert_ne!(after.body["metadata"]["uid"], before.body["metadata"]["uid"]);
}

#[tokio::test(start_paused = true)]
async fn an_event_is_forgotten_after_an_hour_unless_it_is_seen_again() {
    let world = world().await;
    let events = "/api/v1/namespaces/default/events";
    for name in ["a", "b"] {
        let event = json!({"metadata": {"name": name}, "involvedObject": {"namespace": "default"}});
        world.post(events, event).await.is(201);
    }
    tokio::time::sleep(std::time::Duration::from_secs(3000)).await;
    world
        .patch("merge", &format!("{events}/b"), json!({"count": 2}))
        .await
        .is(200);
    tokio::time::sleep(std::time::Duration::from_secs(1000)).await;
    assert_eq!(world.get(events).await.names(), ["b"]);
    tokio::time::sleep(std::time::Duration::from_secs(3000)).await;
    assert!(world.get(events).await.names().is_empty());
}
