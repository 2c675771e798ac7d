//! Rules of services. The range of node ports is the allocator's to check.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec, ServiceStatus};
use orrery_api::field::Error;
use serde_json::json;

use super::super::check::{
    Unique, cidr, immutable, ip, items, label, label_key, labels, one_of, port, port_number, protocol, reachable_ip,
    subdomain, text,
};
use super::HEADLESS;
use super::defaults::{has_cluster_ip, has_health_port, is_external};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
/// The longest that a client stays with a pod: a day, in seconds.
const MAX_AFFINITY: i32 = 86_400;

/// Finds faults of a service.
pub(super) fn spec(spec: &ServiceSpec) -> Vec<Error> {
    let kind = text(&spec.type_);
    let headless = text(&spec.cluster_ip) == HEADLESS;
    let ports = items(&spec.ports);
    let mut errors = Vec::new();
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(Error::required("spec.ports", ""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let rule = format!("may not be set to 'None' for {kind} services");
            errors.push(Error::invalid("spec.clusterIPs[0]", HEADLESS, rule));
        }
        "ExternalName" => {
            if !items(&spec.cluster_ips).is_empty() || !text(&spec.cluster_ip).is_empty() {
                errors.push(Error::forbidden(
                    "spec.clusterIPs",
                    "may not be set for ExternalName services",
                ));
            }
            match text(&spec.external_name).trim_end_matches('.') {
                "" => errors.push(Error::required("spec.externalName", "")),
                name => errors.extend(subdomain("spec.externalName", name)),
            }
        }
        _ => {}
    }
    errors.extend(validate_ports(ports, kind));
    errors.extend(labels("spec.selector", spec.selector.as_ref()));
    errors.extend(affinity(spec));
    errors.extend(one_of("spec.type", kind, TYPES));
    errors.extend(addresses(spec));
    errors.extend(traffic(spec));
    errors
}

fn validate_ports(ports: &[ServicePort], kind: &str) -> Vec<Error> {
    let mut errors = Vec::new();
    let (mut names, mut numbers, mut node_ports) = (Unique::default(), Unique::default(), Unique::default());
    for (index, one) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        match text(&one.name) {
            "" if ports.len() > 1 => errors.push(Error::required(format!("{path}.name"), "")),
            "" => {}
            name => {
                errors.extend(label(&format!("{path}.name"), name));
                errors.extend(names.check(&format!("{path}.name"), name));
            }
        }
        errors.extend(port_number(&format!("{path}.port"), one.port));
        errors.extend(protocol(&format!("{path}.protocol"), &one.protocol));
        if let Some(target) = &one.target_port {
            errors.extend(port(&format!("{path}.targetPort"), target));
        }
        if let Some(protocol) = &one.app_protocol {
            errors.extend(label_key(&format!("{path}.appProtocol"), protocol));
        }
        let own = text(&one.protocol);
        if numbers.seen(&format!("{own}/{}", one.port)) {
            errors.push(Error::duplicate(&path, json!({"protocol": own, "port": one.port})));
        }
        let node_port = one.node_port.unwrap_or(0);
        if node_port != 0 {
            let path = format!("{path}.nodePort");
            if matches!(kind, "ClusterIP" | "ExternalName") {
                errors.push(Error::forbidden(
                    &path,
                    format!("may not be used when `type` is '{kind}'"),
                ));
            }
            if node_ports.seen(&format!("{own}/{node_port}")) {
                errors.push(Error::duplicate(path, node_port));
            }
        }
    }
    errors
}

fn affinity(spec: &ServiceSpec) -> Vec<Error> {
    let path = "spec.sessionAffinityConfig";
    let own = text(&spec.session_affinity);
    let mut errors = one_of("spec.sessionAffinity", own, &["ClientIP", "None"]);
    match (own, &spec.session_affinity_config) {
        ("None", Some(_)) => errors.push(Error::forbidden(path, "must not be set when session affinity is None")),
        ("ClientIP", config) => {
            let seconds = config
                .as_ref()
                .and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
            match seconds {
                None => errors.push(Error::required(
                    format!("{path}.clientIP.timeoutSeconds"),
                    "when session affinity type is ClientIP",
                )),
                Some(seconds) if !(1..=MAX_AFFINITY).contains(&seconds) => {
                    let rule = format!("must be greater than 0 and less than {MAX_AFFINITY}");
                    errors.push(Error::invalid(format!("{path}.clientIP.timeoutSeconds"), seconds, rule));
                }
                Some(_) => {}
            }
        }
        _ => {}
    }
    errors
}

