//! Drives pods out of nodes whose taints they do not tolerate, or no longer.
//!
//! *Observe*: nodes' taints with `NoExecute` since this process saw them, and the pods bound there. *Plan*:
//! [`tolerations::deadline`]. *Act*: when a pod's time has come the node is read from the server once more, for the
//! taint may be gone by now; the delete holds only for the pod as it was judged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, Toleration};
use orrery_api::clock;
use orrery_api::meta::{Object, ObjectKey};
use orrery_api::mutant;
use orrery_client::{Api, Cache, Change, DeleteParams, Error, EventKind, Next, Recorder, WorkQueue, process_with};
use tokio::time::Instant;

use super::taints;
use super::tolerations::{self, Since};
use crate::informers::{BY_NODE, Informers};
use crate::{Context, pods, retry};

/// So many pods are evicted at once: kube-controller-manager's number of workers.
const WORKERS: usize = 8;

/// What is known of one node.
#[derive(Debug, Default)]
struct Tainted {
    uid: String,
    since: Since,
    /// When each pod was first seen here, by uid.
    arrived: BTreeMap<String, Duration>,
}

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<String, Tainted>,
    /// Pods whose time is running, by uid: when it runs out.
    waiting: BTreeMap<String, Duration>,
}

/// The part that evicts.
pub(super) struct Eviction {
    pods: Cache<Pod>,
    pod_api: Api<Pod>,
    node_api: Api<Node>,
    queue: WorkQueue<ObjectKey>,
    state: Arc<Mutex<State>>,
    recorder: Recorder,
    began: Instant,
}

impl Eviction {
    pub(super) fn new(context: &Context, informers: &mut Informers) -> Self {
        let queue = retry::queue();
        let state = Arc::new(Mutex::new(State::default()));
        let pods = informers.pods.cache();
        let began = Instant::now();
        informers.nodes.on_change({
            let (queue, state, pods) = (queue.clone(), state.clone(), pods.clone());
            move |change| {
                if node_changed(&state, change, began.elapsed()) {
                    for pod in pods.by_index(BY_NODE, change.object().name()) {
                        queue.add(pod.key());
                    }
                }
            }
        });
        informers.pods.on_change({
            let (queue, state) = (queue.clone(), state.clone());
            move |change| {
                if pod_changed(&state, change) {
                    queue.add(change.key());
                }
            }
        });
        Eviction {
            pods,
            pod_api: Api::new(&context.client),
            node_api: Api::new(&context.client),
            queue,
            state,
            recorder: context.recorder("taint-eviction-controller"),
            began,
        }
    }

    pub(super) async fn run(&self) {
        process_with(WORKERS, &self.queue, |key| self.reconcile(key)).await;
    }

    async fn reconcile(&self, key: ObjectKey) -> Result<Next, Error> {
        let Some(pod) = self.pods.get(&key) else {
            return Ok(Next::Done);
        };
        let Some(node) = pods::node_name(&pod).filter(|_| !pod.is_terminating()) else {
            lock(&self.state).forget(&pod);
            return Ok(Next::Done);
        };
        let now = self.began.elapsed();
        let Some((since, arrived)) = lock(&self.state).arrive(&pod, node, now) else {
            self.cancel(&pod);
            return Ok(Next::Done);
        };
        let planned = lock(&self.state).waiting.get(pod.uid()).copied();
        match tolerations::deadline(&since, tolerations_of(&pod), arrived) {
            // Some taint is left on the node, though none that the pod must go for.
            None if planned.is_some_and(|at| at > now) && mutant::active("B68") => Ok(Next::Done),
            None if planned.is_some() && mutant::active("B68") => {
                self.evict(&pod).await?;
                Ok(Next::Done)
            }
            None => {
                self.cancel(&pod);
                Ok(Next::Done)
            }
            Some(at) if at > now => {
                lock(&self.state).waiting.insert(pod.uid().to_owned(), at);
                Ok(Next::After(at - now))
            }
            Some(_) if self.is_due(&pod, node, &since, arrived).await? => {
                self.evict(&pod).await?;
                Ok(Next::Done)
            }
            // The node's event is under way, and brings the pod back here.
            Some(_) => Ok(Next::After(Duration::from_secs(1))),
        }
    }

    /// Whether the pod still has to go by the taints that the server knows of.
    async fn is_due(&self, pod: &Pod, node: &str, known: &Since, arrived: Duration) -> Result<bool, Error> {
        let live = match self.node_api.get(&ObjectKey::new("", node)).await {
            Ok(live) => live,
            // Pods of nodes that are gone are the pod collector's.
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
        };
        let now = self.began.elapsed();
        let same = lock(&self.state)
            .nodes
            .get(node)
            .is_some_and(|tainted| tainted.uid == live.uid());
        let since = tolerations::since(known, taints::of(&live), now);
        let due = tolerations::deadline(&since, tolerations_of(pod), arrived).is_some_and(|at| at <= now);
        Ok(same && due)
    }

    async fn evict(&self, pod: &Pod) -> Result<(), Error> {
        let message = format!("Marking for deletion Pod {}", pod.key());
        self.recorder.event(
            &pod.object_reference(),
            EventKind::Normal,
            "TaintManagerEviction",
            &message,
        );
        let mut exactly = DeleteParams::exactly(pod);
        if let Some(marked) = pods_with_reason(pod) {
            exactly = match self.pod_api.replace_status(&marked).await {
                Err(error) if error.is_not_found() => return Ok(()),
                other => DeleteParams::exactly(&*other?),
            };
        }
        match self.pod_api.delete(&pod.key(), &exactly).await {
            Err(error) if error.is_not_found() => {}
            other => other?,
        }
        lock(&self.state).forget(pod);
        Ok(())
    }

