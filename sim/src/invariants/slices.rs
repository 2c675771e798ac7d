//! E3: a pod is in one slice of a service, and not in two.
//!
//! Judged when a slice is made: none of its endpoints may be in another slice of the same service with the same ports.
//! That every ready pod is in one is judged at convergence. A slice that a user has taken from the service, by its labels,
//! is none of its slices any more.

use super::{Invariant, Report};
use crate::model::{Cluster, Item, Seen};

/// See the module.
pub struct Slices;

fn pods(slice: &Item) -> impl Iterator<Item = &str> {
    slice
        .slice_endpoints()
        .filter_map(|endpoint| endpoint.target_ref.as_ref()?.uid.as_deref())
}

impl Invariant for Slices {
    fn id(&self) -> &'static str {
        "E3"
    }

    fn statement(&self) -> &'static str {
        "Every ready pod is in exactly one slice."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        if !change.is_create() || &*change.id.resource != "endpointslices.discovery.k8s.io" {
            return;
        }
        let Some(after) = &change.after else { return };
        let Some(service) = after.controller_uid() else { return };
        let ports = |item: &Item| item.slice().and_then(|slice| slice.ports.clone()).unwrap_or_default();
        let is_alike = |other: &Item| other.is_kept_slice() && other.service_name() == after.service_name();
        let others = cluster
            .owned(service)
            .filter(|other| other.slice().is_some() && other.id != after.id && is_alike(other));
        for other in others.filter(|other| !other.is_terminating() && ports(other) == ports(after)) {
            if let Some(pod) = pods(after).find(|uid| pods(other).any(|own| own == *uid)) {
                let message = format!(
                    "{} was made at revision {} with the pod of uid {pod}, which {} has too",
                    after.id, change.revision, other.id
                );
                report.broken(self.id(), message, &["controller-manager", "apiserver"]);
            }
        }
    }
}
