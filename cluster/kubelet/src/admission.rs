//! Whether the node takes a pod that was bound to it. Pure.
//!
//! The scheduler decides on what it knows; the node has the last word: two schedulers, or a stale one, may have bound
//! too much. What was taken once is never refused later, not by a kubelet that has restarted either, and what has ended
//! no longer counts.

use k8s_openapi::api::core::v1::{Node, NodeSelectorTerm, Pod};
use orrery_api::mutant;
use orrery_api::quantity::Quantity;

use crate::resources::{Amounts, pod_requests};
use crate::view::{api_phase, is_terminal};

/// Why a pod is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For machines: `OutOfcpu`, `NodeAffinity`.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Whether a kubelet has taken the pod before: then it is taken again without a question.
pub fn was_admitted(pod: &Pod, in_runtime: bool) -> bool {
    let status = pod.status.as_ref();
    let known = in_runtime || status.is_some_and(|status| status.start_time.is_some()) || api_phase(pod) == "Running";
    known && !mutant::active("B98")
}

/// Whether the pod takes up room on its node.
pub fn counts(pod: &Pod) -> bool {
    !is_terminal(api_phase(pod)) || mutant::is_on("B98")
}

/// Whether `node`, which has `allocatable` and runs `others`, takes `pod` too.
pub fn admit<'a>(
    pod: &Pod,
    others: impl Iterator<Item = &'a Pod>,
    allocatable: &Amounts,
    node: &Node,
) -> Result<(), Refusal> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    if !selects(pod, node) {
        return Err(Refusal {
            reason: "NodeAffinity".to_owned(),
            message:
                "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
                    .to_owned(),
        });
    }
    let mut used = Amounts::new();
    let mut pods = 0;
    for other in others.filter(|other| counts(other)) {
        pods += 1;
        for (name, amount) in other.spec.as_ref().map(pod_requests).unwrap_or_default() {
            *used.entry(name).or_default() += amount;
        }
    }
    let refuse = |name: &str, requested: i64, used: i64, capacity: i64| Refusal {
        reason: format!("OutOf{name}"),
        message: format!(
            "Pod was rejected: Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
        ),
    };
    if let Some(most) = allocatable.get("pods").filter(|most| pods + 1 > most.value()) {
        return Err(refuse("pods", 1, pods, most.value()));
    }
    for (name, requested) in pod_requests(spec) {
        let taken = used.get(&name).copied().unwrap_or_default();
        let most = allocatable.get(&name).copied().unwrap_or_default();
        let full = requested + taken == most && mutant::active("O174");
        if !requested.is_zero() && (requested + taken > most || full) {
            let number = |amount: Quantity| {
                if name == "cpu" {
                    amount.milli_value()
                } else {
                    amount.value()
                }
            };
            return Err(refuse(&name, number(requested), number(taken), number(most)));
        }
    }
    Ok(())
}

/// Whether the pod's node selector and required node affinity hold for `node`.
fn selects(pod: &Pod, node: &Node) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let empty = std::collections::BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let by_label = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let holds = |term: &NodeSelectorTerm| {
        let expressions = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        // A term that says nothing matches nothing.
        (!expressions.is_empty() || !fields.is_empty())
            && expressions.iter().all(|rule| {
                let value = labels.get(&rule.key).map(String::as_str);
                rule_holds(&rule.operator, value, rule.values.as_deref().unwrap_or_default())
            })
            && fields.iter().all(|rule| {
                let value = (rule.key == "metadata.name").then_some(name);
                rule_holds(&rule.operator, value, rule.values.as_deref().unwrap_or_default())
            })
    };
    by_label && required.is_none_or(|required| required.node_selector_terms.iter().any(holds))
}

fn rule_holds(operator: &str, value: Option<&str>, values: &[String]) -> bool {
    let listed = value.is_some_and(|value| values.iter().any(|other| other == value));
    let number = |text: &str| text.parse::<i64>().ok();
    let compared = || Some((number(value?)?, number(values.first()?)?));
    match operator {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared().is_some_and(|(own, bound)| own > bound),
        "Lt" => compared().is_some_and(|(own, bound)| own < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::NodeStatus;

    use super::*;
    use crate::node::registration;
    use crate::options::Options;
    use crate::resources::amounts;

    fn pod(cpu: &str, phase: &str) -> Pod {
        serde_json::from_value(
            serde_json::json!({"metadata": {"name": "p"}, "status": {"phase": phase},
            "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]}}),
        )
        .expect("a pod")
    }

    fn room() -> Amounts {
        let wire = serde_json::from_value(serde_json::json!({"cpu": "4", "pods": "2"})).expect("amounts");
        amounts(Some(&wire))
    }

    fn taken(pod: &Pod, others: &[Pod]) -> Result<(), Refusal> {
        admit(pod, others.iter(), &room(), &Node::default())
    }

    #[test]
    fn a_pod_that_does_not_fit_is_refused() {
        let others = [pod("3800m", "Running")];
        let refusal = taken(&pod("500m", "Pending"), &others).expect_err("too much");
        assert_eq!(refusal.reason, "OutOfcpu");
        assert!(
            refusal
                .message
                .ends_with("cpu, requested: 500, used: 3800, capacity: 4000"),
            "{}",
            refusal.message
        );
        assert_eq!(taken(&pod("200m", "Pending"), &others), Ok(()));
    }

    #[test]
    fn pods_that_have_ended_do_not_count() {
        let others = [pod("3", "Succeeded"), pod("3", "Failed"), pod("1", "Running")];
        assert_eq!(taken(&pod("3", "Pending"), &others), Ok(()));
    }

    #[test]
    fn a_full_node_takes_no_more_pods() {
        let others = [pod("0", "Running"), pod("0", "Pending")];
        let refusal = taken(&pod("0", "Pending"), &others).expect_err("full");
        assert_eq!(refusal.reason, "OutOfpods");
    }

    #[test]
    fn a_pod_of_other_nodes_is_refused() {
        let node: Node =
            serde_json::from_value(serde_json::json!({"metadata": {"name": "n", "labels": {"zone": "a"}}}))
                .expect("a node");
        let mut pod = pod("0", "Pending");
        let spec = pod.spec.as_mut().expect("a spec");
        spec.node_selector = Some([("zone".to_owned(), "a".to_owned())].into());
        assert_eq!(admit(&pod, [].iter(), &room(), &node), Ok(()));
        let spec = pod.spec.as_mut().expect("a spec");
        spec.node_selector = Some([("zone".to_owned(), "b".to_owned())].into());
        assert_eq!(
            admit(&pod, [].iter(), &room(), &node).expect_err("zone").reason,
            "NodeAffinity"
        );
    }

    #[test]
    fn a_node_that_is_not_registered_yet_selects_by_the_labels_that_it_will_have() {
        let options = Options {
            labels: [("disk".to_owned(), "hdd".to_owned())].into(),
            ..Options::default()
        };
        let node = registration(&options, NodeStatus::default());
        let mut pod = pod("0", "Pending");
        let mut admitted = |disk: &str| {
            let spec = pod.spec.as_mut().expect("a spec");
            spec.node_selector = Some([("disk".to_owned(), disk.to_owned())].into());
            admit(&pod, [].iter(), &room(), &node).map_err(|refusal| refusal.reason)
        };
        assert_eq!(admitted("hdd"), Ok(()));
        assert_eq!(admitted("ssd"), Err("NodeAffinity".to_owned()));
    }
}
