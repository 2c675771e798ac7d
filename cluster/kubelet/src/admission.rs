//! Whether the node takes a pod that was bound to it. Pure.
//!
//! The scheduler decides on what it knows; the node has the last word: two schedulers, or a stale one, may have bound
//! too much. What was taken once is never refused later, not by a kubelet that has restarted either, and what has ended
//! no longer counts. The order and the words are those of Kubernetes' kubelet (`pkg/kubelet/lifecycle/predicate.go`).

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use orrery_api::meta::Object;
use orrery_api::mutant;
use orrery_api::placement::{host_ports, share_port, tolerated, wants_node};
use orrery_api::quantity::Quantity;

use crate::resources::{Amounts, pod_requests};
use crate::view::{api_phase, is_terminal};

/// The operating system that this kubelet runs pods on.
const OS: &str = "linux";
/// The label that says so of a node.
const OS_LABEL: &str = "kubernetes.io/os";
/// What is counted before other resources.
const FIRST: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Why a pod is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For machines: `OutOfcpu`, `NodeAffinity`, `NodePorts`, `TaintToleration`.
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
    if let Some(refusal) = foreign(spec, node) {
        return Err(refusal);
    }
    let mut used = Amounts::new();
    let mut pods = 0;
    let ports = host_ports(spec);
    let mut is_port_taken = false;
    for other in others
        .filter(|other| counts(other))
        .filter_map(|other| other.spec.as_ref())
    {
        pods += 1;
        is_port_taken |= !ports.is_empty() && share_port(&ports, &host_ports(other));
        for (name, amount) in pod_requests(other) {
            *used.entry(name).or_default() += amount;
        }
    }
    if let Some(most) = allocatable.get("pods").filter(|most| pods + 1 > most.value()) {
        return Err(out_of("pods", 1, pods, most.value()));
    }
    if let Some(refusal) = crowded(&pod_requests(spec), &used, allocatable) {
        return Err(refusal);
    }
    if !wants_node(spec, node) {
        let why = "node(s) didn't match Pod's node affinity/selector";
        return Err(mistaken("NodeAffinity", why));
    }
    if is_port_taken && !mutant::active("O216") {
        let why = "node(s) didn't have free ports for the requested pod ports";
        return Err(mistaken("NodePorts", why));
    }
    if is_driven_out(spec, node) {
        return Err(mistaken(
            "TaintToleration",
            "node(s) had taints that the pod didn't tolerate",
        ));
    }
    Ok(())
}

/// Why a pod that wants another operating system is refused, if it does.
fn foreign(spec: &PodSpec, node: &Node) -> Option<Refusal> {
    let wanted = spec.node_selector.as_ref().and_then(|selector| selector.get(OS_LABEL));
    let label = node.label(OS_LABEL).unwrap_or(OS);
    let (reason, message) = if wanted.is_some_and(|wanted| wanted != label) {
        (
            "PodOSSelectorNodeLabelDoesNotMatch",
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
        )
    } else if spec.os.as_ref().is_some_and(|os| os.name != OS) {
        (
            "PodOSNotSupported",
            "Failed to admit pod as the OS field doesn't match node OS",
        )
    } else {
        return None;
    };
    Some(Refusal {
        reason: reason.to_owned(),
        message: message.to_owned(),
    })
}

/// Why a pod that asks for more than the node has left is refused, if it does.
fn crowded(requests: &Amounts, used: &Amounts, allocatable: &Amounts) -> Option<Refusal> {
    let others = requests.keys().map(String::as_str);
    let others = others.filter(|name| !FIRST.contains(name));
    FIRST.into_iter().chain(others).find_map(|name| {
        let requested = *requests.get(name)?;
        // A resource that nobody has told this node of is for others to count, like one of the whole cluster.
        if is_extended(name) && !allocatable.contains_key(name) {
            return None;
        }
        let taken = used.get(name).copied().unwrap_or_default();
        let most = allocatable.get(name).copied().unwrap_or_default();
        let full = requested + taken == most && mutant::active("O174");
        let number = |amount: Quantity| {
            if name == "cpu" {
                amount.milli_value()
            } else {
                amount.value()
            }
        };
        (!requested.is_zero() && (requested + taken > most || full))
            .then(|| out_of(name, number(requested), number(taken), number(most)))
    })
}

/// Whether a resource is neither Kubernetes' own nor a native one.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

