//! Which taints and conditions a node should have.

use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The key of the taint of nodes that say they are not ready.
pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// The key of the taint of nodes that say nothing any more.
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// The effect that only keeps new pods away.
const NO_SCHEDULE: &str = "NoSchedule";
/// The effect that also drives pods out.
pub(super) const NO_EXECUTE: &str = "NoExecute";

/// Conditions and the taint that each means, by the condition's status.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
/// The taint of nodes that an administrator has cordoned.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// What to do about the taints that drive pods out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evict {
    /// The node is given up, for what its condition `Ready` says.
    GiveUp,
    /// It is as it is; a reason that has changed is still kept up to date.
    Leave,
    /// Nobody is driven out, not even by what was given up before.
    Spare,
}

/// The status of the node's condition `kind`.
pub(super) fn status<'a>(node: &'a Node, kind: &str) -> Option<&'a str> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .filter(|condition| condition.type_ == kind)
        .map(|condition| condition.status.as_str())
        .next()
}

/// The taints of the node.
pub(super) fn of(node: &Node) -> &[Taint] {
    node.spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default()
}

/// The key of the taint that the node's condition `Ready` means; `None` when it is ready.
pub(super) fn cause(node: &Node) -> Option<&'static str> {
    match status(node, "Ready") {
        Some("True") => None,
        Some("Unknown") => Some(UNREACHABLE),
        _ => Some(NOT_READY),
    }
}

/// Whether the node has a taint of this controller's that drives pods out.
pub(super) fn is_given_up(node: &Node) -> bool {
    of(node).iter().any(drives_out)
}

fn drives_out(taint: &Taint) -> bool {
    taint.effect == NO_EXECUTE && counterpart(&taint.key).is_some()
}

/// The key of the taint that takes the place of the one with `key` when the node's condition `Ready` means the other;
/// `None` when `key` is none of the two by which this controller drives pods out.
pub(super) fn counterpart(key: &str) -> Option<&'static str> {
    match key {
        NOT_READY => Some(UNREACHABLE),
        UNREACHABLE => Some(NOT_READY),
        _ => None,
    }
}

/// The taints that the node should have; `None` when it has them. Taints of others stay as they are.
pub(super) fn plan(node: &Node, evict: Evict, now: &Time) -> Option<Vec<Taint>> {
    let mut wanted: Vec<(&str, &str)> = BY_CONDITION
        .iter()
        .filter(|(kind, value, _)| status(node, kind) == Some(value))
        .map(|(_, _, key)| (*key, NO_SCHEDULE))
        .collect();
    if status(node, "Ready").is_none() {
        // A node that has never said how it is keeps the taint it was registered with.
        wanted.extend(
            of(node)
                .iter()
                .any(|taint| is(taint, NOT_READY, NO_SCHEDULE))
                .then_some((NOT_READY, NO_SCHEDULE)),
        );
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false) {
        wanted.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    if let Some(cause) = cause(node) {
        let drive_out = match evict {
            Evict::GiveUp => true,
            Evict::Leave => is_given_up(node),
            Evict::Spare => false,
        };
        wanted.extend(drive_out.then_some((cause, NO_EXECUTE)));
    }
    let current = of(node);
    let mut taints: Vec<Taint> = current
        .iter()
        .filter(|taint| !is_ours(taint) || wanted.iter().any(|(key, effect)| is(taint, key, effect)))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| is(taint, key, effect)) {
            taints.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                time_added: Some(now.clone()),
                value: None,
            });
        }
    }
    (taints != current).then_some(taints)
}

fn is(taint: &Taint, key: &str, effect: &str) -> bool {
    taint.key == key && taint.effect == effect
}

fn is_ours(taint: &Taint) -> bool {
    drives_out(taint)
        || (taint.effect == NO_SCHEDULE
            && (taint.key == UNSCHEDULABLE || BY_CONDITION.iter().any(|(_, _, key)| *key == taint.key)))
}

