//! Q2: a pod is bound to a node that exists and is not being deleted.
//!
//! Checked at the write that binds. The scheduler cannot know of a deletion in the same moment: a node that was there
//! within the last minute passes, since the kubelet or the pod collector clears up; one that is gone for longer is a
//! ghost. Pods that are created with a node (daemons, static pods) are not the scheduler's and not judged.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Invariant, Report};
use crate::model::{Cluster, Seen};

const GHOST: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Default)]
pub struct TargetNode {
    /// When nodes that are gone or going were last well.
    gone: BTreeMap<String, Duration>,
}

impl Invariant for TargetNode {
    fn id(&self) -> &'static str {
        "Q2"
    }

    fn statement(&self) -> &'static str {
        "A pod is bound to a node that exists and is not being deleted."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        if &*change.id.resource == "nodes" {
            match &change.after {
                Some(node) if !node.is_terminating() => {
                    self.gone.remove(&change.id.name);
                }
                _ => {
                    self.gone.entry(change.id.name.clone()).or_insert(cluster.now);
                }
            }
        }
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
        let just_gone = self.gone.get(node).is_some_and(|since| *since + GHOST > cluster.now);
        if !alive && !just_gone {
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
