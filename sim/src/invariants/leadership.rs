//! L1: of several twins only the leader works; the overlap of two stays within the lease's bound.
//!
//! Judged when a scheduler or controller manager sends a write while the lease is another's: that may be so for as long
//! as its role may lawfully lag, and no longer. Leases themselves and events are not judged, nor processes without twins,
//! which need no lease.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::{Invariant, Report};
use crate::model::{Cluster, Seen};
use crate::scenario::Role;

/// See the module.
#[derive(Default)]
pub struct Leadership {
    /// By lease: the process that holds it, and since when.
    holders: BTreeMap<String, (String, Duration)>,
}

#[derive(Deserialize)]
struct Lease {
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    holder_identity: String,
}

impl Invariant for Leadership {
    fn id(&self) -> &'static str {
        "L1"
    }

    fn statement(&self) -> &'static str {
        "Two leaders never work at the same time for longer than the lease's bound."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Change(change) => {
                if &*change.id.resource != "leases.coordination.k8s.io" || change.id.namespace != "kube-system" {
                    return;
                }
                let Some(lease) = &change.after else { return };
                let Ok(Lease { spec }) = serde_json::from_slice(&lease.bytes) else {
                    return;
                };
                // An identity is the process' name and the number of its start.
                let process = spec.holder_identity.rsplit_once('_').map_or("", |(process, _)| process);
                let known = self.holders.entry(change.id.name.clone()).or_default();
                if known.0 != process {
                    *known = (process.to_owned(), cluster.now);
                }
            }
            Seen::Asked(asked) if asked.method != http::Method::GET => {
                let (lease, role) = match asked.client.split_once('/').map(|(role, _)| role) {
                    Some("scheduler") => ("kube-scheduler", Role::Scheduler),
                    Some("controller-manager") => ("kube-controller-manager", Role::ControllerManager),
                    _ => return,
                };
                let Some(path) = &asked.path else { return };
                if path.resource.starts_with("leases") || path.resource.starts_with("events") {
                    return;
                }
                let Some((holder, since)) = self.holders.get(lease) else {
                    return;
                };
                if *holder != asked.client && *since + cluster.lag(role) < cluster.now {
                    let message = format!(
                        "{} sends {} {} though {holder} leads since {since:?}",
                        asked.client,
                        asked.method,
                        path.id()
                    );
                    report.broken(self.id(), message, &[&asked.client, holder]);
                }
            }
            _ => {}
        }
    }
}
