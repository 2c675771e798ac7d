//! Services and slices for the tests.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_proxy::Options;

/// The node that the rules are for.
pub const NODE: &str = "here";

pub fn options() -> Options {
    Options::new(
        NODE,
        vec!["172.18.0.1".parse().unwrap()],
        "10.244.0.0/16".parse().unwrap(),
    )
}

/// A service of type `kind` in namespace default with these ports: name, protocol, number, node port.
pub fn service(name: &str, kind: &str, cluster_ip: &str, ports: &[(&str, &str, i32, i32)]) -> Service {
    let ports = ports.iter().map(|(name, protocol, port, node_port)| ServicePort {
        name: (!name.is_empty()).then(|| name.to_string()),
        protocol: Some(protocol.to_string()),
        port: *port,
        node_port: (*node_port != 0).then_some(*node_port),
        ..ServicePort::default()
    });
    Service {
        metadata: ObjectMeta {
            namespace: Some("default".into()),
            name: Some(name.into()),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            type_: Some(kind.into()),
            cluster_ip: Some(cluster_ip.into()),
            ports: Some(ports.collect()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// A slice of a service in namespace default, its port being that of this name.
pub fn slice(service: &str, port: (&str, &str, i32), endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice {
        address_type: "IPv4".into(),
        metadata: ObjectMeta {
            namespace: Some("default".into()),
            name: Some(format!("{service}-{}", port.0)),
            labels: Some([("kubernetes.io/service-name".to_string(), service.to_string())].into()),
            ..ObjectMeta::default()
        },
        endpoints,
        ports: Some(vec![EndpointPort {
            name: Some(port.0.into()),
            protocol: Some(port.1.into()),
            port: Some(port.2),
            app_protocol: None,
        }]),
    }
}

/// A ready endpoint on `node`.
pub fn ready(address: &str, node: &str) -> Endpoint {
    endpoint(address, node, true, true, false)
}

/// An endpoint that goes away, but still answers.
pub fn draining(address: &str, node: &str) -> Endpoint {
    endpoint(address, node, false, true, true)
}

/// An endpoint that is not ready yet.
pub fn unready(address: &str, node: &str) -> Endpoint {
    endpoint(address, node, false, false, false)
}

fn endpoint(address: &str, node: &str, ready: bool, serving: bool, terminating: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.into()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        node_name: Some(node.into()),
        ..Endpoint::default()
    }
}
