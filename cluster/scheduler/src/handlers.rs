//! What changes to pods and nodes mean for the state and the queue.

use k8s_openapi::api::core::v1::{Node, Pod};
use orrery_api::meta::Object;
use orrery_api::mutant;
use orrery_client::Change;

use crate::Scheduler;
use crate::queue::Event;

/// Whether the pod waits for the scheduler of that name: it has no node, may be scheduled, and is not on its way out.
pub fn wants_a_node(pod: &Pod, scheduler: &str) -> bool {
    let Some(spec) = pod.spec.as_ref() else { return false };
    node_of(pod).is_none()
        && spec.scheduler_name.as_deref().unwrap_or("default-scheduler") == scheduler
        && spec.scheduling_gates.as_ref().is_none_or(|gates| gates.is_empty())
        && !pod.is_terminating()
        && !is_finished(pod)
}

/// The pod's node, if it has one.
pub fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

impl Scheduler {
    /// The handler of changes to nodes.
    pub(crate) fn node_handler(self: &std::sync::Arc<Self>) -> impl Fn(&Change<Node>) + Send + Sync + 'static {
        let scheduler = self.clone();
        move |change| {
            let mut state = scheduler.state();
            match change {
                // A deletion that a relist found shows the node as it was; one that a watch told shows its end.
                Change::Deleted(node) if state.shows(node) && mutant::active("B28") => return,
                Change::Deleted(node) => {
                    state.remove_node(node);
                    return;
                }
                Change::Added(node) => state.set_node(node.clone()),
                Change::Updated { old, new } => {
                    state.set_node(new.clone());
                    if !helps(old, new) {
                        return;
                    }
                }
            }
            drop(state);
            scheduler.queue.happened(Event::Node);
        }
    }

    /// The handler of changes to pods.
    pub(crate) fn pod_handler(self: &std::sync::Arc<Self>) -> impl Fn(&Change<Pod>) + Send + Sync + 'static {
        let scheduler = self.clone();
        move |change| {
            let pod = change.object();
            let uid = pod.uid();
            let mut event = None;
            let mut state = scheduler.state();
            if matches!(change, Change::Deleted(_)) || is_finished(pod) {
                event = state.remove(uid).then_some(Event::PodGone);
            } else if let Some(node) = node_of(pod) {
                event = state.confirm(pod, node).then_some(Event::PodPlaced);
            }
            let placed = state.is_placed(uid);
            drop(state);
            if wants_a_node(pod, &scheduler.options.scheduler_name) && !matches!(change, Change::Deleted(_)) {
                // While it is being bound, the binding decides what becomes of it.
                if !placed {
                    let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
                    let changed = matches!(change, Change::Updated { old, new }
                        if old.spec != new.spec || old.metadata.labels != new.metadata.labels);
                    scheduler.queue.add(uid, pod.key(), priority, changed);
                }
            } else {
                scheduler.queue.remove(uid);
                scheduler.told().remove(uid);
            }
            if let Some(event) = event {
                scheduler.queue.happened(event);
            }
        }
    }
}

/// Whether the change to a node may make room for a pod; heartbeats do not.
fn helps(old: &Node, new: &Node) -> bool {
    let resources = |node: &Node| {
        node.status
            .as_ref()
            .map(|status| (status.allocatable.clone(), status.capacity.clone()))
            .unwrap_or_default()
    };
    let open = |node: &Node| {
        node.spec
            .as_ref()
            .map(|spec| (spec.unschedulable, spec.taints.clone()))
            .unwrap_or_default()
    };
    old.metadata.labels != new.metadata.labels
        || resources(old) != resources(new)
        || (open(old) != open(new) && !mutant::active("O36"))
}
