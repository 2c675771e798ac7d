//! Services as rows of a table.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::super::cells::{AGE, NAME, age, column, or_none, pairs, wide};
use super::super::check::{items, text};
use crate::resource::Column;

/// The columns of services.
pub(super) static COLUMNS: &[Column] = &[
    NAME,
    column("Type", "string", "How the service can be reached."),
    column("Cluster-IP", "string", "Its address in the cluster."),
    column("External-IP", "string", "Its addresses outside the cluster."),
    column(
        "Port(s)",
        "string",
        "Its ports, each with the port on the nodes if it has one.",
    ),
    AGE,
    wide("Selector", "string", "Which pods are behind it."),
];

/// The cells of a service.
pub(super) fn cells(object: &Service, now: Timestamp) -> Vec<Value> {
    let default = ServiceSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&default);
    let ports = items(&spec.ports).iter().map(port).collect::<Vec<_>>().join(",");
    vec![
        json!(object.name()),
        json!(text(&spec.type_)),
        json!(or_none(text(&spec.cluster_ip).to_owned())),
        json!(external(object, spec)),
        json!(or_none(ports)),
        json!(age(&object.metadata, now)),
        json!(pairs(spec.selector.as_ref())),
    ]
}

fn port(port: &ServicePort) -> String {
    match port.node_port.unwrap_or(0) {
        0 => format!("{}/{}", port.port, text(&port.protocol)),
        node_port => format!("{}:{node_port}/{}", port.port, text(&port.protocol)),
    }
}

fn external(object: &Service, spec: &ServiceSpec) -> String {
    let own = items(&spec.external_ips);
    match text(&spec.type_) {
        "ExternalName" => text(&spec.external_name).to_owned(),
        "LoadBalancer" => {
            let balancer = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            let ingress = balancer.map_or(&[][..], |balancer| items(&balancer.ingress));
            let given = ingress.iter().map(|one| match text(&one.ip) {
                "" => text(&one.hostname),
                ip => ip,
            });
            let all: Vec<&str> = given
                .chain(own.iter().map(String::as_str))
                .filter(|one| !one.is_empty())
                .collect();
            if all.is_empty() {
                "<pending>".to_owned()
            } else {
                all.join(",")
            }
        }
        _ => or_none(own.join(",")),
    }
}