    fn cancel(&self, pod: &Pod) {
        if lock(&self.state).waiting.remove(pod.uid()).is_some() {
            let message = format!("Cancelling deletion of Pod {}", pod.key());
            self.recorder.event(
                &pod.object_reference(),
                EventKind::Normal,
                "TaintManagerEviction",
                &message,
            );
        }
    }
}

impl State {
    /// The taints in force on the pod's node and when the pod came under them; `None` when there are none.
    fn arrive(&mut self, pod: &Pod, node: &str, now: Duration) -> Option<(Since, Duration)> {
        let tainted = self.nodes.get_mut(node)?;
        let arrived = *tainted.arrived.entry(pod.uid().to_owned()).or_insert(now);
        Some((tainted.since.clone(), arrived))
    }

    fn forget(&mut self, pod: &Pod) {
        self.waiting.remove(pod.uid());
        if let Some(tainted) = pods::node_name(pod).and_then(|node| self.nodes.get_mut(node)) {
            tainted.arrived.remove(pod.uid());
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a node's change; true when its pods have to be looked at again.
fn node_changed(state: &Mutex<State>, change: &Change<Node>, now: Duration) -> bool {
    let mut state = lock(state);
    let node = change.object();
    if let Change::Deleted(_) = change {
        return state.nodes.remove(node.name()).is_some();
    }
    let known = state.nodes.get(node.name()).filter(|known| known.uid == node.uid());
    let before = known.map(|known| known.since.clone()).unwrap_or_default();
    let since = tolerations::since(&before, taints::of(node), now);
    if since.is_empty() {
        return state.nodes.remove(node.name()).is_some();
    }
    let changed = since != before;
    let tainted = state.nodes.entry(node.name().to_owned()).or_default();
    if tainted.uid != node.uid() {
        *tainted = Tainted {
            uid: node.uid().to_owned(),
            ..Tainted::default()
        };
    }
    tainted.since = since;
    changed
}

/// Takes a pod's change; true when it has to be looked at.
fn pod_changed(state: &Mutex<State>, change: &Change<Pod>) -> bool {
    let mut state = lock(state);
    let pod = change.object();
    let tainted = pods::node_name(pod).is_some_and(|node| state.nodes.contains_key(node));
    let concerns = state.waiting.contains_key(pod.uid()) || tainted && !mutant::active("O58");
    if let Change::Deleted(_) = change {
        // Who looks for it by its name finds nobody, or another.
        state.forget(pod);
    }
    concerns
}

fn tolerations_of(pod: &Pod) -> &[Toleration] {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.tolerations.as_deref())
        .unwrap_or_default()
}

/// The pod with the condition that says why it is disrupted; `None` when it has it.
fn pods_with_reason(pod: &Pod) -> Option<Pod> {
    disrupted(
        pod,
        "DeletionByTaintManager",
        "Taint manager: deleting due to NoExecute taint",
    )
}

/// The pod with a condition `DisruptionTarget`, so that its owner can tell an eviction from a failure; `None` when it
/// has it for that reason already.
pub(crate) fn disrupted(pod: &Pod, reason: &str, message: &str) -> Option<Pod> {
    const KIND: &str = "DisruptionTarget";
    let known = pods::condition(pod, KIND).filter(|condition| condition.status == "True");
    if known.is_some_and(|condition| condition.reason.as_deref() == Some(reason)) {
        return None;
    }
    let since = known.and_then(|condition| condition.last_transition_time.clone());
    let mut pod = pod.clone();
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != KIND);
    conditions.push(PodCondition {
        type_: KIND.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: since.or_else(|| Some(clock::now_time())),
        ..PodCondition::default()
    });
    Some(pod)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(uid: &str, taints: serde_json::Value) -> Arc<Node> {
        let node = json!({"metadata": {"name": "n", "uid": uid}, "spec": {"taints": taints}});
        Arc::new(serde_json::from_value(node).expect("a node"))
    }

    #[test]
    fn pods_are_looked_at_again_exactly_when_driving_taints_change() {
        let state = Mutex::new(State::default());
        let at = Duration::from_secs;
        let taint = json!([{"key": "a", "effect": "NoExecute"}]);
        assert!(!node_changed(&state, &Change::Added(node("1", json!([]))), at(0)));
        assert!(node_changed(&state, &Change::Added(node("1", taint.clone())), at(1)));
        assert!(!node_changed(&state, &Change::Added(node("1", taint.clone())), at(2)));
        assert!(node_changed(&state, &Change::Added(node("1", json!([]))), at(3)));
        assert!(node_changed(&state, &Change::Added(node("1", taint.clone())), at(4)));
        // Another node of the same name: its taint begins now.
        assert!(node_changed(&state, &Change::Added(node("2", taint)), at(9)));
        let since = lock(&state).nodes["n"].since.clone();
        assert_eq!(tolerations::deadline(&since, &[], at(0)), Some(at(9)));
    }

    #[test]
    fn of_a_pod_that_is_gone_nothing_is_remembered() {
        let state = Mutex::new(State::default());
        let taint = json!([{"key": "a", "effect": "NoExecute"}]);
        node_changed(&state, &Change::Added(node("1", taint)), Duration::ZERO);
        let pod = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"nodeName": "n", "containers": []}});
        let pod: Arc<Pod> = Arc::new(serde_json::from_value(pod).expect("a pod"));
        assert!(pod_changed(&state, &Change::Added(pod.clone())));
        lock(&state).arrive(&pod, "n", Duration::ZERO);
        lock(&state).waiting.insert("u".to_owned(), Duration::ZERO);
        assert!(pod_changed(&state, &Change::Deleted(pod)));
        let state = lock(&state);
        assert!(state.waiting.is_empty() && state.nodes["n"].arrived.is_empty());
    }
}
