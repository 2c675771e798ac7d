//! Judges which nodes are silent, and which are given up.
//!
//! Every five seconds: *observe* leases and nodes — from the caches while they move, from the server when they have
//! stood still for longer than a renewal is due, or when something is about to be decided; *plan* with
//! [`health`](super::health) and [`zones`](super::zones); *act* on conditions, taints and the readiness of pods, each
//! write on the base of the revision that was judged.
//! A look that fails is no look: silence does not grow while this process may be the one that is cut off.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use orrery_api::meta::Object;
use orrery_api::{clock, log, mutant};
use orrery_client::{Api, Cache, Error, EventKind, ListParams, Recorder};
use tokio::time::{Instant, sleep};

use super::health::{Health, Heartbeat};
use super::marks::put_taints;
use super::taints::{self, Evict};
use super::zones::{Count, Zones};
use crate::informers::{BY_NODE, Informers};
use crate::{Context, pods};

/// The time between looks: kube-controller-manager's `--node-monitor-period`.
const PERIOD: Duration = Duration::from_secs(5);
/// The time between looks from which on this process counts as having been deaf in between.
const GAP: Duration = Duration::from_secs(12);
/// Kubelets renew their lease every 10 s; somebody must have been heard within two such times and a look.
const RECENT: Duration = Duration::from_secs(25);
/// A healthy node is heard at least this often: a renewal and a look.
const SHORTEST: Duration = Duration::from_secs(15);
/// Leases that have not moved for so long should have: the nodes renew theirs every 10 s, all at once if they began so.
const STILL: Duration = SHORTEST;
/// The namespace of the nodes' leases.
const LEASES: &str = "kube-node-lease";

/// The part that judges.
pub(super) struct Monitor {
    nodes: Cache<Node>,
    leases: Cache<Lease>,
    pods: Cache<Pod>,
    node_api: Api<Node>,
    lease_api: Api<Lease>,
    pod_api: Api<Pod>,
    recorder: Recorder,
    grace: Duration,
    rate: f64,
    began: Instant,
    /// The newest revision of the leases that was seen in the cache.
    seen: u64,
    /// When it was seen first.
    moved: Duration,
    health: Health,
    zones: Zones,
}

/// A node as it is judged.
struct Judged {
    node: Arc<Node>,
    silence: Duration,
}

impl Monitor {
    pub(super) fn new(context: &Context, informers: &mut Informers, recorder: Recorder) -> Self {
        Monitor {
            nodes: informers.nodes.cache(),
            leases: informers.leases.cache(),
            pods: informers.pods.cache(),
            node_api: Api::new(&context.client),
            lease_api: Api::new(&context.client),
            pod_api: Api::new(&context.client),
            recorder,
            grace: context.options.node_monitor_grace,
            rate: context.options.node_eviction_rate,
            began: Instant::now(),
            seen: 0,
            moved: Duration::ZERO,
            health: Health::default(),
            zones: Zones::default(),
        }
    }

    pub(super) async fn run(&mut self) {
        loop {
            match self.look().await {
                Ok(looked) => self.act(looked).await,
                Err(error) => log::line("nodelifecycle", format_args!("cannot look at the nodes: {error}")),
            }
            sleep(PERIOD).await;
        }
    }

    /// Takes in what there is to hear; answers when that was.
    async fn look(&mut self) -> Result<Duration, Error> {
        let revision = self.leases.revision();
        let now = self.began.elapsed();
        if revision > self.seen {
            self.seen = revision;
            self.moved = now;
        }
        if now.saturating_sub(self.moved) < STILL {
            let renewed = self.leases.list().iter().map(|lease| renewal(lease)).collect();
            let looked = self.hear(renewed);
            let silent = |node: &Node| self.health.silence(node.name(), looked) > self.grace;
            let decided = |node: &Node| taints::status(node, "Ready") == Some("Unknown") && taints::is_given_up(node);
            if !self.nodes.list().iter().any(|node| silent(node) && !decided(node)) {
                return Ok(looked);
            }
        }
        let params = ListParams {
            namespace: Some(LEASES.to_owned()),
            ..ListParams::default()
        };
        let live = self.lease_api.list(&params).await?;
        Ok(self.hear(live.items.iter().map(|lease| renewal(lease)).collect()))
    }