/// The reason of conditions that no kubelet has ever posted.
pub(super) const NEVER_UPDATED: &str = "NodeStatusNeverUpdated";
/// The conditions that only the kubelet knows.
pub(super) const KUBELETS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The node's conditions when its kubelet is silent; `None` when they say so already.
pub(super) fn unknown_conditions(node: &Node, now: &Time) -> Option<Vec<NodeCondition>> {
    let current = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let mut conditions = current.to_vec();
    for kind in KUBELETS {
        let (reason, message) = match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            Some(condition) if condition.status == "Unknown" => continue,
            Some(condition) => {
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(now.clone());
                continue;
            }
            None => (NEVER_UPDATED, "Kubelet never posted node status."),
        };
        conditions.push(NodeCondition {
            type_: kind.to_owned(),
            status: "Unknown".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: node.metadata.creation_timestamp.clone(),
            last_transition_time: Some(now.clone()),
        });
    }
    (conditions != current).then_some(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orrery_api::clock::now_time;
    use serde_json::json;

    fn node(ready: &str, taints: &[(&str, &str)], unschedulable: bool) -> Node {
        let taints: Vec<_> = taints
            .iter()
            .map(|(key, effect)| json!({"key": key, "effect": effect}))
            .collect();
        let node = json!({
            "metadata": {"name": "n", "uid": "u"},
            "spec": {"taints": taints, "unschedulable": unschedulable},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}
        });
        serde_json::from_value(node).expect("a node")
    }

    fn planned(node: &Node, evict: Evict) -> Option<Vec<String>> {
        let taints = plan(node, evict, &now_time())?;
        Some(
            taints
                .iter()
                .map(|taint| format!("{}:{}", taint.key.rsplit('/').next().unwrap_or(""), taint.effect))
                .collect(),
        )
    }

    #[test]
    fn a_silent_node_is_tainted_and_a_ready_one_is_not() {
        let silent = node("Unknown", &[("team", "NoSchedule")], false);
        assert_eq!(
            planned(&silent, Evict::GiveUp).expect("a change"),
            ["team:NoSchedule", "unreachable:NoSchedule", "unreachable:NoExecute"]
        );
        let taints = [
            (UNREACHABLE, "NoSchedule"),
            (UNREACHABLE, "NoExecute"),
            ("team", "NoSchedule"),
        ];
        assert_eq!(
            planned(&node("True", &taints, false), Evict::Leave).expect("a change"),
            ["team:NoSchedule"]
        );
    }

    #[test]
    fn a_node_that_speaks_again_but_is_not_ready_changes_its_taint() {
        let taints = [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")];
        assert_eq!(
            planned(&node("False", &taints, false), Evict::Leave).expect("a change"),
            ["not-ready:NoSchedule", "not-ready:NoExecute"]
        );
    }

    #[test]
    fn nobody_is_driven_out_while_the_control_plane_may_be_cut_off() {
        let taints = [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")];
        assert_eq!(
            planned(&node("Unknown", &taints, false), Evict::Spare).expect("a change"),
            ["unreachable:NoSchedule"]
        );
        assert_eq!(planned(&node("Unknown", &taints, false), Evict::Leave), None);
    }

    #[test]
    fn a_cordoned_node_takes_no_new_pods() {
        assert_eq!(
            planned(&node("True", &[], true), Evict::Leave).expect("a change"),
            ["unschedulable:NoSchedule"]
        );
        assert_eq!(
            planned(&node("True", &[(UNSCHEDULABLE, "NoSchedule")], true), Evict::Leave),
            None
        );
    }

    #[test]
    fn silence_makes_every_condition_of_the_kubelet_unknown_once() {
        let mut node = node("True", &[], false);
        let conditions = unknown_conditions(&node, &now_time()).expect("a change");
        assert_eq!(conditions.len(), 4);
        assert!(conditions.iter().all(|condition| condition.status == "Unknown"));
        assert_eq!(conditions[0].reason.as_deref(), Some("NodeStatusUnknown"));
        assert_eq!(conditions[1].reason.as_deref(), Some("NodeStatusNeverUpdated"));
        node.status.get_or_insert_default().conditions = Some(conditions);
        assert_eq!(unknown_conditions(&node, &now_time()), None);
    }
}
