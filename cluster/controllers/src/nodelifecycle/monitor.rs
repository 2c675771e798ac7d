//! Judges which nodes are silent, and which are given up.
//!
//! Every five seconds: *observe* by [`hearing`]; *plan* with [`health`](super::health) and
//! [`zones`](super::zones); *act* on conditions, taints and the readiness of pods, each write on the base of the
//! revision that was judged. Writes are made one after the other, and an answer may be waited for for long: it is
//! listened on meanwhile, and each decision rests on the last look.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use orrery_api::meta::Object;
use orrery_api::{clock, log, mutant};
use orrery_client::{Api, Cache, EventKind, Recorder};
use tokio::time::{Instant, sleep};

use super::hearing::{self, Hearing, PERIOD};
use super::marks::put_taints;
use super::taints::{self, Evict};
use super::zones::{Count, Disruption, Zones};
use crate::informers::{BY_NODE, Informers};
use crate::{Context, pods};

/// So often a write to a node is tried in one round: kube-controller-manager's number of tries.
const TRIES: usize = 5;
/// The pause before a mark is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// The part that judges.
pub(super) struct Monitor {
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    node_api: Api<Node>,
    pod_api: Api<Pod>,
    recorder: Recorder,
    grace: Duration,
    rate: f64,
    began: Instant,
    hearing: Arc<Hearing>,
    zones: Zones,
}

impl Monitor {
    pub(super) fn new(context: &Context, informers: &mut Informers, recorder: Recorder) -> Self {
        let (grace, began) = (context.options.node_monitor_grace, Instant::now());
        Monitor {
            nodes: informers.nodes.cache(),
            pods: informers.pods.cache(),
            node_api: Api::new(&context.client),
            pod_api: Api::new(&context.client),
            recorder,
            grace,
            rate: context.options.node_eviction_rate,
            began,
            hearing: Arc::new(Hearing::new(context, informers, grace, began)),
            zones: Zones::default(),
        }
    }

    pub(super) async fn run(&mut self) {
        let hearing = self.hearing.clone();
        loop {
            if hearing.look().await {
                tokio::select! {
                    biased;
                    () = self.act() => {}
                    () = hearing.go_on() => {}
                }
            }
            sleep(PERIOD).await;
        }
    }

    /// Does what follows from what was heard.
    async fn act(&mut self) {
        let mut judged = Vec::new();
        for node in self.nodes.list() {
            judged.push(if self.hearing.is_silent(&node) {
                self.mark(node).await
            } else {
                node
            });
        }
        if self.hearing.is_deaf() {
            return;
        }
        let witness = judged.is_empty() || self.hearing.has_witness();
        if self.zones.update(counts(&judged), witness) {
            // Nodes come back one by one after the control plane did: each gets its full grace.
            self.hearing.start_over();
            return;
        }
        // Who has been silent the longest is given up first.
        judged.sort_by_cached_key(|node| (Reverse(self.hearing.silence(node.name())), node.name().to_owned()));
        for node in judged {
            let node = self.taint(node).await;
            if self.hearing.is_silent(&node) && taints::status(&node, "Ready") == Some("Unknown") {
                let silence = self.hearing.silence(node.name());
                if silence > self.grace + 2 * PERIOD && mutant::active("O99") {
                    continue;
                }
                self.mark_pods(&node).await;
            }
        }
    }

    fn verdict(&self, node: &Node, now: Duration) -> Evict {
        match self.zones.disruption() {
            Disruption::Full => return Evict::Spare,
            Disruption::Unheard if taints::is_given_up(node) && mutant::active("O126") => return Evict::Spare,
            Disruption::Unheard | Disruption::None => {}
        }
        let lost = match taints::cause(node) {
            None => false,
            Some(_) if mutant::active("O02") => false,
            // What an earlier process concluded is not repeated before it was seen here, too.
            Some(taints::UNREACHABLE) => self.hearing.is_silent(node),
            Some(_) => taints::status(node, "Ready").is_some(),
        };
        if lost && !taints::is_given_up(node) && self.zones.may_give_up(&zone(node), self.rate, now) {
            Evict::GiveUp
        } else {
            Evict::Leave
        }
    }

