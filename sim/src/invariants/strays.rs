//! Pods that a controller manager asked for which is no longer in charge: whoever follows cannot know of a request that
//! is still on its way, and makes its own.
//!
//! Kubernetes does not fence its controllers; what is then too much is taken away again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::UNANSWERED;
use crate::model::{Asked, Cluster, Item, ObjectId, Seen};
use crate::scenario::Role;

/// See the module.
#[derive(Default)]
pub(super) struct Strays {
    /// Since when the controller manager in charge may be so.
    in_charge: Duration,
    /// The creates of pods that are being carried out, by number, with when each left.
    creates: BTreeMap<u64, (ObjectId, Duration)>,
    /// When pods came that nobody in charge knew of, by uid.
    pods: BTreeMap<String, Duration>,
}

/// The pod that `asked` creates.
fn created(asked: &Asked) -> Option<ObjectId> {
    let path = asked.path.as_ref()?;
    let creates = &*path.resource == "pods" && path.subresource.is_empty() && asked.method == http::Method::POST;
    creates.then_some(ObjectId {
        name: asked.named.clone()?,
        ..path.id()
    })
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
                let create = created(asked).map(|pod| (*execution, (pod, asked.at)));
                self.creates.extend(create);
            }
            Seen::Answered(_, answer) => {
                self.creates.remove(&answer.execution);
            }
            Seen::Lost { execution } => {
                self.creates.remove(execution);
            }
            Seen::Change(change) => {
                let after = change.after.as_deref();
                let Some(pod) = after.filter(|pod| change.is_create() && pod.is_live_pod()) else {
                    return;
                };
                let left = self.creates.values().filter(|(id, _)| *id == change.id);
                if left
                    .map(|(_, left)| *left)
                    .min()
                    .is_some_and(|left| left < self.in_charge)
                {
                    self.pods.retain(|_, came| is_news(*came, cluster));
                    self.pods.insert(pod.uid().to_owned(), cluster.now);
                }
            }
            _ => {}
        }
    }

    /// Whether the pod is one that whoever is in charge may not know of yet.
    pub(super) fn has(&self, pod: &Item, cluster: &Cluster) -> bool {
        self.pods.get(pod.uid()).is_some_and(|came| is_news(*came, cluster))
    }
}
