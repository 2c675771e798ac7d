//! Cluster IPs and node ports: unique, kept, given back.

use std::collections::BTreeSet;

use serde_json::json;

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn each_service_has_an_address_and_port_of_its_own() {
    let world = world().await;
    let mut addresses = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for number in 0..40 {
        let made = world
            .post(SERVICES, service(&format!("s{number}"), "NodePort"))
            .await
            .is(201);
        addresses.insert(made.body["spec"]["clusterIP"].to_string());
        ports.insert(made.body["spec"]["ports"][0]["nodePort"].as_i64().expect("a port"));
    }
    assert_eq!((addresses.len(), ports.len()), (40, 40));
    assert!(ports.iter().all(|port| (30000..=32767).contains(port)));
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_or_out_of_range_is_refused() {
    let world = world().await;
    let chosen = |name: &str, address: &str, port: i32| {
        let mut service = service(name, "NodePort");
        service["spec"]["clusterIP"] = json!(address);
        service["spec"]["ports"][0]["nodePort"] = json!(port);
        service
    };
    world.post(SERVICES, chosen("a", "10.96.7.7", 30777)).await.is(201);
    let said = async |one: serde_json::Value| world.post(SERVICES, one).await.is(422).message().to_owned();
    assert!(
        said(chosen("b", "10.96.7.7", 30778))
            .await
            .contains("provided IP is already allocated")
    );
    assert!(
        said(chosen("b", "10.96.7.8", 30777))
            .await
            .contains("spec.ports[0].nodePort: Invalid value: 30777: provided port is already allocated")
    );
    assert!(
        said(chosen("b", "10.97.0.1", 30778))
            .await
            .contains("is not in the valid range")
    );
    assert!(
        said(chosen("b", "10.96.7.8", 80))
            .await
            .contains("The range of valid ports is 30000-32767")
    );
    world.delete(&format!("{SERVICES}/a"), json!(null)).await.is(200);
    world.post(SERVICES, chosen("b", "10.96.7.7", 30777)).await.is(201);
}

#[tokio::test(start_paused = true)]
async fn an_update_keeps_what_was_given_and_a_change_of_type_gives_it_back() {
    let world = world().await;
    let made = world.post(SERVICES, service("a", "NodePort")).await.is(201);
    let (address, port) = (
        made.body["spec"]["clusterIP"].clone(),
        made.body["spec"]["ports"][0]["nodePort"].clone(),
    );
    let path = format!("{SERVICES}/a");
    let mut bare = service("a", "NodePort");
    bare["spec"]["ports"][0]["port"] = json!(81);
    let kept = world.put(&path, &bare).await.is(200);
    assert_eq!(
        (
            &kept.body["spec"]["clusterIP"],
            &kept.body["spec"]["ports"][0]["nodePort"]
        ),
        (&address, &port)
    );
    let inner = world
        .patch("merge", &path, json!({"spec": {"type": "ClusterIP"}}))
        .await
        .is(200);
    assert_eq!(inner.body["spec"]["ports"][0]["nodePort"], json!(null));
    let mut other = service("b", "NodePort");
    other["spec"]["ports"][0]["nodePort"] = port;
    world.post(SERVICES, other).await.is(201);
    let named = world
        .patch(
            "merge",
            &path,
            json!({"spec": {"type": "ExternalName", "externalName": "example.com"}}),
        )
        .await
        .is(200);
    assert_eq!(named.body["spec"]["clusterIP"], json!(null));
    let mut other = service("c", "ClusterIP");
    other["spec"]["clusterIP"] = address;
    world.post(SERVICES, other).await.is(201);
    let moved = world
        .patch(
            "merge",
            &format!("{SERVICES}/b"),
            json!({"spec": {"clusterIP": "10.96.1.1"}}),
        )
        .await;
    assert_eq!(moved.is(422).reason(), "Invalid");
}
