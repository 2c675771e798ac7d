//! K3: one ready sandbox per pod.
//!
//! Checked over the sandboxes that really are, when one becomes ready.

use std::collections::BTreeMap;

use super::{Invariant, Report};
use crate::model::{Cluster, Seen};

/// See the module.
#[derive(Default)]
pub struct Sandboxes {
    /// Ready sandboxes: the machine and the pod's uid.
    ready: BTreeMap<String, (String, String)>,
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
                if let Some((other, (place, _))) = self.ready.iter().find(|(_, (_, uid))| uid == pod_uid) {
                    let message = format!(
                        "sandbox {sandbox} on {machine} is the second ready one of the pod with uid {pod_uid}; {other} on {place} is ready too"
                    );
                    report.broken(
                        self.id(),
                        message,
                        &[&format!("kubelet/{machine}"), &format!("runtime/{machine}")],
                    );
                }
                self.ready
                    .insert((*sandbox).to_owned(), ((*machine).to_owned(), (*pod_uid).to_owned()));
            }
            Seen::SandboxGone { sandbox } => {
                self.ready.remove(*sandbox);
            }
            _ => {}
        }
    }
}