    fn hear(&mut self, renewed: BTreeMap<String, Renewal>) -> Duration {
        let nodes = self.nodes.list();
        let beats = nodes.iter().map(|node| {
            let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            // These are written here, not by the kubelet.
            let posted = conditions.filter(|condition| condition.reason.as_deref() != Some(taints::NEVER_UPDATED));
            let (lease_revision, lease) = renewed.get(node.name()).copied().unwrap_or_default();
            let beat = Heartbeat {
                uid: node.uid().to_owned(),
                lease,
                lease_revision,
                status: posted
                    .filter_map(|condition| condition.last_heartbeat_time.as_ref().map(|time| time.0))
                    .max(),
            };
            (node.name().to_owned(), beat)
        });
        let beats = beats.collect();
        let looked = self.began.elapsed();
        self.health.look(looked, GAP, beats);
        looked
    }

    /// Does what follows from what was heard at `looked`. A request may hang for long: whoever was heard since then,
    /// but not here, is not silent for it.
    async fn act(&mut self, looked: Duration) {
        let mut judged = Vec::new();
        for node in self.nodes.list() {
            let now = self.began.elapsed();
            let late = now > looked + PERIOD && mutant::active("O103");
            let silence = self.health.silence(node.name(), if late { now } else { looked });
            let node = if silence > self.grace {
                self.mark(node).await
            } else {
                node
            };
            judged.push(Judged { node, silence });
        }
        // Marking takes time when the server is slow: witnesses count by the time it is now.
        let now = self.began.elapsed();
        let witness = judged.is_empty() || self.health.has_witness(now, self.recent());
        if self.zones.update(counts(&judged), witness) {
            // Nodes come back one by one after the control plane did: each gets its full grace.
            self.health.start_over(now);
            return;
        }
        // Who has been silent the longest is given up first.
        judged.sort_by(|a, b| b.silence.cmp(&a.silence).then_with(|| a.node.name().cmp(b.node.name())));
        for Judged { node, silence } in &judged {
            // By the time that it is: what was written before may have taken long.
            let evict = self.verdict(node, *silence, self.began.elapsed());
            if let Err(error) = put_taints(&self.node_api, node, evict).await
                && !error.is_conflict()
            {
                log::line("nodelifecycle", format_args!("cannot taint {}: {error}", node.name()));
            }
            if *silence > self.grace && taints::status(node, "Ready") == Some("Unknown") {
                if *silence > self.grace + 2 * PERIOD && mutant::active("O99") {
                    continue;
                }
                self.mark_pods(node).await;
            }
        }
    }

    /// How lately somebody must have been heard. When all nodes are cut off at once, the first of them counts as silent
    /// `grace` after its last renewal, up to 10 s before the cut: what was heard before the cut must be too old by
    /// then.
    fn recent(&self) -> Duration {
        RECENT.min(self.grace.saturating_sub(SHORTEST)).max(SHORTEST)
    }

    fn verdict(&mut self, node: &Node, silence: Duration, now: Duration) -> Evict {
        if self.zones.is_disrupted() {
            return Evict::Spare;
        }
        let lost = match taints::cause(node) {
            None => false,
            Some(_) if mutant::active("O02") => false,
            // What an earlier process concluded is not repeated before it was seen here, too.
            Some(taints::UNREACHABLE) => silence > self.grace,
            Some(_) => taints::status(node, "Ready").is_some(),
        };
        if lost && !taints::is_given_up(node) && self.zones.may_give_up(&zone(node), self.rate, now) {
            Evict::GiveUp
        } else {
            Evict::Leave
        }
    }

    /// Writes that nothing is known of a silent node; answers the node as it is then.
    async fn mark(&self, node: Arc<Node>) -> Arc<Node> {
        let Some(conditions) = taints::unknown_conditions(&node, &clock::now_time()) else {
            return node;
        };
        let mut marked = (*node).clone();
        marked.status.get_or_insert_default().conditions = Some(conditions);
        match self.node_api.replace_status(&marked).await {
            Ok(marked) => marked,
            Err(error) => {
                // A conflict is a sign of life, or a twin's doing; the next look tells.
                if !error.is_conflict() && !error.is_not_found() {
                    log::line("nodelifecycle", format_args!("cannot mark {}: {error}", node.name()));
                }
                node
            }
        }
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

/// A lease's revision and when it was renewed, by its holder's clock.
type Renewal = (u64, Option<Timestamp>);

fn renewal(lease: &Lease) -> (String, Renewal) {
    let renewed = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.renew_time.as_ref())
        .map(|time| time.0);
    (lease.name().to_owned(), (lease.revision(), renewed))
}

fn counts(judged: &[Judged]) -> BTreeMap<String, Count> {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for Judged { node, .. } in judged {
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
