//! What services say when their authors left it out, and what stays when they change.

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use orrery_api::mutant;

use super::super::check::{items, text};

/// How long a client stays with a pod, in seconds, unless the service says.
const AFFINITY_SECONDS: i32 = 10_800;

/// Whether services of the type have an address in the cluster.
pub(crate) fn has_cluster_ip(spec: &ServiceSpec) -> bool {
    matches!(text(&spec.type_), "ClusterIP" | "NodePort" | "LoadBalancer")
}

/// Whether services of the type have ports on the nodes.
pub(crate) fn has_node_ports(spec: &ServiceSpec) -> bool {
    text(&spec.type_) == "NodePort"
        || text(&spec.type_) == "LoadBalancer" && spec.allocate_load_balancer_node_ports != Some(false)
}

/// Whether the service can be reached from outside the cluster.
pub(super) fn is_external(spec: &ServiceSpec) -> bool {
    matches!(text(&spec.type_), "NodePort" | "LoadBalancer")
        || text(&spec.type_) == "ClusterIP" && !items(&spec.external_ips).is_empty()
}

/// Whether nodes tell the load balancer if they have pods of the service.
pub(crate) fn has_health_port(spec: &ServiceSpec) -> bool {
    text(&spec.type_) == "LoadBalancer" && text(&spec.external_traffic_policy) == "Local"
}

fn set(field: &mut Option<String>, default: &str) {
    if text(field).is_empty() {
        *field = Some(default.to_owned());
    }
}

/// Sets the defaults of a service.
pub(super) fn spec(spec: &mut ServiceSpec) {
    set(&mut spec.type_, "ClusterIP");
    set(&mut spec.session_affinity, "None");
    if text(&spec.session_affinity) == "None" {
        // A patch that turns affinity off need not name what belonged to it.
        spec.session_affinity_config = None;
    }
    if text(&spec.session_affinity) == "ClientIP" {
        let config = spec.session_affinity_config.get_or_insert_default();
        config
            .client_ip
            .get_or_insert_default()
            .timeout_seconds
            .get_or_insert(AFFINITY_SECONDS);
    }
    spec.ports.iter_mut().flatten().for_each(port);
    if is_external(spec) {
        set(&mut spec.external_traffic_policy, "Cluster");
    }
    if has_cluster_ip(spec) {
        set(&mut spec.internal_traffic_policy, "Cluster");
        if let (false, []) = (text(&spec.cluster_ip).is_empty(), items(&spec.cluster_ips)) {
            spec.cluster_ips = spec.cluster_ip.clone().map(|ip| vec![ip]);
        }
        set(&mut spec.ip_family_policy, "SingleStack");
        if items(&spec.ip_families).is_empty() {
            let family = if text(&spec.cluster_ip).contains(':') {
                "IPv6"
            } else {
                "IPv4"
            };
            spec.ip_families = Some(vec![family.to_owned()]);
        }
    }
    if text(&spec.type_) == "LoadBalancer" {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
}

fn port(port: &mut ServicePort) {
    set(&mut port.protocol, "TCP");
    let unset = match &port.target_port {
        None | Some(IntOrString::Int(0)) => true,
        Some(IntOrString::String(name)) => name.is_empty(),
        Some(IntOrString::Int(_)) => false,
    };
    if unset {
        port.target_port = Some(IntOrString::Int(port.port));
    }
}

/// What was given out to the old service stays with the new one that does not mention it.
pub(super) fn carry_over(new: &mut ServiceSpec, old: &ServiceSpec) {
    if has_cluster_ip(old) && has_cluster_ip(new) {
        if text(&new.cluster_ip).is_empty() && items(&new.cluster_ips).is_empty() {
            new.cluster_ip = old.cluster_ip.clone();
            new.cluster_ips = old.cluster_ips.clone();
        } else if text(&new.cluster_ip) != text(&old.cluster_ip) && items(&new.cluster_ips) == items(&old.cluster_ips) {
            // The client changed the one address and left the list alone: the list follows.
            new.cluster_ips = new.cluster_ip.clone().filter(|ip| !ip.is_empty()).map(|ip| vec![ip]);
        } else if text(&new.cluster_ip).is_empty() {
            new.cluster_ip = items(&new.cluster_ips).first().cloned();
        }
    }
    if has_node_ports(old) && has_node_ports(new) && !mutant::active("O84") {
        // Ports are told apart by their names: the other properties may be what changes.
        let mut free: Vec<&ServicePort> = items(&old.ports).iter().collect();
        free.retain(|old| {
            !items(&new.ports)
                .iter()
                .any(|new| given(new) != 0 && given(new) == given(old))
        });
        for port in new.ports.iter_mut().flatten().filter(|port| given(port) == 0) {
            if let Some(index) = free.iter().position(|old| text(&old.name) == text(&port.name)) {
                port.node_port = free.remove(index).node_port;
            }
        }
    }
    if has_health_port(old) && has_health_port(new) && new.health_check_node_port.unwrap_or(0) == 0 {
        new.health_check_node_port = old.health_check_node_port;
    }
}

/// The node port that a port asks for; 0 for any.
pub(crate) fn given(port: &ServicePort) -> i32 {
    port.node_port.unwrap_or(0)
}

/// Clears what only the old type had, where the client just left it as it was.
pub(super) fn drop_what_the_type_lost(new: &mut ServiceSpec, old: &ServiceSpec) {
    if has_cluster_ip(old) && !has_cluster_ip(new) {
        if text(&new.cluster_ip) == text(&old.cluster_ip) {
            new.cluster_ip = None;
            new.cluster_ips = None;
        }
        new.ip_families = None;
        new.ip_family_policy = None;
        if new.internal_traffic_policy == old.internal_traffic_policy {
            new.internal_traffic_policy = None;
        }
    }
    if has_node_ports(old) && !has_node_ports(new) {
        let before: Vec<i32> = items(&old.ports).iter().map(given).collect();
        for port in new
            .ports
            .iter_mut()
            .flatten()
            .filter(|port| before.contains(&given(port)))
        {
            port.node_port = None;
        }
    }
    if has_health_port(old) && !has_health_port(new) && new.health_check_node_port == old.health_check_node_port {
        new.health_check_node_port = None;
    }
    if is_external(old) && !is_external(new) && new.external_traffic_policy == old.external_traffic_policy {
        new.external_traffic_policy = None;
    }
    if text(&old.type_) == "LoadBalancer" && text(&new.type_) != "LoadBalancer" {
        if new.allocate_load_balancer_node_ports == old.allocate_load_balancer_node_ports {
            new.allocate_load_balancer_node_ports = None;
        }
        if new.load_balancer_class == old.load_balancer_class {
            new.load_balancer_class = None;
        }
    }
}
