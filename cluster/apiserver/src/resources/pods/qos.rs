//! Quality of service: who is stopped first when a node runs out.

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;
use orrery_api::quantity::Quantity;

/// The resources that count.
const COUNTED: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed` when every container has limits of cpu and memory and requests just these; `BestEffort` when none asks
/// for anything; else `Burstable`. Resources of the pod as a whole stand for those of its containers.
pub fn class(spec: &PodSpec) -> &'static str {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let own: Vec<Option<&ResourceRequirements>> = match &spec.resources {
        Some(whole) if asks(whole) => vec![Some(whole)],
        _ => containers.map(|container| container.resources.as_ref()).collect(),
    };
    if !own.iter().flatten().any(|resources| asks(resources)) {
        "BestEffort"
    } else if own.iter().all(|resources| resources.is_some_and(guaranteed)) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn amount(of: &Option<std::collections::BTreeMap<String, Wire>>, name: &str) -> Quantity {
    of.as_ref()
        .and_then(|of| of.get(name))
        .and_then(|wire| Quantity::try_from(wire).ok())
        .unwrap_or(Quantity::ZERO)
}

fn asks(resources: &ResourceRequirements) -> bool {
    COUNTED.iter().any(|name| {
        amount(&resources.requests, name) > Quantity::ZERO || amount(&resources.limits, name) > Quantity::ZERO
    })
}

fn guaranteed(resources: &ResourceRequirements) -> bool {
    COUNTED.iter().all(|name| {
        let (request, limit) = (amount(&resources.requests, name), amount(&resources.limits, name));
        // Requests not made are those of the limits.
        limit > Quantity::ZERO && (request == limit || request.is_zero())
    })
}