    /// Brings the node's taints to what they should be; answers the node as it was judged last.
    async fn taint(&mut self, mut node: Arc<Node>) -> Arc<Node> {
        for _ in 0..TRIES {
            // By the time that it is: what was written before may have taken long.
            let now = self.began.elapsed();
            let evict = self.verdict(&node, now);
            let put = put_taints(&self.node_api, &node, evict).await;
            // What surely was not written spends nothing of what the zone may give up.
            let may_be_done = match &put {
                Ok(written) => *written,
                Err(error) => error.outcome_unknown(),
            };
            if evict == Evict::GiveUp && may_be_done {
                self.zones.gave_up(&zone(&node), now);
            }
            match put {
                Ok(_) => return node,
                // Somebody else has written it: it is judged anew as it is now.
                Err(error) if error.is_conflict() => {
                    let Some(live) = self.reread(&node).await else {
                        return node;
                    };
                    // What stood in the way may be this very write, which came twice.
                    if evict == Evict::GiveUp && taints::is_given_up(&live) {
                        self.zones.gave_up(&zone(&node), now);
                    }
                    node = live;
                }
                Err(error) => {
                    log::line("nodelifecycle", format_args!("cannot taint {}: {error}", node.name()));
                    return node;
                }
            }
        }
        node
    }

    /// Writes that nothing is known of a silent node; answers the node as it is then. A write that fails is tried again
    /// at once, but not for long: others wait for their turn.
    async fn mark(&self, mut node: Arc<Node>) -> Arc<Node> {
        let began = Instant::now();
        for _ in 0..TRIES {
            let Some(conditions) = taints::unknown_conditions(&node, &clock::now_time()) else {
                break;
            };
            let mut marked = (*node).clone();
            marked.status.get_or_insert_default().conditions = Some(conditions);
            match self.node_api.replace_status(&marked).await {
                Ok(marked) => return marked,
                // A conflict is a sign of life, or a twin's doing; the next look tells.
                Err(error) if error.is_conflict() || error.is_not_found() => break,
                Err(error) => log::line("nodelifecycle", format_args!("cannot mark {}: {error}", node.name())),
            }
            // It may have been written all the same.
            let Some(live) = self.reread(&node).await else { break };
            let is_heard = hearing::posted(&live) != hearing::posted(&node);
            node = live;
            if is_heard || !self.hearing.is_silent(&node) || began.elapsed() > PERIOD {
                break;
            }
            sleep(RETRY).await;
        }
        node
    }

    /// The node as the server has it now; `None` when it is gone, another has its name, or nobody says.
    async fn reread(&self, node: &Node) -> Option<Arc<Node>> {
        let live = self.node_api.get(&node.key()).await.ok()?;
        (live.uid() == node.uid()).then_some(live)
    }

    /// Takes the pods of a silent node out of service: nobody knows how they are.
    async fn mark_pods(&self, node: &Node) {
        for pod in self.pods.by_index(BY_NODE, node.name()) {
            let Some(marked) = not_ready(&pod) else { continue };
            match self.pod_api.replace_status(&marked).await {
                Ok(_) => {
                    let about = pod.object_reference();
                    self.recorder
                        .event(&about, EventKind::Warning, "NodeNotReady", "Node is not ready");
                }
                Err(error) if error.is_conflict() || error.is_not_found() => {}
                Err(error) => log::line("nodelifecycle", format_args!("cannot mark pod {}: {error}", pod.key())),
            }
        }
    }
}

fn counts(judged: &[Arc<Node>]) -> BTreeMap<String, Count> {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for node in judged {
        let count = counts.entry(zone(node)).or_default();
        if taints::cause(node).is_none() {
            count.healthy += 1
        } else {
            count.unhealthy += 1
        }
    }
    counts
}

/// The node's zone, told apart from those of the same name in other regions.
fn zone(node: &Node) -> String {
    let label = |name| node.label(name).unwrap_or_default();
    format!(
        "{}/{}",
        label("topology.kubernetes.io/region"),
        label("topology.kubernetes.io/zone")
    )
}

/// The pod without its readiness; `None` when it has none.
fn not_ready(pod: &Pod) -> Option<Pod> {
    pods::is_ready(pod).then(|| {
        let mut pod = pod.clone();
        let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
        for condition in conditions.iter_mut().filter(|condition| condition.type_ == "Ready") {
            condition.status = "False".to_owned();
            condition.last_transition_time = Some(clock::now_time());
        }
        pod
    })
}
