//! Does a pod want a node: node selectors, node affinity, taints and tolerations.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, PreferredSchedulingTerm, Taint, Toleration,
};
use orrery_api::meta::Object;
use orrery_api::mutant;

/// The taint of a cordoned node; who tolerates it may go there all the same.
const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";

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

/// The pod's preferences among nodes.
pub fn preferences(spec: &PodSpec) -> &[PreferredSchedulingTerm] {
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref());
    let preferred = affinity.and_then(|one| one.preferred_during_scheduling_ignored_during_execution.as_deref());
    preferred.unwrap_or_default()
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
    let empty = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
    let exists = toleration.operator.as_deref() == Some("Exists");
    let effect = empty(&toleration.effect) || toleration.effect.as_deref() == Some(taint.effect.as_str());
    let key = if empty(&toleration.key) {
        exists
    } else {
        toleration.key.as_deref() == Some(taint.key.as_str())
    };
    let value = exists
        || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        || mutant::active("O135");
    effect && key && value
}

fn tolerated(spec: &PodSpec, taint: &Taint) -> bool {
    spec.tolerations
        .iter()
        .flatten()
        .any(|toleration| tolerates(toleration, taint))
}

/// The first taint of the node that keeps the pod away.
pub fn repelling_taint<'a>(spec: &PodSpec, node: &'a Node) -> Option<&'a Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut hard = taints.filter(|taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            || (taint.effect == "PreferNoSchedule" && mutant::active("O83"))
    });
    hard.find(|taint| !tolerated(spec, taint))
}

/// How many taints of the node would rather keep the pod away.
pub fn disliked_taints(spec: &PodSpec, node: &Node) -> usize {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints
        .filter(|taint| taint.effect == "PreferNoSchedule" && !tolerated(spec, taint))
        .count()
}

/// Whether the node is cordoned for this pod.
pub fn is_cordoned(spec: &PodSpec, node: &Node) -> bool {
    let cordon = Taint {
        key: UNSCHEDULABLE_TAINT.to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false) && !tolerated(spec, &cordon)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(value: Value) -> PodSpec {
        let mut value = value;
        value["containers"] = json!([]);
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
    fn a_pod_goes_to_a_tainted_node_only_with_a_toleration_that_covers_it() {
        let node = node(json!({"metadata": {"name": "n"}, "spec": {
            "taints": [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}],
        }}));
        let with = |toleration: Value| spec(json!({"tolerations": [toleration]}));
        assert!(repelling_taint(&spec(json!({})), &node).is_some());
        assert!(repelling_taint(&with(json!({"operator": "Exists"})), &node).is_none());
        assert!(repelling_taint(&with(json!({"key": "dedicated", "operator": "Exists"})), &node).is_none());
        assert!(repelling_taint(&with(json!({"key": "dedicated", "value": "db"})), &node).is_none());
        assert!(repelling_taint(&with(json!({"key": "dedicated", "value": "web"})), &node).is_some());
        assert!(repelling_taint(&with(json!({"operator": "Exists", "effect": "NoExecute"})), &node).is_some());
    }

    #[test]
    fn a_cordoned_node_takes_only_pods_that_tolerate_it() {
        let node = node(json!({"metadata": {"name": "n"}, "spec": {"unschedulable": true}}));
        assert!(is_cordoned(&spec(json!({})), &node));
        let daemon = spec(json!({"tolerations": [{"key": UNSCHEDULABLE_TAINT, "operator": "Exists"}]}));
        assert!(!is_cordoned(&daemon, &node));
    }
}
