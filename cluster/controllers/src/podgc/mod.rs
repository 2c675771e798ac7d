//! Removes pods that nobody else will: those of nodes that are gone, those that end unbound or on nodes that are out of
//! service, and finished ones beyond a number.
//!
//! Every 20 s: *observe* pods and nodes, *plan* with [`plan`], *act*. That a node is gone is confirmed by the server
//! before its pods are removed without their kubelet's consent; every delete holds for one uid. Who has not ended is
//! marked as failed before: finalizers may hold him for long, and nobody else would ever say so.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use orrery_api::meta::{Object, ObjectKey};
use orrery_api::{log, mutant};
use orrery_client::{Api, Cache, DeleteParams, Error};
use tokio::time::{Instant, sleep};

use crate::informers::Informers;
use crate::nodelifecycle::eviction::disrupted;
use crate::{Context, pods};
use plan::Quarantine;

/// The time between two rounds.
const PERIOD: Duration = Duration::from_secs(20);
/// How long a node has to be missing.
const QUARANTINE: Duration = Duration::from_secs(40);

/// Why pods of nodes that are gone are disrupted.
const NODE_IS_GONE: &str = "PodGC: node no longer exists";

/// Removes pods that nobody else will.
pub(crate) struct PodGc {
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    pod_api: Api<Pod>,
    node_api: Api<Node>,
    threshold: usize,
}

impl PodGc {
    /// Takes the caches of `informers`.
    pub(crate) fn new(context: &Context, informers: &mut Informers) -> Self {
        let client = context.client.clone().named("pod-garbage-collector");
        PodGc {
            pods: informers.pods.cache(),
            nodes: informers.nodes.cache(),
            pod_api: Api::new(&client),
            node_api: Api::new(&client),
            threshold: context.options.terminated_pod_threshold,
        }
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        let began = Instant::now();
        let mut quarantine = Quarantine::default();
        loop {
            let all = self.pods.list();
            for pod in plan::surplus(&all, self.threshold) {
                self.remove(&pod, DeleteParams::exactly(&*pod)).await;
            }
            for pod in plan::unbound(&all) {
                // Only as it was seen: it may be bound by now.
                self.end(&pod).await;
            }
            let node = |name: &str| self.nodes.get(&ObjectKey::new("", name));
            let is_out = |name: &str| node(name).is_some_and(|node| plan::is_out_of_service(&node));
            for pod in plan::unconfirmed(&all, is_out) {
                self.end(&pod).await;
            }
            let orphans = plan::orphans(&all, |name| node(name).is_some());
            for node in quarantine.update(orphans.keys(), began.elapsed(), QUARANTINE) {
                if self.is_gone(&node).await || mutant::active("O53") {
                    for pod in orphans.get(&node).into_iter().flatten() {
                        self.bury(pod).await;
                    }
                }
            }
            sleep(PERIOD).await;
        }
    }

    async fn is_gone(&self, node: &str) -> bool {
        match self.node_api.get(&ObjectKey::new("", node)).await {
            Ok(_) => false,
            Err(error) => error.is_not_found(),
        }
    }

    /// Removes a pod whose end nobody confirms, as it was seen.
    async fn end(&self, pod: &Arc<Pod>) {
        if let Some(marked) = self.mark(pod, None).await {
            self.remove(pod, DeleteParams::exactly(&*marked).grace(0)).await;
        }
    }

    /// Removes a pod whose node is gone. It is marked as failed first, so that its owner counts it as such.
    async fn bury(&self, pod: &Arc<Pod>) {
        if pods::is_finished(pod) && mutant::active("O61") {
            return;
        }
        let is_unmarked = !pods::is_finished(pod) && mutant::active("O187");
        if is_unmarked || self.mark(pod, Some(NODE_IS_GONE)).await.is_some() {
            // A pod is bound once: whatever else changed meanwhile, its node stays the one that is gone.
            self.remove(pod, DeleteParams::of(&**pod).grace(0)).await;
        }
    }

    /// Marks a pod as failed if it has not ended; answers it as it is then, `None` if it is not to be removed now.
    async fn mark(&self, pod: &Arc<Pod>, disruption: Option<&str>) -> Option<Arc<Pod>> {
        let Some(failed) = failed(pod, disruption) else {
            return Some(pod.clone());
        };
        match self.pod_api.replace_status(&failed).await {
            Ok(marked) => Some(marked),
            Err(error) if error.is_not_found() => None,
            Err(error) => {
                report("mark", pod, &error);
                None
            }
        }
    }

    async fn remove(&self, pod: &Arc<Pod>, params: DeleteParams) {
        match self.pod_api.delete(&pod.key(), &params).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => report("remove", pod, &error),
        }
    }
}

fn report(what: &str, pod: &Pod, error: &Error) {
    log::line("podgc", format_args!("cannot {what} pod {}: {error}", pod.key()));
}

/// The pod as failed, for a disruption if there is one; `None` when it has ended.
fn failed(pod: &Pod, disruption: Option<&str>) -> Option<Pod> {
    if pods::is_finished(pod) {
        return None;
    }
    let marked = disruption.and_then(|message| disrupted(pod, "DeletionByPodGC", message));
    let mut marked = marked.unwrap_or_else(|| pod.clone());
    marked.status.get_or_insert_default().phase = Some("Failed".to_owned());
    Some(marked)
}
