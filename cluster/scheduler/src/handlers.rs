//! What changes to pods, nodes and namespaces mean for the state and the queue.

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use orrery_api::meta::Object;
use orrery_api::mutant;
use orrery_client::Change;

use crate::Scheduler;
use crate::queue::Event;

/// Whether the pod waits for the scheduler of that name: it has no node, may be scheduled, and is not on its way out.
pub fn wants_a_node(pod: &Pod, scheduler: &str) -> bool {
    let Some(spec) = pod.spec.as_ref() else { return false };
    node_of(pod).is_none()
        && (spec.scheduler_name.as_deref().unwrap_or("default-scheduler") == scheduler || mutant::active("O136"))
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
            let event = match change {
                // A deletion that a relist found shows the node as it was; one that a watch told shows its end.
                Change::Deleted(node) if state.shows(node) && mutant::active("B28") => None,
                Change::Deleted(node) => state.remove_node(node).then_some(Event::NodeGone),
                Change::Added(node) => {
                    state.set_node(node.clone());
                    Some(Event::Node)
                }
                Change::Updated { old, new } => {
                    state.set_node(new.clone());
                    helps(old, new)
                }
            };
            drop(state);
            if let Some(event) = event.filter(|event| *event != Event::NodeGone || !mutant::active("O120")) {
                scheduler.queue.happened(event);
            }
        }
    }

    /// The handler of changes to namespaces.
    pub(crate) fn namespace_handler(
        self: &std::sync::Arc<Self>,
    ) -> impl Fn(&Change<Namespace>) + Send + Sync + 'static {
        let scheduler = self.clone();
        move |change| {
            let namespace = change.object();
            let labels = match change {
                Change::Deleted(_) => None,
                _ => namespace.metadata.labels.clone(),
            };
            let changed = scheduler
                .state()
                .set_namespace(namespace.name(), labels.unwrap_or_default());
            if changed {
                scheduler.queue.happened(Event::Namespace);
            }
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

/// What the change to a node is to pods that wait: it may take them, or counts no more. Heartbeats are nothing.
fn helps(old: &Node, new: &Node) -> Option<Event> {
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
    let is_other = (old.metadata.labels != new.metadata.labels && !mutant::active("O133"))
        || resources(old) != resources(new)
        || (open(old) != open(new) && !mutant::active("O36"));
    let goes = new.is_terminating() && !old.is_terminating();
    is_other.then_some(Event::Node).or(goes.then_some(Event::NodeGone))
}
