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

#[tokio::test(start_paused = true)]
async fn ports_of_one_number_share_a_node_port_when_they_are_made_together() {
    let world = world().await;
    let dns = |name: &str, udp: i32| {
        json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [
            {"name": "tcp", "port": 53, "protocol": "TCP"}, {"name": "http", "port": 80},
            {"name": "udp", "port": 53, "protocol": "UDP", "nodePort": udp}]}})
    };
    let node_ports = |answer: &Answer| -> Vec<i64> {
        let ports = answer.body["spec"]["ports"].as_array().expect("ports");
        ports.iter().filter_map(|port| port["nodePort"].as_i64()).collect()
    };
    let drawn = node_ports(&world.post(SERVICES, dns("a", 0)).await.is(201));
    assert_eq!((drawn.len(), drawn[0]), (3, drawn[2]));
    assert_ne!(drawn[0], drawn[1]);
    let asked = node_ports(&world.post(SERVICES, dns("b", 30053)).await.is(201));
    assert_eq!((asked[0], asked[2]), (30053, 30053));
    let more =
        json!([{"op": "add", "path": "/spec/ports/-", "value": {"name": "more", "port": 80, "protocol": "UDP"}}]);
    let later = node_ports(&world.patch("json", &format!("{SERVICES}/a"), more).await.is(200));
    assert_eq!(later[..3], drawn);
    assert!(!drawn.contains(&later[3]), "{later:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_load_balancer_chooses_is_judged_though_nothing_is_given_out() {
    let world = world().await;
    let balancer = |name: &str, port: i32| {
        let mut service = service(name, "LoadBalancer");
        service["spec"]["allocateLoadBalancerNodePorts"] = json!(false);
        service["spec"]["ports"][0]["nodePort"] = json!(port);
        service
    };
    let said = async |one: serde_json::Value| world.post(SERVICES, one).await.is(422).message().to_owned();
    world.post(SERVICES, balancer("a", 30080)).await.is(201);
    assert!(
        said(balancer("b", 80))
            .await
            .contains("The range of valid ports is 30000-32767")
    );
    assert!(
        said(balancer("b", 30080))
            .await
            .contains("spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated")
    );
    let made = world.post(SERVICES, balancer("c", 0)).await.is(201);
    assert_eq!(made.body["spec"]["ports"][0].get("nodePort"), None);
}

#[tokio::test(start_paused = true)]
async fn a_local_load_balancer_has_a_port_for_its_health() {
    let world = world().await;
    let local = |name: &str, port: i32| {
        let mut service = service(name, "LoadBalancer");
        service["spec"]["externalTrafficPolicy"] = json!("Local");
        service["spec"]["healthCheckNodePort"] = json!(port);
        service
    };
    let port_of = |answer: &Answer| answer.body["spec"]["healthCheckNodePort"].as_i64();
    let given = port_of(&world.post(SERVICES, local("a", 0)).await.is(201)).expect("a port");
    assert!((30000..=32767).contains(&given));
    let kept = world.put(&format!("{SERVICES}/a"), &local("a", 0)).await.is(200);
    assert_eq!(port_of(&kept), Some(given));
    let taken = i32::try_from(given).expect("a port");
    let refused = world.post(SERVICES, local("b", taken)).await.is(422);
    assert!(
        refused.message().contains("spec.healthCheckNodePort: Invalid value")
            && refused.message().ends_with("provided port is already allocated"),
        "{}",
        refused.text
    );
    world
        .patch(
            "merge",
            &format!("{SERVICES}/a"),
            json!({"spec": {"externalTrafficPolicy": "Cluster"}}),
        )
        .await
        .is(200);
    world.post(SERVICES, local("b", taken)).await.is(201);
}
