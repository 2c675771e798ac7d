//! K1: phases only move Pending → Running → Succeeded or Failed; a finished pod never runs again.
//!
//! Checked over every write of a pod, and over every container that starts: none may start for a pod that the store
//! already had as finished. `Unknown` and an empty phase count as Pending. A pod becomes Running only when each of the
//! containers that its status shows has been started.
//!
//! Not judged: a phase that is written by a request which left its client before the pod had the phase before, and was
//! held up. The API refuses what such a write says of containers that do not run again, and not its phase.

use std::collections::{BTreeMap, BTreeSet};

use super::writes::StatusWrites;
use super::{Invariant, Report};
use crate::model::{Cluster, Item, Seen};

/// See the module.
#[derive(Default)]
pub struct Phases {
    writes: StatusWrites,
    /// The names of the containers that have been started, by the pod's uid.
    begun: BTreeMap<String, BTreeSet<String>>,
}

impl Phases {
    /// The container that was never started, if `pod` shows one.
    fn unbegun<'a>(&self, pod: &'a Item) -> Option<&'a str> {
        let begun = self.begun.get(pod.uid());
        let status = pod.pod()?.status.as_ref()?;
        let mut names = status.container_statuses.iter().flatten().map(|own| own.name.as_str());
        names.find(|name| begun.is_none_or(|begun| !begun.contains(*name)))
    }
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
                if let Some(before) = &change.before
                    && change.after.as_ref().is_none_or(|after| after.uid() != before.uid())
                {
                    self.begun.remove(before.uid());
                }
                let (Some(before), Some(after)) = (&change.before, &change.after) else {
                    return;
                };
                if after.pod().is_none() || before.uid() != after.uid() {
                    return;
                }
                let (old, new) = (before.phase(), after.phase());
                let goes_back = rank(new) < rank(old) || (rank(old) == 2 && old != new);
                let node = format!("kubelet/{}", after.node_name());
                if rank(old) == 0
                    && new == "Running"
                    && let Some(name) = self.unbegun(after)
                {
                    let message = format!(
                        "{} (uid {}) became Running at revision {}, and its container {name} was never started",
                        change.id,
                        after.uid(),
                        change.revision
                    );
                    report.broken(self.id(), message, &[&node]);
                }
                if goes_back && !self.writes.is_late(change) {
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
                let Some(pod) = cluster.by_uid(pod_uid) else { return };
                let begun = self.begun.entry((*pod_uid).to_owned()).or_default();
                begun.insert((*name).to_owned());
                if pod.is_finished() {
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
