//! Which nodes a pod would rather have, and which taints and cordons keep it away.

use k8s_openapi::api::core::v1::{Node, PodSpec, PreferredSchedulingTerm, Taint};
use orrery_api::mutant;
use orrery_api::placement::tolerated;

/// The taint of a cordoned node; who tolerates it may go there all the same.
const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";

/// The pod's preferences among nodes.
pub fn preferences(spec: &PodSpec) -> &[PreferredSchedulingTerm] {
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref());
    let preferred = affinity.and_then(|one| one.preferred_during_scheduling_ignored_during_execution.as_deref());
    preferred.unwrap_or_default()
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