fn addresses(spec: &ServiceSpec) -> Vec<Error> {
    let mut errors = Vec::new();
    let own = items(&spec.cluster_ips);
    for (index, address) in own.iter().enumerate() {
        let path = format!("spec.clusterIPs[{index}]");
        if address == HEADLESS {
            if index > 0 {
                errors.push(Error::invalid(
                    path,
                    address,
                    "must be empty, 'None', or a valid IP address",
                ));
            }
        } else if !address.is_empty() {
            errors.extend(ip(&path, address));
        }
    }
    if own.len() > 1 {
        errors.push(Error::invalid(
            "spec.clusterIPs",
            own,
            "only one address is given out in this cluster",
        ));
    }
    if own.first().map_or("", String::as_str) != text(&spec.cluster_ip) {
        errors.push(Error::invalid(
            "spec.clusterIPs",
            own,
            "first value must match `clusterIP`",
        ));
    }
    if has_cluster_ip(spec) {
        let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        let policy = text(&spec.ip_family_policy);
        if !policy.is_empty() {
            errors.extend(one_of("spec.ipFamilyPolicy", policy, &policies));
        }
        if policy == "RequireDualStack" {
            let rule = "Cluster is not configured for dual-stack services";
            errors.push(Error::invalid("spec.ipFamilyPolicy", policy, rule));
        }
        for (index, family) in items(&spec.ip_families).iter().enumerate() {
            errors.extend(one_of(&format!("spec.ipFamilies[{index}]"), family, &["IPv4", "IPv6"]));
        }
        if let (Some(family), Ok(address)) = (
            items(&spec.ip_families).first(),
            text(&spec.cluster_ip).parse::<IpAddr>(),
        ) && address.is_ipv6() != (family == "IPv6")
        {
            let rule = format!("expected an {family} value as indicated by `ipFamilies[0]`");
            errors.push(Error::invalid("spec.clusterIPs[0]", text(&spec.cluster_ip), rule));
        }
    } else {
        if !text(&spec.ip_family_policy).is_empty() {
            errors.push(Error::forbidden(
                "spec.ipFamilyPolicy",
                "may not be set for ExternalName services",
            ));
        }
        if !items(&spec.ip_families).is_empty() {
            errors.push(Error::forbidden(
                "spec.ipFamilies",
                "may not be set for ExternalName services",
            ));
        }
    }
    for (index, address) in items(&spec.external_ips).iter().enumerate() {
        errors.extend(reachable_ip(&format!("spec.externalIPs[{index}]"), address));
    }
    for (index, range) in items(&spec.load_balancer_source_ranges).iter().enumerate() {
        errors.extend(cidr(&format!("spec.loadBalancerSourceRanges[{index}]"), range.trim()));
    }
    errors
}

fn traffic(spec: &ServiceSpec) -> Vec<Error> {
    let mut errors = Vec::new();
    let (outside, inside) = (text(&spec.external_traffic_policy), text(&spec.internal_traffic_policy));
    if !outside.is_empty() {
        if is_external(spec) {
            errors.extend(one_of("spec.externalTrafficPolicy", outside, &["Cluster", "Local"]));
        } else {
            let rule = "may only be set for externally-accessible services";
            errors.push(Error::invalid("spec.externalTrafficPolicy", outside, rule));
        }
    } else if is_external(spec) {
        errors.push(Error::required(
            "spec.externalTrafficPolicy",
            "for externally-accessible services",
        ));
    }
    if has_cluster_ip(spec) && inside.is_empty() {
        errors.push(Error::required("spec.internalTrafficPolicy", ""));
    } else if !inside.is_empty() {
        errors.extend(one_of("spec.internalTrafficPolicy", inside, &["Cluster", "Local"]));
    }
    let health = spec.health_check_node_port.unwrap_or(0);
    if health != 0 && !has_health_port(spec) {
        let rule = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(Error::invalid("spec.healthCheckNodePort", health, rule));
    }
    let balancer = text(&spec.type_) == "LoadBalancer";
    let only = "may only be used when `type` is 'LoadBalancer'";
    for (path, set) in [
        (
            "spec.allocateLoadBalancerNodePorts",
            spec.allocate_load_balancer_node_ports.is_some(),
        ),
        ("spec.loadBalancerClass", spec.load_balancer_class.is_some()),
        (
            "spec.loadBalancerSourceRanges",
            !items(&spec.load_balancer_source_ranges).is_empty(),
        ),
    ] {
        if set && !balancer {
            errors.push(Error::forbidden(path, only));
        }
    }
    if let Some(distribution) = &spec.traffic_distribution {
        let known = ["PreferClose", "PreferSameNode", "PreferSameZone"];
        errors.extend(one_of("spec.trafficDistribution", distribution, &known));
    }
    errors
}

/// Finds faults of a change.
pub(super) fn change(new: &ServiceSpec, old: &ServiceSpec) -> Vec<Error> {
    let mut errors = Vec::new();
    if has_cluster_ip(new) && has_cluster_ip(old) {
        let (now, before) = (items(&new.cluster_ips), items(&old.cluster_ips));
        if let Some(first) = before.first()
            && now.first() != Some(first)
        {
            errors.push(Error::invalid("spec.clusterIPs[0]", now, "may not change once set"));
        }
        if let (Some(family), Some(was)) = (items(&new.ip_families).first(), items(&old.ip_families).first())
            && family != was
        {
            let rule = "may not change once set";
            errors.push(Error::invalid("spec.ipFamilies[0]", items(&new.ip_families), rule));
        }
    }
    if text(&new.type_) == "LoadBalancer" && text(&old.type_) == "LoadBalancer" {
        errors.extend(immutable(
            "spec.loadBalancerClass",
            &new.load_balancer_class,
            &old.load_balancer_class,
        ));
    }
    errors
}

/// Finds faults of the addresses that a load balancer gave.
pub(super) fn status(status: &ServiceStatus) -> Vec<Error> {
    let given = status
        .load_balancer
        .as_ref()
        .map_or(&[][..], |balancer| items(&balancer.ingress));
    let mut errors = Vec::new();
    for (index, ingress) in given.iter().enumerate() {
        let path = format!("status.loadBalancer.ingress[{index}]");
        if let Some(address) = ingress.ip.as_deref().filter(|address| !address.is_empty()) {
            errors.extend(ip(&format!("{path}.ip"), address));
        }
        let name = text(&ingress.hostname);
        if name.parse::<IpAddr>().is_ok() {
            let rule = "must be a DNS name, not an IP address";
            errors.push(Error::invalid(format!("{path}.hostname"), name, rule));
        } else if !name.is_empty() {
            errors.extend(subdomain(&format!("{path}.hostname"), name));
        }
    }
    errors
}
