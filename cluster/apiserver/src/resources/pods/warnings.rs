//! What is allowed and seldom meant: warnings that users see when they write a pod or a template.
//!
//! Source: Kubernetes' `pkg/api/pod`, whose words they are. Left out are its warnings of deprecated labels, annotations
//! and volumes, of names that are no DNS labels, of host aliases and pull secrets that are listed twice, of label
//! selectors that are not there, of negative grace periods, and of host addresses without a port.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerPort, EnvVar, PodSpec, ResourceRequirements};
use orrery_api::quantity::Quantity;

use super::super::check::{Unique, items, text};

/// What is counted in bytes.
const BYTES: [&str; 2] = ["memory", "ephemeral-storage"];
/// So many pairs of ports are told of: a few thousand ports make millions, and an answer has no room for so many.
const MOST_PAIRS: usize = 100;

/// What is odd about the spec of a pod, or of a pod template, that stands at `path`.
pub(in super::super) fn spec(path: &str, spec: &PodSpec) -> Vec<String> {
    let lists = [
        ("initContainers", items(&spec.init_containers)),
        ("containers", &spec.containers[..]),
    ];
    let mut all = Vec::new();
    for (name, list) in lists {
        let numbered = list.iter().enumerate();
        all.extend(numbered.map(|(index, container)| (format!("{path}.{name}[{index}]"), container)));
    }
    let mut warnings = Vec::new();
    for (path, container) in &all {
        if let Some(own) = &container.resources {
            warnings.extend(fractions(&format!("{path}.resources"), own));
        }
        warnings.extend(hidden(&format!("{path}.env"), items(&container.env)));
    }
    warnings.extend(ports(&all));
    warnings
}

/// Parts of bytes, such as `512m`: 512 mebibytes were meant, half a byte is what it says.
fn fractions(path: &str, resources: &ResourceRequirements) -> Vec<String> {
    let mut warnings = Vec::new();
    for name in BYTES {
        for (list, amounts) in [("limits", &resources.limits), ("requests", &resources.requests)] {
            let wire = amounts.as_ref().and_then(|amounts| amounts.get(name));
            if let Some(amount) = wire.and_then(|wire| Quantity::try_from(wire).ok())
                && amount.nanos() % 1_000_000_000 != 0
            {
                let shown = amount.to_string();
                warnings.push(format!(
                    "{path}.{list}[{name}]: fractional byte value {shown:?} is invalid, must be an integer"
                ));
            }
        }
    }
    warnings
}

/// Variables that take the place of earlier ones of their name. One that adds to the earlier, as `$(A),more`, is meant.
fn hidden(path: &str, variables: &[EnvVar]) -> Vec<String> {
    let mut names = Unique::default();
    let mut warnings = Vec::new();
    for (index, variable) in variables.iter().enumerate() {
        let (name, value) = (variable.name.as_str(), text(&variable.value));
        let earlier = format!("$({name})");
        if names.seen(name) && (value == earlier || !value.contains(&earlier)) {
            warnings.push(format!(
                "{path}[{index}]: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
    }
    warnings
}

/// Ports of the pod that are one and the same, or meet on the node.
fn ports(containers: &[(String, &Container)]) -> Vec<String> {
    let mut all = Vec::new();
    for (path, container) in containers {
        let numbered = items(&container.ports).iter().enumerate();
        all.extend(numbered.map(|(index, port)| (format!("{path}.ports[{index}]"), port)));
    }
    let mut alike: BTreeMap<(i32, &str), Vec<(&str, &ContainerPort)>> = BTreeMap::new();
    let mut warnings = Vec::new();
    for (path, port) in &all {
        let earlier = alike.entry((port.container_port, text(&port.protocol))).or_default();
        warnings.extend(earlier.iter().filter_map(|(other_path, other)| {
            let what = meeting(port, other)?;
            Some(format!("{path}: {what} port definition with {other_path}"))
        }));
        if warnings.len() >= MOST_PAIRS {
            break;
        }
        earlier.push((path, *port));
    }
    warnings.truncate(MOST_PAIRS);
    warnings
}

/// What the later of two ports of one number and protocol is to the earlier; `None` if they have nothing to do with each
/// other.
fn meeting(port: &ContainerPort, other: &ContainerPort) -> Option<&'static str> {
    let (host_port, other_host_port) = (port.host_port.unwrap_or(0), other.host_port.unwrap_or(0));
    let (host_ip, other_host_ip) = (text(&port.host_ip), text(&other.host_ip));
    if (host_port, host_ip) == (other_host_port, other_host_ip) {
        Some("duplicate")
    } else if host_port == 0 || other_host_port == 0 {
        Some("overlapping")
    } else if host_port == other_host_port && host_ip.is_empty() != other_host_ip.is_empty() {
        Some("dangerously ambiguous")
    } else {
        None
    }
}
