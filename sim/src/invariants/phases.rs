//! K1: phases only move Pending → Running → Succeeded or Failed; a finished pod never runs again.
//!
//! Checked over every write of a pod, and over every container that starts: none may start for a pod that the store
//! already had as finished. `Unknown` and an empty phase count as Pending.

use super::{Invariant, Report};
use crate::model::{Cluster, Seen};

/// See the module.
pub struct Phases;

fn rank(phase: &str) -> u32 {
    match phase {
        "Succeeded" | "Failed" => 2,
        "Running" => 1,
        _ => 0,
    }
}

impl Invariant for Phases {
    fn id(&self) -> &'static str {
        "K1"
    }

    fn statement(&self) -> &'static str {
        "Phases only move Pending → Running → Succeeded or Failed; a finished pod never runs again."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Change(change) => {
                let (Some(before), Some(after)) = (&change.before, &change.after) else {
                    return;
                };
                if after.pod().is_none() || before.uid() != after.uid() {
                    return;
                }
                let (old, new) = (before.phase(), after.phase());
                if rank(new) < rank(old) || (rank(old) == 2 && old != new) {
                    let node = format!("kubelet/{}", after.node_name());
                    report.broken(
                        self.id(),
                        format!(
                            "{} (uid {}) went from {old} to {new:?} at revision {}",
                            change.id,
                            after.uid(),
                            change.revision
                        ),
                        &[&node],
                    );
                }
            }
            Seen::ContainerStarted {
                machine,
                pod_uid,
                container,
                name,
                ..
            } => {
                if let Some(pod) = cluster.by_uid(pod_uid)
                    && pod.is_finished()
                {
                    let message = format!(
                        "container {name} ({container}) of {} (uid {pod_uid}) started on {machine} though the pod is {} since revision {}",
                        pod.id,
                        pod.phase(),
                        pod.revision
                    );
                    report.broken(
                        self.id(),
                        message,
                        &[&format!("kubelet/{machine}"), &format!("runtime/{machine}")],
                    );
                }
            }
            _ => {}
        }
    }
}