fn out_of(name: &str, requested: i64, used: i64, capacity: i64) -> Refusal {
    Refusal {
        reason: format!("OutOf{name}"),
        message: format!(
            "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
        ),
    }
}

/// The pod was not to be sent to this node, as `predicate` of the scheduler's would have told.
fn mistaken(predicate: &str, why: &str) -> Refusal {
    Refusal {
        reason: predicate.to_owned(),
        message: format!("Predicate {predicate} failed: {why}"),
    }
}

/// Whether one of the node's taints drives the pod out, for the kubelet cares for no others.
fn is_driven_out(spec: &PodSpec, node: &Node) -> bool {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints
        .filter(|taint| taint.effect == "NoExecute")
        .any(|taint| !tolerated(spec, taint))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ContainerPort, NodeStatus, PodOS, ResourceRequirements, Toleration};
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;

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
    fn an_extended_resource_is_refused_only_where_the_node_has_some() {
        let with_gpu = |amount: &str| {
            let mut pod = pod("0", "Pending");
            let requests = [("example.com/gpu".to_owned(), Wire(amount.to_owned()))].into();
            let spec = pod.spec.as_mut().expect("a spec");
            spec.containers[0].resources = Some(ResourceRequirements {
                requests: Some(requests),
                ..ResourceRequirements::default()
            });
            pod
        };
        assert_eq!(taken(&with_gpu("1"), &[]), Ok(()));
        let mut room = room();
        room.insert("example.com/gpu".to_owned(), "1".parse().expect("an amount"));
        let refusal = admit(&with_gpu("2"), [].iter(), &room, &Node::default()).expect_err("too many");
        assert_eq!(refusal.reason, "OutOfexample.com/gpu");
    }

    #[test]
    fn a_pod_of_another_operating_system_is_refused() {
        let mut own = pod("0", "Pending");
        let refused = |pod: &Pod| taken(pod, &[]).map_err(|refusal| refusal.reason);
        let spec = own.spec.as_mut().expect("a spec");
        spec.os = Some(PodOS {
            name: "windows".to_owned(),
        });
        assert_eq!(refused(&own), Err("PodOSNotSupported".to_owned()));
        let spec = own.spec.as_mut().expect("a spec");
        spec.node_selector = Some([(OS_LABEL.to_owned(), "windows".to_owned())].into());
        assert_eq!(refused(&own), Err("PodOSSelectorNodeLabelDoesNotMatch".to_owned()));
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
    fn a_port_of_the_node_is_taken_once() {
        let with_port = |phase: &str| {
            let mut pod = pod("0", phase);
            let spec = pod.spec.as_mut().expect("a spec");
            spec.containers[0].ports = Some(vec![ContainerPort {
                container_port: 80,
                host_port: Some(80),
                ..ContainerPort::default()
            }]);
            pod
        };
        let refusal = taken(&with_port("Pending"), &[with_port("Running")]).expect_err("taken");
        assert_eq!(refusal.reason, "NodePorts");
        assert_eq!(taken(&with_port("Pending"), &[with_port("Succeeded")]), Ok(()));
        assert_eq!(taken(&pod("0", "Pending"), &[with_port("Running")]), Ok(()));
    }

    #[test]
    fn a_pod_that_would_be_driven_out_is_not_let_in() {
        let tainted = |effect: &str| -> Node {
            let taint = serde_json::json!({"key": "dedicated", "value": "db", "effect": effect});
            serde_json::from_value(serde_json::json!({"metadata": {"name": "n"}, "spec": {"taints": [taint]}}))
                .expect("a node")
        };
        let admitted = |pod: &Pod, effect: &str| {
            let refusal = admit(pod, [].iter(), &room(), &tainted(effect));
            refusal.map_err(|refusal| refusal.reason)
        };
        let mut pod = pod("0", "Pending");
        assert_eq!(admitted(&pod, "NoExecute"), Err("TaintToleration".to_owned()));
        // Whether it should have been sent here is not this node's affair.
        assert_eq!(admitted(&pod, "NoSchedule"), Ok(()));
        let spec = pod.spec.as_mut().expect("a spec");
        spec.tolerations = Some(vec![Toleration {
            key: Some("dedicated".to_owned()),
            operator: Some("Exists".to_owned()),
            ..Toleration::default()
        }]);
        assert_eq!(admitted(&pod, "NoExecute"), Ok(()));
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
