//! What is no noise in a quiet cluster: heartbeats and events.

use k8s_openapi::api::core::v1::Node;

use super::{Change, Item};

/// Whether a write is a mere sign of life: a lease, an event, or a node that says it is as it was.
pub fn is_heartbeat(change: &Change) -> bool {
    match &*change.id.resource {
        "leases.coordination.k8s.io" | "events" | "events.events.k8s.io" => true,
        "nodes" => match (&change.before, &change.after) {
            (Some(before), Some(after)) => same_node(before, after),
            _ => false,
        },
        _ => false,
    }
}

/// Whether a write is about one of `machines`, or about a pod there.
pub fn is_about(change: &Change, machines: &[String]) -> bool {
    if machines.is_empty() {
        return false;
    }
    match &*change.id.resource {
        "nodes" => machines.contains(&change.id.name),
        "pods" => change
            .newest()
            .is_some_and(|pod| machines.iter().any(|machine| machine == pod.node_name())),
        // Where pods of a machine that speaks and does not hear come and go.
        "endpoints" => names_any(machines, change, endpoints_nodes),
        "endpointslices.discovery.k8s.io" => names_any(machines, change, slice_nodes),
        _ => false,
    }
}

/// Whether the object names one of `machines` among its `nodes`, or named it before.
fn names_any(machines: &[String], change: &Change, nodes: fn(&Item) -> Vec<String>) -> bool {
    let items = change.before.iter().chain(&change.after);
    items.flat_map(|item| nodes(item)).any(|node| machines.contains(&node))
}

/// The nodes of the pods that a slice of endpoints names.
fn slice_nodes(item: &Item) -> Vec<String> {
    let endpoints = item.slice_endpoints();
    endpoints.filter_map(|endpoint| endpoint.node_name.clone()).collect()
}

/// The nodes of the pods that endpoints name.
fn endpoints_nodes(item: &Item) -> Vec<String> {
    let subsets = item
        .endpoints()
        .into_iter()
        .flat_map(|endpoints| endpoints.subsets.iter().flatten());
    let addresses = subsets.flat_map(|subset| [&subset.addresses, &subset.not_ready_addresses]);
    let addresses = addresses.flat_map(|addresses| addresses.iter().flatten());
    addresses.filter_map(|address| address.node_name.clone()).collect()
}

fn same_node(before: &Item, after: &Item) -> bool {
    let still = |node: &Node| {
        let mut node = node.clone();
        node.metadata.resource_version = None;
        node.metadata.managed_fields = None;
        for condition in node
            .status
            .iter_mut()
            .flat_map(|status| status.conditions.iter_mut().flatten())
        {
            condition.last_heartbeat_time = None;
        }
        if let Some(status) = &mut node.status {
            status.images = None;
        }
        node
    };
    match (before.node(), after.node()) {
        (Some(before), Some(after)) => still(before) == still(after),
        _ => false,
    }
}
