//! N1: a node is given up only if it was silent for its grace, and not when it is the control plane that is cut off.
//!
//! Judged when a node is marked as one of which nothing is known, and when it gets the taint `unreachable` that evicts:
//! there must have been a pause of 40 s in its renewals that ended within the controller's lag or lasts; and for the
//! taint some node must have been heard within that lag and 25 s more. Where none at all was heard for long, each has
//! its grace once more when one is heard again. Not judged: nodes that say themselves that they are not ready, and what
//! no controller asked for; the rate of evictions is judged beside (`eviction_rate`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{Invariant, MEMORY, Report, UNANSWERED};
use crate::model::{Asked, Cluster, Item, Seen};
use crate::scenario::Role;

const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// A pause in a node's renewals that may be its end: the grace of 50 s, counted from up to a renewal later.
const PAUSE: Duration = Duration::from_secs(40);
/// So lately somebody must have been heard.
const WITNESS: Duration = Duration::from_secs(25);

/// A controller whose answer is lost stands still until it gives the request up, and then goes on with its round.
const GIVES_UP: Duration = Duration::from_secs(40);

/// When nobody was heard for so long, that was seen: the controller looks every five seconds.
const NOBODY: Duration = Duration::from_secs(55);
/// So long after somebody is heard again no node is given up. A controller that began to listen while nobody was heard
/// takes that for no outage if it ends in time; a node has its grace from then all the same.
const ANEW: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Default)]
pub struct Silence {
    /// By node: when it last renewed its lease, and when its last long pause ended.
    heard: BTreeMap<String, (Duration, Option<Duration>)>,
    /// When any node was last heard, and when one was heard again after none was for long.
    any: (Duration, Option<Duration>),
    /// What controllers asked to write of nodes, lately: what is held up is carried out at another time.
    writes: VecDeque<Write>,
}

/// A controller's request to write a node.
struct Write {
    at: Duration,
    node: String,
    /// The revision that it rests on.
    base: Option<u64>,
}

/// When the node said last whether it is ready, by its own clock; none if it never has. Others say other things of it.
fn said(node: Option<&Arc<Item>>) -> Option<Timestamp> {
    let status = node?.node()?.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    let ready = conditions.find(|condition| condition.type_ == "Ready")?;
    Some(ready.last_heartbeat_time.as_ref()?.0)
}

impl Silence {
    /// Somebody is heard.
    fn hears(&mut self, now: Duration) {
        let (last, again) = &mut self.any;
        if now.saturating_sub(*last) >= NOBODY {
            *again = Some(now);
        }
        *last = now;
    }

    /// Somebody asks for something; perhaps to write a node.
    fn asked(&mut self, asked: &Asked, now: Duration) {
        let path = asked
            .path
            .as_ref()
            .filter(|path| &*path.resource == "nodes" && asked.method != http::Method::GET);
        if let Some(path) = path.filter(|_| asked.client.starts_with("controller-manager")) {
            while self.writes.front().is_some_and(|write| write.at + MEMORY <= now) {
                self.writes.pop_front();
            }
            self.writes.push_back(Write {
                at: now,
                node: path.name.clone(),
                base: asked.base,
            });
        }
    }

    /// Whether the write that follows on `before` may have been decided before `again`: it was asked for by then, or
    /// stood behind another one of its round whose answer did not come.
    fn was_decided(&self, before: &Item, again: Duration) -> bool {
        self.writes.iter().filter(|write| write.at < again).any(|write| {
            let own = write.node == before.id.name && write.base == Some(before.revision);
            own || write.at + UNANSWERED > again
        })
    }
}

fn is_given_up(node: &Item) -> bool {
    let taints = node.node().and_then(|node| node.spec.as_ref()?.taints.as_ref());
    taints
        .into_iter()
        .flatten()
        .any(|taint| taint.key == UNREACHABLE && taint.effect == "NoExecute")
}

/// Whether the node is shown as one of which nothing is known: its pods are taken out of service then.
pub(super) fn is_unknown(node: &Item) -> bool {
    let status = node.node().and_then(|node| node.status.as_ref());
    let conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .filter(|condition| condition.type_ == "Ready")
        .any(|condition| condition.status == "Unknown")
}

impl Invariant for Silence {
    fn id(&self) -> &'static str {
        "N1"
    }

    fn statement(&self) -> &'static str {
        "A node is given up only after its grace, and none when it is the control plane that is cut off."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let now = cluster.now;
        let change = match seen {
            Seen::Change(change) => change,
            Seen::Asked(asked) => return self.asked(asked, now),
            _ => return,
        };
        if &*change.id.resource == "leases.coordination.k8s.io" && change.id.namespace == "kube-node-lease" {
            if change.after.is_none() {
                return;
            }
            let heard = self.heard.entry(change.id.name.clone()).or_insert((now, None));
            if now.saturating_sub(heard.0) >= PAUSE {
                heard.1 = Some(now);
            }
            heard.0 = now;
            self.hears(now);
            return;
        }
        let is_node = &*change.id.resource == "nodes";
        if is_node && said(change.before.as_ref()) != said(change.after.as_ref()) {
            self.hears(now);
        }
        let (Some(before), Some(after)) = (&change.before, &change.after) else {
            return;
        };
        let given_up = is_given_up(after) && !is_given_up(before);
        let marked = is_unknown(after) && !is_unknown(before);
        if after.node().is_none() || !(given_up || marked) {
            return;
        }
        if !self.writes.iter().any(|write| write.node == change.id.name) {
            return;
        }
        let lag = cluster.lag(Role::ControllerManager);
        let Some((last, paused)) = self.heard.get(&change.id.name) else {
            return;
        };
        let silent = now.saturating_sub(*last) >= PAUSE || paused.is_some_and(|end| end + lag + GIVES_UP > now);
        let witness = self.heard.values().any(|(last, _)| *last + WITNESS + lag > now);
        let again = self.any.1.filter(|again| given_up && *again + ANEW > now);
        let again = again.filter(|again| !self.was_decided(before, *again));
        let wrong = match (silent, witness) {
            (true, true) if again.is_some() => format!("right when somebody was heard again, at {again:?}"),
            (false, _) => format!("though it was heard at {last:?}"),
            (true, false) if given_up => "though no node at all was heard lately".to_owned(),
            (true, _) => return,
        };
        let what = if given_up { "given up" } else { "marked as unknown" };
        let message = format!("{} was {what} at revision {} {wrong}", change.id, change.revision);
        report.broken(self.id(), message, &["controller-manager", "fault"]);
    }
}
