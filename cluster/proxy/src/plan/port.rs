//! What the proxy reads out of a Service: one value for each port that it serves.

use core::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use orrery_api::meta::Object;
use orrery_api::mutant;

use crate::ruleset::{Cidr, Protocol};

/// Services and slices with this label are another proxy's.
const SERVED_BY_ANOTHER: &str = "service.kubernetes.io/service-proxy-name";

/// The affinity of a service that asks for it without saying how long, in seconds.
const DEFAULT_AFFINITY: i32 = 10_800;

/// One port of a service, as far as packets are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    /// `namespace/name`, with `:port` when the port has a name.
    pub label: String,
    /// The port's name; empty when it has none.
    pub name: String,
    pub protocol: Protocol,
    pub cluster_ip: Ipv4Addr,
    pub port: u16,
    pub node_port: Option<u16>,
    /// External addresses that users gave.
    pub external_ips: Vec<Ipv4Addr>,
    /// Addresses that a load balancer has, and delivers packets to unchanged.
    pub balancer_ips: Vec<Ipv4Addr>,
    /// Who may call the load balancer's addresses; everybody when it is empty.
    pub source_ranges: Vec<Cidr>,
    /// Whether a client keeps its endpoint, and for how many seconds after its last new connection.
    pub affinity: Option<u32>,
    /// Whether the cluster IP leads to endpoints of this node only.
    pub internal_local: bool,
    /// Whether callers from outside are led to endpoints of this node only, and keep their address.
    pub external_local: bool,
}

impl Port {
    /// Whether the port can be called by anything but the cluster IP.
    pub fn is_external(&self) -> bool {
        self.node_port.is_some() || !self.external_ips.is_empty() || !self.balancer_ips.is_empty()
    }
}

/// The ports of a service: none for one that is headless, external, another proxy's, or without an IPv4 address.
pub(super) fn ports_of(service: &Service) -> Vec<Port> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let is_anothers = service.label(SERVED_BY_ANOTHER).is_some() && !mutant::active("O150");
    if is_anothers || spec.type_.as_deref() == Some("ExternalName") {
        return Vec::new();
    }
    let Some(cluster_ip) = cluster_ip(spec) else {
        return Vec::new();
    };
    let is_balancer = spec.type_.as_deref() == Some("LoadBalancer");
    let has_node_port = is_balancer || spec.type_.as_deref() == Some("NodePort");
    let balancer_ips = if is_balancer { balancer_ips(service) } else { Vec::new() };
    let external_ips = sorted(spec.external_ips.iter().flatten().filter_map(|ip| ip.parse().ok()));
    let is_local = |policy: &Option<String>| policy.as_deref() == Some("Local");

    let ports = spec.ports.iter().flatten().filter_map(|port| {
        let name = port.name.clone().unwrap_or_default();
        let key = service.key();
        let node_port = port.node_port.and_then(number).filter(|_| has_node_port);
        Some(Port {
            label: if name.is_empty() {
                key.to_string()
            } else {
                format!("{key}:{name}")
            },
            name,
            protocol: Protocol::of(port.protocol.as_deref())?,
            cluster_ip,
            port: number(port.port)?,
            node_port,
            external_ips: external_ips.clone(),
            balancer_ips: balancer_ips.clone(),
            source_ranges: sorted(
                spec.load_balancer_source_ranges
                    .iter()
                    .flatten()
                    .filter_map(|text| text.trim().parse().ok()),
            ),
            affinity: affinity(spec),
            internal_local: is_local(&spec.internal_traffic_policy),
            external_local: is_local(&spec.external_traffic_policy),
        })
    });
    ports.collect()
}

/// A port number; 0 is none.
pub(super) fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

fn cluster_ip(spec: &ServiceSpec) -> Option<Ipv4Addr> {
    let several = spec.cluster_ips.iter().flatten();
    several.chain(&spec.cluster_ip).find_map(|ip| ip.parse().ok())
}

fn balancer_ips(service: &Service) -> Vec<Ipv4Addr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|status| status.ingress.as_ref()).into_iter().flatten();
    // In mode Proxy the balancer delivers to node ports, and its address must not be short-circuited here.
    let ingress = ingress.filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
    sorted(ingress.filter_map(|ingress| ingress.ip.as_ref()?.parse().ok()))
}

fn affinity(spec: &ServiceSpec) -> Option<u32> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec
        .session_affinity_config
        .as_ref()
        .and_then(|config| config.client_ip.as_ref());
    u32::try_from(
        config
            .and_then(|config| config.timeout_seconds)
            .filter(|seconds| *seconds == DEFAULT_AFFINITY || !mutant::active("O154"))
            .unwrap_or(DEFAULT_AFFINITY),
    )
    .ok()
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort();
    items.dedup();
    items
}
