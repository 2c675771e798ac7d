//! K6: a pod once admitted is not rejected later, by a restart of the kubelet or otherwise.
//!
//! A pod counts as admitted when its status shows a start time, when it was shown running, or when a container of it
//! has run. Judged when its phase becomes `Failed` for a reason of admission. That lets pass: a pod that was bound, and
//! rejected by the next life of a kubelet whose former one had not come to it; pods that fail for other reasons.

use std::collections::BTreeSet;

use super::{Invariant, Report};
use crate::model::{Cluster, Item, Seen};

/// See the module.
#[derive(Default)]
pub struct Admitted {
    /// Pods of which a container has run, by uid.
    ran: BTreeSet<String>,
}

fn was_admitted(pod: &Item) -> bool {
    let status = pod.pod().and_then(|pod| pod.status.as_ref());
    pod.phase() == "Running" || status.is_some_and(|status| status.start_time.is_some())
}

/// Why a pod was rejected, if it was.
fn rejection(pod: &Item) -> Option<&str> {
    let reason = pod.pod()?.status.as_ref()?.reason.as_deref()?;
    let by_admission = ["OutOf", "PodOS"].iter().any(|start| reason.starts_with(start))
        || matches!(
            reason,
            "NodeAffinity" | "NodePorts" | "TaintToleration" | "UnexpectedAdmissionError"
        );
    (pod.phase() == "Failed" && by_admission).then_some(reason)
}

impl Invariant for Admitted {
    fn id(&self) -> &'static str {
        "K6"
    }

    fn statement(&self) -> &'static str {
        "A pod once admitted is not rejected by a kubelet restart."
    }

    fn observe(&mut self, seen: &Seen<'_>, _cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::ContainerStarted { pod_uid, .. } => {
                self.ran.insert((*pod_uid).to_owned());
            }
            Seen::Change(change) => {
                let Some(after) = &change.after else {
                    if let Some(before) = &change.before {
                        self.ran.remove(before.uid());
                    }
                    return;
                };
                let Some(before) = change.before.as_ref().filter(|before| before.uid() == after.uid()) else {
                    return;
                };
                if let Some(reason) = rejection(after)
                    && rejection(before).is_none()
                    && (was_admitted(before) || self.ran.contains(after.uid()))
                {
                    let message = format!(
                        "{} (uid {}), which had been admitted, is rejected with {reason} at revision {}",
                        change.id,
                        after.uid(),
                        change.revision
                    );
                    report.broken(self.id(), message, &[&format!("kubelet/{}", after.node_name())]);
                }
            }
            _ => {}
        }
    }
}
