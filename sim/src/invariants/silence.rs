//! N1: a node is given up only if it was silent for its grace, and not when it is the control plane that is cut off.
//!
//! Judged when a node gets the taint `unreachable` that evicts: there must have been a pause of 30 s in its renewals that
//! ended within the controller's lag or lasts, and within that lag and 25 s more some node must have been heard. Not
//! judged: nodes that say themselves that they are not ready, and the rate of evictions.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Invariant, Report};
use crate::model::{Cluster, Item, Seen};
use crate::scenario::Role;

const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// A pause in a node's renewals that may be its end: the grace of 40 s, counted from up to a renewal later.
const PAUSE: Duration = Duration::from_secs(30);
/// So lately somebody must have been heard.
const WITNESS: Duration = Duration::from_secs(25);

/// A controller whose answer is lost stands still until it gives the request up, and then goes on with its round.
const GIVES_UP: Duration = Duration::from_secs(40);

/// See the module.
#[derive(Default)]
pub struct Silence {
    /// By node: when it last renewed its lease, and when its last long pause ended.
    heard: BTreeMap<String, (Duration, Option<Duration>)>,
}

fn is_given_up(node: &Item) -> bool {
    let taints = node.node().and_then(|node| node.spec.as_ref()?.taints.as_ref());
    taints
        .into_iter()
        .flatten()
        .any(|taint| taint.key == UNREACHABLE && taint.effect == "NoExecute")
}

impl Invariant for Silence {
    fn id(&self) -> &'static str {
        "N1"
    }

    fn statement(&self) -> &'static str {
        "A node is given up only after its grace, and none when it is the control plane that is cut off."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        let now = cluster.now;
        if &*change.id.resource == "leases.coordination.k8s.io" && change.id.namespace == "kube-node-lease" {
            let heard = self.heard.entry(change.id.name.clone()).or_insert((now, None));
            if now.saturating_sub(heard.0) >= PAUSE {
                heard.1 = Some(now);
            }
            heard.0 = now;
            return;
        }
        let (Some(before), Some(after)) = (&change.before, &change.after) else {
            return;
        };
        if after.node().is_none() || !is_given_up(after) || is_given_up(before) {
            return;
        }
        let lag = cluster.lag(Role::ControllerManager);
        let Some((last, paused)) = self.heard.get(&change.id.name) else {
            return;
        };
        let silent = now.saturating_sub(*last) >= PAUSE || paused.is_some_and(|end| end + lag + GIVES_UP > now);
        let witness = self.heard.values().any(|(last, _)| *last + WITNESS + lag > now);
        let wrong = match (silent, witness) {
            (false, _) => format!("though it was heard at {last:?}"),
            (true, false) => "though no node at all was heard lately".to_owned(),
            (true, true) => return,
        };
        let message = format!("{} was given up at revision {} {wrong}", change.id, change.revision);
        report.broken(self.id(), message, &["controller-manager", "fault"]);
    }
}
