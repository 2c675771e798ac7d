//! Pods, and sizes of replica sets, that a controller manager asked for which is no longer in charge: whoever follows
//! cannot know of a request that is still on its way, and makes its own.
//!
//! Kubernetes does not fence its controllers; what is then too much is taken away again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::UNANSWERED;
use crate::model::{Asked, Change, Cluster, Item, ObjectId, Seen};
use crate::scenario::Role;

/// See the module.
#[derive(Default)]
pub(super) struct Strays {
    /// Since when the controller manager in charge may be so.
    in_charge: Duration,
    /// The writes that are being carried out, by number: what each makes or changes, and when it left.
    writes: BTreeMap<u64, (ObjectId, Duration)>,
    /// When pods and sizes came that nobody in charge knew of, by the uid of the pod or the set.
    came: BTreeMap<String, Duration>,
}

/// The pod that `asked` creates, or the replica set that it writes.
fn written(asked: &Asked) -> Option<ObjectId> {
    let path = asked.path.as_ref().filter(|path| path.subresource.is_empty())?;
    match (&*path.resource, &asked.method) {
        ("pods", &http::Method::POST) => Some(ObjectId {
            name: asked.named.clone()?,
            ..path.id()
        }),
        ("replicasets.apps", &http::Method::PUT | &http::Method::PATCH) => Some(path.id()),
        _ => None,
    }
}

/// Whether it is more than there was: a pod that was created, or a replica set that was written.
fn adds(change: &Change, after: &Item) -> bool {
    change.is_create() && after.is_live_pod() || after.replica_set().is_some()
}

/// Whether from now on another controller manager is in charge, or the same one begins anew.
pub(super) fn takes_charge(seen: &Seen<'_>) -> bool {
    matches!(seen, Seen::Leads { process } if process.starts_with("controller-manager/"))
}

/// Whether a controller manager may not know yet of what came at `came`.
fn is_news(came: Duration, cluster: &Cluster) -> bool {
    came + cluster.lag(Role::ControllerManager) + UNANSWERED > cluster.now
}

impl Strays {
    /// Keeps up with what happens; to be called with all that is seen.
    pub(super) fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster) {
        if takes_charge(seen) {
            self.in_charge = cluster.now;
        }
        match seen {
            Seen::Begun { execution, asked } => {
                let write = written(asked).map(|id| (*execution, (id, asked.at)));
                self.writes.extend(write);
            }
            Seen::Answered(_, answer) => {
                self.writes.remove(&answer.execution);
            }
            Seen::Lost { execution } => {
                self.writes.remove(execution);
            }
            Seen::Change(change) => {
                let after = change.after.as_deref();
                let Some(after) = after.filter(|after| adds(change, after)) else {
                    return;
                };
                let left = self.writes.values().filter(|(id, _)| *id == change.id);
                if left
                    .map(|(_, left)| *left)
                    .min()
                    .is_some_and(|left| left < self.in_charge)
                {
                    self.came.retain(|_, came| is_news(*came, cluster));
                    self.came.insert(after.uid().to_owned(), cluster.now);
                }
            }
            _ => {}
        }
    }

    /// Whether this is a pod, or a set of a size, that whoever is in charge may not know of yet.
    pub(super) fn has(&self, item: &Item, cluster: &Cluster) -> bool {
        self.came.get(item.uid()).is_some_and(|came| is_news(*came, cluster))
    }
}
