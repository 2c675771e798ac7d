//! Listens to the nodes: who was heard, and since when the others are silent.
//!
//! A look at leases and nodes every five seconds: from the caches while they move, from the server when they have stood
//! still for longer than a renewal is due, or when something is about to be decided. A look that fails is no look:
//! silence does not grow while this process may be the one that is cut off. Whatever is said of nodes is said as of the
//! last look that succeeded. Looks go on while a round waits for answers to its writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use orrery_api::meta::Object;
use orrery_api::{log, mutant};
use orrery_client::{Api, Cache, Error, ListParams};
use tokio::time::{Instant, sleep};

use super::health::{Health, Heartbeat};
use super::taints;
use crate::Context;
use crate::informers::Informers;

/// The time between looks: kube-controller-manager's `--node-monitor-period`.
pub(super) const PERIOD: Duration = Duration::from_secs(5);
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

/// What is known of the nodes' signs of life.
pub(super) struct Hearing {
    nodes: Cache<Node>,
    leases: Cache<Lease>,
    lease_api: Api<Lease>,
    grace: Duration,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The newest revision of leases that was seen in the cache.
    seen: u64,
    /// When it was seen first.
    moved: Duration,
    /// When the last look succeeded.
    looked: Duration,
    health: Health,
}

impl Hearing {
    /// Nodes are silent when nothing was heard of them for longer than `grace`.
    pub(super) fn new(context: &Context, informers: &mut Informers, grace: Duration, began: Instant) -> Self {
        Hearing {
            nodes: informers.nodes.cache(),
            leases: informers.leases.cache(),
            lease_api: Api::new(&context.client),
            grace,
            began,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what there is to hear; false if that failed.
    pub(super) async fn look(&self) -> bool {
        match self.ask().await {
            Ok(()) => true,
            Err(error) => {
                log::line("nodelifecycle", format_args!("cannot look at the nodes: {error}"));
                false
            }
        }
    }

    /// Goes on looking, for as long as somebody waits for it.
    pub(super) async fn go_on(&self) {
        if !goes_on() {
            std::future::pending::<()>().await;
        }
        loop {
            sleep(PERIOD).await;
            self.look().await;
        }
    }

    async fn ask(&self) -> Result<(), Error> {
        if self.moves() {
            let now = self.hear(&self.leases.in_namespace(LEASES));
            let silent = |node: &Node| self.state().health.silence(node.name(), now) > self.grace;
            let decided = |node: &Node| taints::status(node, "Ready") == Some("Unknown") && taints::is_given_up(node);
            if !self.nodes.list().iter().any(|node| silent(node) && !decided(node)) {
                self.state().looked = now;
                return Ok(());
            }
        }
        let params = ListParams {
            namespace: Some(LEASES.to_owned()),
            ..ListParams::default()
        };
        let live = self.lease_api.list(&params).await?;
        let now = self.hear(&live.items);
        self.state().looked = now;
        Ok(())
    }

    /// Whether the cache of leases has moved of late.
    fn moves(&self) -> bool {
        let revision = self.leases.revision();
        let now = self.began.elapsed();
        let mut state = self.state();
        if revision > state.seen {
            state.seen = revision;
            state.moved = now;
        }
        now.saturating_sub(state.moved) < STILL
    }

    /// Takes in what `leases` and the nodes' statuses say; answers when that was.
    fn hear(&self, leases: &[Arc<Lease>]) -> Duration {
        let renewed: BTreeMap<String, Renewal> = leases.iter().map(|lease| renewal(lease)).collect();
        let nodes = self.nodes.list();
        let beats = nodes.iter().map(|node| {
            let (lease_revision, lease) = renewed.get(node.name()).copied().unwrap_or_default();
            let beat = Heartbeat {
                uid: node.uid().to_owned(),
                lease,
                lease_revision,
                status: posted(node),
            };
            (node.name().to_owned(), beat)
        });
        let beats = beats.collect();
        let now = self.began.elapsed();
        self.state().health.look(now, GAP, beats);
        now
    }

    /// How long the node was silent.
    pub(super) fn silence(&self, node: &str) -> Duration {
        let state = self.state();
        state.health.silence(node, self.as_of(&state))
    }

    /// Whether the node was silent for longer than its grace; nobody was when the last look is too old.
    pub(super) fn is_silent(&self, node: &Node) -> bool {
        self.silence(node.name()) > self.grace && !self.is_deaf()
    }

    /// Whether some node was heard of late: proof that nodes can reach the API server at all.
    pub(super) fn has_witness(&self) -> bool {
        let state = self.state();
        state.health.has_witness(self.as_of(&state), recent(self.grace))
    }

    /// Whether the last look is so old that nothing may be decided by it: this process stood still since then, or
    /// cannot reach the server.
    pub(super) fn is_deaf(&self) -> bool {
        goes_on() && self.began.elapsed() > self.state().looked + GAP
    }

    /// Every node is given its full grace again.
    pub(super) fn start_over(&self) {
        let mut state = self.state();
        let looked = state.looked;
        state.health.start_over(looked);
    }

    /// The moment as of which nodes are judged: that of the last look. How long answers to writes were waited for since
    /// then says nothing of them.
    fn as_of(&self, state: &State) -> Duration {
        let now = self.began.elapsed();
        if now > state.looked + PERIOD && mutant::active("O103") {
            now
        } else {
            state.looked
        }
    }
}

/// Whether looks go on while a round waits for its writes: the mutant is of a time when they did not.
fn goes_on() -> bool {
    !mutant::is_on("O103")
}

/// How lately somebody must have been heard. When all nodes are cut off at once, the first of them counts as silent
/// `grace` after its last renewal, up to 10 s before the cut: what was heard before the cut must be too old by then.
fn recent(grace: Duration) -> Duration {
    RECENT.min(grace.saturating_sub(SHORTEST)).max(SHORTEST)
}

/// When the node's kubelet last posted its status, by the node's clock. Its word is the condition `Ready`, as for
/// Kubernetes: others write conditions of their own, and go on when the kubelet is lost.
pub(super) fn posted(node: &Node) -> Option<Timestamp> {
    let is_others = |condition: &NodeCondition| !taints::KUBELETS.contains(&condition.type_.as_str());
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .filter(|condition| condition.type_ == "Ready" || (is_others(condition) && mutant::active("O128")))
        // This is written by the monitor, not by the kubelet.
        .filter(|condition| condition.reason.as_deref() != Some(taints::NEVER_UPDATED))
        .filter_map(|condition| condition.last_heartbeat_time.as_ref().map(|time| time.0))
        .max()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_the_kubelet_says_of_its_readiness_is_a_sign_of_life() {
        let says = |kind: &str, reason: &str, minute: u32| {
            let time = format!("2026-01-01T00:{minute:02}:00Z");
            json!({"type": kind, "status": "True", "reason": reason, "lastHeartbeatTime": time})
        };
        let posted = |conditions: serde_json::Value| {
            let node = json!({"metadata": {"name": "n"}, "status": {"conditions": conditions}});
            posted(&serde_json::from_value(node).expect("a node")).map(|time| time.to_string())
        };
        let kubelet = says("Ready", "KubeletReady", 1);
        let detector = says("KernelDeadlock", "KernelHasNoDeadlock", 2);
        assert_eq!(
            posted(json!([detector, kubelet])).as_deref(),
            Some("2026-01-01T00:01:00Z")
        );
        assert_eq!(posted(json!([detector])), None);
        assert_eq!(posted(json!([says("Ready", taints::NEVER_UPDATED, 3)])), None);
    }
}
