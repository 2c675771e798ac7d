use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::super::testing::{defaulted, faults, object, row, update_faults, value};
use super::Services;
use crate::resource::Strategy as _;

fn service(spec: Value) -> Service {
    defaulted(&Services, object(json!({"spec": spec})))
}

#[test]
fn a_service_has_defaults() {
    let spec = value(&service(json!({"ports": [{"port": 80}]})));
    insta::assert_snapshot!(spec["spec"], @r#"{"internalTrafficPolicy":"Cluster","ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","ports":[{"port":80,"protocol":"TCP","targetPort":80}],"sessionAffinity":"None","type":"ClusterIP"}"#);
    let balancer = value(&service(
        json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP", "ports": [{"port": 80}]}),
    ));
    insta::assert_snapshot!(balancer["spec"], @r#"{"allocateLoadBalancerNodePorts":true,"externalTrafficPolicy":"Cluster","internalTrafficPolicy":"Cluster","ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","ports":[{"port":80,"protocol":"TCP","targetPort":80}],"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":10800}},"type":"LoadBalancer"}"#);
    let name = value(&service(json!({"type": "ExternalName", "externalName": "example.com"})));
    insta::assert_snapshot!(name["spec"], @r#"{"externalName":"example.com","sessionAffinity":"None","type":"ExternalName"}"#);
}

#[test]
fn affinity_that_is_turned_off_takes_its_configuration_along() {
    let off = value(&service(json!({
        "ports": [{"port": 80}], "sessionAffinity": "None",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}
    })));
    assert!(off["spec"].get("sessionAffinityConfig").is_none(), "{off}");
}

#[test]
fn a_service_shows_its_addresses_and_ports() {
    let shown = [
        json!({"clusterIP": "10.96.0.10", "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}], "selector": {"app": "dns"}}),
        json!({"type": "NodePort", "clusterIP": "10.96.0.11", "ports": [{"port": 80, "nodePort": 30080}]}),
        json!({"type": "LoadBalancer", "ports": [{"port": 80}]}),
        json!({"type": "ExternalName", "externalName": "example.com"}),
        json!({"clusterIP": "None"}),
    ]
    .map(|spec| row(&Services, &service(spec)))
    .join("\n");
    insta::assert_snapshot!(shown, @"
    web | ClusterIP | 10.96.0.10 | <none> | 53/UDP,53/TCP | 10m | app=dns
    web | NodePort | 10.96.0.11 | <none> | 80:30080/TCP | 10m | <none>
    web | LoadBalancer | <none> | <pending> | 80/TCP | 10m | <none>
    web | ExternalName | <none> | example.com | <none> | 10m | <none>
    web | ClusterIP | None | <none> | <none> | 10m | <none>
    ");
}

#[test]
fn services_are_checked() {
    let show = |spec: Value| faults(&Services, &service(spec));
    insta::assert_snapshot!(show(json!({})), @"spec.ports: Required value");
    assert_eq!(
        show(json!({"clusterIP": "None"})),
        "",
        "a headless service needs no ports"
    );
    insta::assert_snapshot!(show(json!({"ports": [{"port": 80}, {"port": 80, "name": "b", "nodePort": 30000}]})), @r#"
    spec.ports[0].name: Required value
    spec.ports[1]: Duplicate value: {"port":80,"protocol":"TCP"}
    spec.ports[1].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'
    "#);
    insta::assert_snapshot!(show(json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 0}]})), @r#"
    spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services
    spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
    spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive
    "#);
    insta::assert_snapshot!(show(json!({"type": "Nope", "sessionAffinity": "x", "externalTrafficPolicy": "Local", "clusterIP": "a", "ports": [{"port": 1, "protocol": "ICMP"}]})), @r#"
    spec.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"
    spec.sessionAffinity: Unsupported value: "x": supported values: "ClientIP", "None"
    spec.type: Unsupported value: "Nope": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"
    spec.clusterIPs: Invalid value: []: first value must match `clusterIP`
    spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services
    "#);
    insta::assert_snapshot!(show(json!({"type": "ExternalName"})), @"spec.externalName: Required value");
}

#[test]
fn an_update_that_does_not_mention_what_was_given_keeps_it() {
    let old =
        service(json!({"type": "NodePort", "clusterIP": "10.96.0.1", "ports": [{"port": 80, "nodePort": 30080}]}));
    let mut new = service(json!({"type": "NodePort", "ports": [{"port": 80, "targetPort": 8080}]}));
    Services.prepare_update(&mut new, &old);
    assert_eq!(update_faults(&Services, &new, &old), "");
    insta::assert_snapshot!(row(&Services, &new), @"web | NodePort | 10.96.0.1 | <none> | 80:30080/TCP | 10m | <none>");
}

#[test]
fn a_service_that_becomes_internal_gives_its_node_ports_back() {
    let old =
        service(json!({"type": "NodePort", "clusterIP": "10.96.0.1", "ports": [{"port": 80, "nodePort": 30080}]}));
    let mut new = old.clone();
    new.spec.as_mut().expect("a spec").type_ = Some("ClusterIP".to_owned());
    Services.prepare_update(&mut new, &old);
    assert_eq!(update_faults(&Services, &new, &old), "");
    insta::assert_snapshot!(row(&Services, &new), @"web | ClusterIP | 10.96.0.1 | <none> | 80/TCP | 10m | <none>");
    let mut name = old.clone();
    let spec = name.spec.as_mut().expect("a spec");
    (spec.type_, spec.external_name) = (Some("ExternalName".to_owned()), Some("example.com".to_owned()));
    Services.prepare_update(&mut name, &old);
    assert_eq!(update_faults(&Services, &name, &old), "");
}

#[test]
fn the_address_of_a_service_stays() {
    let old = service(json!({"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}));
    let mut new = service(json!({"clusterIP": "10.96.0.2", "ports": [{"port": 80}]}));
    Services.prepare_update(&mut new, &old);
    insta::assert_snapshot!(update_faults(&Services, &new, &old), @r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.2"]: may not change once set"#);
}
