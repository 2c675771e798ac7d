//! Which nodes a pod may be on, as far as one node and the pods there tell: selectors, node affinity, tolerations, ports
//! of the host. Pure, and the same for the scheduler, which chooses, and for the kubelet, which has the last word.
//!
//! Not here: what a pod would rather have, and what other nodes say about it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration};

use crate::meta::Object;
use crate::mutant;

/// Whether the node's labels and name are what the pod requires.
pub fn wants_node(spec: &PodSpec, node: &Node) -> bool {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let selected = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| term_matches(term, node)))
}

/// Whether the node is what a term describes; a term that says nothing describes no node.
pub fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    (!expressions.is_empty() || !fields.is_empty())
        && expressions
            .iter()
            .all(|one| requirement_holds(one, node.label(&one.key)))
        && fields
            .iter()
            .all(|one| one.key == "metadata.name" && requirement_holds(one, Some(node.name())))
}

fn requirement_holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|one| one == value));
    let compare = |holds: fn(i64, i64) -> bool| {
        let have = value.and_then(|value| value.parse().ok());
        let wanted = values.first().and_then(|value| value.parse().ok());
        matches!((have, wanted), (Some(have), Some(wanted)) if holds(have, wanted))
    };
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(|have, wanted| have > wanted),
        "Lt" => compare(|have, wanted| have < wanted),
        _ => false,
    }
}

/// Whether a toleration covers a taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let value = taint.value.as_deref().unwrap_or_default();
    (effect.is_empty() || effect == taint.effect) && tolerates_key(toleration, &taint.key, value)
}

/// Whether a toleration covers taints with that key and value, as far as their effect is one that it is for.
pub fn tolerates_key(toleration: &Toleration, key: &str, value: &str) -> bool {
    let exists = toleration.operator.as_deref() == Some("Exists");
    let tolerated = toleration.key.as_deref().unwrap_or_default();
    let is_meant = if tolerated.is_empty() { exists } else { tolerated == key };
    is_meant && (exists || toleration.value.as_deref().unwrap_or_default() == value || mutant::active("O135"))
}

/// Whether one of the pod's tolerations covers a taint.
pub fn tolerated(spec: &PodSpec, taint: &Taint) -> bool {
    spec.tolerations
        .iter()
        .flatten()
        .any(|toleration| tolerates(toleration, taint))
}

/// A port of a node that a pod takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// The node's address; 0.0.0.0 is all of them, and so is ::, which Kubernetes takes for one.
    pub address: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The number.
    pub number: i32,
}

/// The ports that a pod takes on its node.
pub fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    // Init containers that run on, as sidecars, hold their ports for as long as the pod lives.
    let starting = spec.init_containers.iter().flatten();
    let sidecars = starting.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = sidecars
        .chain(&spec.containers)
        .flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let address = port.host_ip.clone().filter(|address| !address.is_empty());
            Some(HostPort {
                address: address.unwrap_or_else(|| "0.0.0.0".to_owned()),
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                number,
            })
        })
        .collect()
}

/// Whether two lists of ports want the same one.
pub fn share_port(ports: &[HostPort], others: &[HostPort]) -> bool {
    let any = |address: &str| address == "0.0.0.0" || address == "::";
    ports.iter().any(|port| {
        others.iter().any(|other| {
            port.number == other.number
                && port.protocol == other.protocol
                && (port.address == other.address || any(&port.address) || any(&other.address))
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(value: Value) -> PodSpec {
        let mut value = value;
        if value["containers"].is_null() {
            value["containers"] = json!([]);
        }
        serde_json::from_value(value).expect("a valid spec")
    }

    fn node(value: Value) -> Node {
        serde_json::from_value(value).expect("a valid node")
    }

    #[test]
    fn terms_are_alternatives_and_their_expressions_all_hold() {
        let affinity = |terms: Value| {
            spec(json!({"affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms},
            }}}))
        };
        let node = node(json!({"metadata": {"name": "n", "labels": {"zone": "a", "cores": "8"}}}));
        let zone = json!({"key": "zone", "operator": "In", "values": ["a", "b"]});
        let cores = |operator: &str| json!({"key": "cores", "operator": operator, "values": ["8"]});
        let name = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]});
        assert!(wants_node(&affinity(json!([{"matchExpressions": [zone]}])), &node));
        assert!(!wants_node(
            &affinity(json!([{"matchExpressions": [zone, cores("Gt")]}])),
            &node
        ));
        assert!(wants_node(
            &affinity(json!([{"matchExpressions": [zone, cores("Gt")]}, name])),
            &node
        ));
        assert!(!wants_node(&affinity(json!([{}])), &node));
        assert!(!wants_node(&spec(json!({"nodeSelector": {"zone": "b"}})), &node));
    }

    #[test]
    fn ports_clash_by_number_protocol_and_address() {
        let ports = |address: &str, protocol: &str, number: i32| {
            let port = json!({"containerPort": 1, "hostPort": number, "hostIP": address, "protocol": protocol});
            host_ports(&spec(json!({"containers": [{"name": "a", "ports": [port]}]})))
        };
        let web = ports("", "TCP", 80);
        assert!(share_port(&web, &ports("127.0.0.1", "TCP", 80)));
        assert!(!share_port(&web, &ports("", "UDP", 80)));
        assert!(!share_port(&web, &ports("", "TCP", 81)));
        assert!(!share_port(
            &ports("127.0.0.1", "TCP", 80),
            &ports("127.0.0.2", "TCP", 80)
        ));
        // A port of the container alone takes none of the node.
        assert_eq!(ports("", "TCP", 0), []);
    }
}
