//! Q1: a pod is bound once: its node, once set, never changes, and the write that sets it says in the pod's status that
//! it is scheduled. One that is being deleted is not bound.
//!
//! Checked over every write of a pod. The API server writes a binding on the base of the pod that it looked at, so that
//! no unlucky history passes.

use super::{Invariant, Report};
use crate::model::{Cluster, Seen};

/// See the module.
pub struct BoundOnce;

impl Invariant for BoundOnce {
    fn id(&self) -> &'static str {
        "Q1"
    }

    fn statement(&self) -> &'static str {
        "A pod is bound once, not while it is being deleted, and says from then on that it is scheduled."
    }

    fn observe(&mut self, seen: &Seen<'_>, _cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        let (Some(before), Some(after)) = (&change.before, &change.after) else {
            return;
        };
        let (old, new) = (before.node_name(), after.node_name());
        if before.uid() != after.uid() || old == new {
            return;
        }
        let wrong = if before.is_terminating() {
            "though it was being deleted"
        } else {
            "and does not say that it is scheduled"
        };
        if old.is_empty() && (before.is_terminating() || !after.condition("PodScheduled")) {
            let message = format!(
                "{} (uid {}) was bound to {new} at revision {}, {wrong}",
                change.id,
                after.uid(),
                change.revision
            );
            report.broken(self.id(), message, &["scheduler", "apiserver"]);
        }
        if !old.is_empty() {
            report.broken(
                self.id(),
                format!(
                    "{} (uid {}) was bound to {old}, and at revision {} to {new:?}",
                    change.id,
                    after.uid(),
                    change.revision
                ),
                &["scheduler", "apiserver"],
            );
        }
    }
}
