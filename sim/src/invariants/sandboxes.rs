//! K3: one ready sandbox per pod.
//!
//! Checked over the sandboxes that really are, when one becomes ready.

use std::collections::BTreeMap;

use super::{Invariant, Report};
use crate::model::{Cluster, Seen};

/// See the module.
#[derive(Default)]
pub struct Sandboxes {
    /// Ready sandboxes by the pod's uid: their machines.
    ready: BTreeMap<String, BTreeMap<String, String>>,
    /// Whose each of them is.
    owners: BTreeMap<String, String>,
}

impl Invariant for Sandboxes {
    fn id(&self) -> &'static str {
        "K3"
    }

    fn statement(&self) -> &'static str {
        "One ready sandbox per pod."
    }

    fn observe(&mut self, seen: &Seen<'_>, _cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::SandboxReady {
                machine,
                pod_uid,
                sandbox,
                ..
            } => {
                let ready = self.ready.entry((*pod_uid).to_owned()).or_default();
                if let Some((other, place)) = ready.first_key_value() {
                    let message = format!(
                        "sandbox {sandbox} on {machine} is the second ready one of the pod with uid {pod_uid}; {other} on {place} is ready too"
                    );
                    report.broken(
                        "K3",
                        message,
                        &[&format!("kubelet/{machine}"), &format!("runtime/{machine}")],
                    );
                }
                ready.insert((*sandbox).to_owned(), (*machine).to_owned());
                self.owners.insert((*sandbox).to_owned(), (*pod_uid).to_owned());
            }
            Seen::SandboxGone { sandbox } => {
                let Some(pod) = self.owners.remove(*sandbox) else {
                    return;
                };
                if let Some(ready) = self.ready.get_mut(&pod) {
                    ready.remove(*sandbox);
                    if ready.is_empty() {
                        self.ready.remove(&pod);
                    }
                }
            }
            _ => {}
        }
    }
}
