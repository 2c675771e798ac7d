//! K1: phases only move Pending → Running → Succeeded or Failed; a finished pod never runs again.
//!
//! Checked over every write of a pod, and over every container that starts: none may start for a pod that the store
//! already had as finished. `Unknown` and an empty phase count as Pending.
//!
//! Not judged: a phase that is written by a request which left its client before the pod had the phase before, and was
//! held up. The API refuses what such a write says of containers that do not run again, and not its phase.

use super::writes::StatusWrites;
use super::{Invariant, Report};
use crate::model::{Cluster, Seen};

/// See the module.
#[derive(Default)]
pub struct Phases {
    writes: StatusWrites,
}

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
        self.writes.observe(seen, cluster);
        match seen {
            Seen::Change(change) => {
                let (Some(before), Some(after)) = (&change.before, &change.after) else {
                    return;
                };
                if after.pod().is_none() || before.uid() != after.uid() {
                    return;
                }
                let (old, new) = (before.phase(), after.phase());
                let goes_back = rank(new) < rank(old) || (rank(old) == 2 && old != new);
                if goes_back && !self.writes.is_late(change) {
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
