//! E2: a ready endpoint is a pod with that uid and IP, ready, not terminating.
//!
//! Checked at every write of an endpoint slice or `Endpoints` object: each ready endpoint's pod must have been so
//! within the controller's lag. A service that publishes pods that are not ready is judged by uid and address alone
//! (its slices say so by no mark, so an endpoint passes if its service asks for it). A fault that held the controller
//! manager up lengthens the lag. Not judged: what is written by hand, endpoints without a pod. That every ready pod is
//! in a slice (E3) is judged at convergence.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;

use super::{Invariant, MEMORY, Report};
use crate::model::{Change, Cluster, Item, Seen, Typed};
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
            "endpointslices.discovery.k8s.io" | "endpoints" => {
                if let Some(item) = &change.after {
                    self.judge(change, item, cluster, report);
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

    fn judge(&self, change: &Change, item: &Item, cluster: &Cluster, report: &mut Report) {
        let owner = match &item.typed {
            // An `Endpoints` object has its service's name.
            Typed::Endpoints(_) => Some(item.id.name.as_str()),
            _ => item.service_name(),
        };
        let unready = owner
            .and_then(|name| cluster.find("services", &item.id.namespace, name))
            .and_then(|service| service.service()?.spec.as_ref()?.publish_not_ready_addresses)
            .unwrap_or(false);
        for (target, addresses) in ready(item) {
            let uid = target.uid.as_deref().unwrap_or_default();
            let name = target.name.as_deref().unwrap_or_default();
            let wrong = match self.pods.get(uid) {
                None => Some("no such pod ever was".to_owned()),
                Some(known) => {
                    let foreign = addresses.iter().find(|address| !known.ips.contains(address));
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
                        item.id, change.revision
                    ),
                    &["controller-manager", "apiserver"],
                );
            }
        }
    }
}

/// The pods that a slice or an `Endpoints` object shows as ready, each with its addresses.
fn ready(item: &Item) -> Vec<(&ObjectReference, &[String])> {
    let in_slice = item
        .ready_endpoints()
        .filter_map(|endpoint| Some((endpoint.target_ref.as_ref()?, &endpoint.addresses[..])));
    let subsets = item
        .endpoints()
        .into_iter()
        .flat_map(|endpoints| endpoints.subsets.iter().flatten());
    let in_object = subsets
        .flat_map(|subset| subset.addresses.iter().flatten())
        .filter_map(|address| Some((address.target_ref.as_ref()?, std::slice::from_ref(&address.ip))));
    let pods = in_slice.chain(in_object);
    pods.filter(|(target, _)| target.kind.as_deref() == Some("Pod"))
        .collect()
}
