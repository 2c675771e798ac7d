//! Q2: a pod is bound to a node that exists and is not being deleted.
//!
//! Checked at the write that binds. The API server writes a binding on the base of the node that it looked at, so that
//! no unlucky history passes: a scheduler whose picture is old is refused. Pods that are created with a node (daemons,
//! static pods) are not the scheduler's and not judged.

use super::{Invariant, Report};
use crate::model::{Cluster, Seen};

/// See the module.
pub struct TargetNode;

impl Invariant for TargetNode {
    fn id(&self) -> &'static str {
        "Q2"
    }

    fn statement(&self) -> &'static str {
        "A pod is bound to a node that exists and is not being deleted."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        let (Some(before), Some(after)) = (&change.before, &change.after) else {
            return;
        };
        let node = after.node_name();
        if after.pod().is_none() || !before.node_name().is_empty() || node.is_empty() {
            return;
        }
        let alive = cluster
            .find("nodes", "", node)
            .is_some_and(|node| !node.is_terminating());
        if !alive {
            report.broken(
                self.id(),
                format!(
                    "{} (uid {}) was bound at revision {} to {node}, which does not exist",
                    change.id,
                    after.uid(),
                    change.revision
                ),
                &["scheduler", "apiserver"],
            );
        }
    }
}
