//! E3: a pod is in one slice of a service, and not in two; and no slice is too full.
//!
//! At every write a slice that the controller keeps has at most 100 endpoints: kube-controller-manager's
//! `--max-endpoints-per-slice`. When a slice is made, none of its endpoints may be in another slice of the same service
//! with the same ports. That every ready pod is in one is judged at convergence. A slice that a user has taken from the
//! service, by its labels, is none of its slices any more.

use super::{Invariant, Report};
use crate::model::{Cluster, Item, Seen};

/// How many endpoints a slice holds at most.
const CAPACITY: usize = 100;

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
        if &*change.id.resource != "endpointslices.discovery.k8s.io" {
            return;
        }
        let Some(after) = &change.after else { return };
        let count = after.slice_endpoints().count();
        if count > CAPACITY && after.is_kept_slice() {
            let message = format!("{} has {count} endpoints at revision {}", after.id, change.revision);
            report.broken(self.id(), message, &["controller-manager", "apiserver"]);
        }
        if !change.is_create() {
            return;
        }
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::History;

    /// A slice with so many endpoints is written.
    fn written(count: usize, kept: bool) -> Vec<&'static str> {
        let manager = if kept { "endpointslice-controller.k8s.io" } else { "me" };
        let endpoint = |number| json!({"addresses": [format!("10.0.0.{number}")]});
        let endpoints: Vec<Value> = (0..count).map(endpoint).collect();
        let slice = |endpoints: &[Value]| {
            json!({"metadata": {"name": "s-1", "namespace": "default", "uid": "uid-s-1", "labels": {
                    "kubernetes.io/service-name": "s", "endpointslice.kubernetes.io/managed-by": manager}},
                "addressType": "IPv4", "endpoints": endpoints})
        };
        let history = History::of(|id| id == "E3").put("endpointslices.discovery.k8s.io", slice(&[]));
        history
            .put("endpointslices.discovery.k8s.io", slice(&endpoints))
            .broken()
    }

    #[test]
    fn a_slice_that_is_too_full_breaks_e3() {
        assert!(written(100, true).is_empty());
        assert_eq!(written(101, true), ["E3"]);
        assert!(written(101, false).is_empty(), "it is somebody else's");
    }
}
