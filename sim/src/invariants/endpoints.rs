//! E2: a ready endpoint is a pod with that uid and IP, ready, not terminating.
//!
//! Checked at every write of an endpoint slice: each ready endpoint's pod must have been so within the controller's
//! lag. A service that publishes pods that are not ready is judged by uid and address alone (its slices say so by
//! no mark, so an endpoint passes if its service asks for it). A fault that held the controller manager up lengthens
//! the lag. Not judged: slices written by hand, endpoints without a pod. That every ready pod is in a slice (E3) is judged at convergence.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Invariant, MEMORY, Report};
use crate::model::{Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// See the module.
#[derive(Default)]
pub struct Endpoints {
    pods: BTreeMap<String, Known>,
}

#[derive(Default)]
struct Known {
    ips: Vec<String>,
    /// Until when the pod was ready: none while it is; zero if it never was.
    ready_until: Option<Duration>,
}

impl Invariant for Endpoints {
    fn id(&self) -> &'static str {
        "E2"
    }

    fn statement(&self) -> &'static str {
        "A ready endpoint is a pod with that uid and IP, ready, not terminating."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        match &*change.id.resource {
            "pods" => self.remember(change, cluster.now),
            "endpointslices.discovery.k8s.io" => {
                if let Some(slice) = &change.after {
                    self.judge(change, slice, cluster, report);
                }
            }
            _ => {}
        }
    }
}

impl Endpoints {
    fn remember(&mut self, change: &Change, now: Duration) {
        let Some(newest) = change.newest() else { return };
        let known = self.pods.entry(newest.uid().to_owned()).or_insert_with(|| Known {
            ips: Vec::new(),
            ready_until: Some(Duration::ZERO),
        });
        if let Some(ip) = newest.pod().and_then(|pod| pod.status.as_ref()?.pod_ip.clone())
            && !known.ips.contains(&ip)
        {
            known.ips.push(ip);
        }
        let ready = change
            .after
            .as_ref()
            .is_some_and(|pod| pod.condition("Ready") && !pod.is_terminating());
        known.ready_until = match (ready, known.ready_until) {
            (true, _) => None,
            (false, None) => Some(now),
            (false, until) => until,
        };
        if self.pods.len() > 50_000 {
            self.pods
                .retain(|_, known| known.ready_until.is_none_or(|until| until + MEMORY > now));
        }
    }

    fn judge(&self, change: &Change, slice: &Item, cluster: &Cluster, report: &mut Report) {
        let Some(content) = slice.slice() else { return };
        let owner = slice
            .meta
            .labels
            .as_ref()
            .and_then(|labels| labels.get("kubernetes.io/service-name"));
        let unready = owner
            .and_then(|name| cluster.find("services", &slice.id.namespace, name))
            .and_then(|service| service.service()?.spec.as_ref()?.publish_not_ready_addresses)
            .unwrap_or(false);
        for endpoint in &content.endpoints {
            let ready = endpoint
                .conditions
                .as_ref()
                .and_then(|conditions| conditions.ready)
                .unwrap_or(true);
            let Some(target) = endpoint
                .target_ref
                .as_ref()
                .filter(|target| target.kind.as_deref() == Some("Pod"))
            else {
                continue;
            };
            if !ready {
                continue;
            }
            let uid = target.uid.as_deref().unwrap_or_default();
            let name = target.name.as_deref().unwrap_or_default();
            let wrong = match self.pods.get(uid) {
                None => Some("no such pod ever was".to_owned()),
                Some(known) => {
                    let foreign = endpoint.addresses.iter().find(|address| !known.ips.contains(address));
                    let stale = known
                        .ready_until
                        .is_some_and(|until| until + cluster.lag(Role::ControllerManager) < cluster.now);
                    match foreign {
                        Some(address) => Some(format!("the pod never had the address {address}")),
                        None if stale && !unready => Some(format!(
                            "the pod is not ready since {:?}",
                            known.ready_until.unwrap_or_default()
                        )),
                        None => None,
                    }
                }
            };
            if let Some(wrong) = wrong {
                report.broken(
                    self.id(),
                    format!(
                        "{} at revision {} has pod {name} (uid {uid}) as ready: {wrong}",
                        slice.id, change.revision
                    ),
                    &["controller-manager", "apiserver"],
                );
            }
        }
    }
}
