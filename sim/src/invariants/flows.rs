//! E5: no UDP flow stays pinned to an address that is no endpoint.
//!
//! Seen by clients that send a packet a second to every UDP service, from every node that is up, at its address and at
//! its node port ([`crate::traffic`]). A flow is pinned if connection tracking sends its packets to an address that
//! none of the service's slices has, or has as one that does not serve, or that was untranslated though there are
//! endpoints, packet after packet. Proxies need time: a flow is wrong if it has been pinned for longer than what a
//! proxy watches may lag, a sync takes and a failed one waits, and no fault that reaches its node was in force in the
//! last minute of it. In the end, on machines that are well, it must not be pinned at all.
//!
//! That lets pass: flows to terminating pods that slices still have, whether or not they serve; rules that a fault
//! keeps from being written; machines that are cut off.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use super::{CALM, Invariant, Missing, Report, SYNC};
use crate::model::{Cluster, Item, ObjectId, Seen};
use crate::scenario::Role;

/// See the module.
#[derive(Default)]
pub struct Flows {
    /// By machine, service and the address that is called.
    pinned: BTreeMap<(String, ObjectId, SocketAddrV4), Pinned>,
}

/// A flow to what is no endpoint.
struct Pinned {
    since: Duration,
    /// When its last packet was sent: a node port may be given up.
    last: Duration,
    to: SocketAddrV4,
}

/// Clients send every second.
const SILENT: Duration = Duration::from_secs(3);

impl Invariant for Flows {
    fn id(&self) -> &'static str {
        "E5"
    }

    fn statement(&self) -> &'static str {
        "No UDP flow stays pinned to an address that is no endpoint."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Flow {
            machine,
            service,
            sent_to,
            goes_to,
        } = seen
        else {
            return;
        };
        let key = ((*machine).to_owned(), (*service).clone(), *sent_to);
        let endpoints = cluster
            .get(service)
            .map(|service| endpoints(service, cluster))
            .unwrap_or_default();
        let right = match goes_to {
            None => true,
            Some(to) if to == sent_to => endpoints.is_empty(),
            Some(to) => endpoints.contains(&to.ip().to_string()),
        };
        let Some(to) = goes_to.filter(|_| !right) else {
            self.pinned.remove(&key);
            return;
        };
        let now = cluster.now;
        let pinned = self.pinned.entry(key).or_insert(Pinned {
            since: now,
            last: now,
            to,
        });
        if pinned.last + SILENT < now {
            pinned.since = now;
        }
        pinned.last = now;
        let since = pinned.since;
        let patience = cluster.lag(Role::Proxy) + SYNC;
        if since + patience < cluster.now && !cluster.is_disturbed_on(machine, CALM) {
            let message = format!(
                "the UDP flow from {machine} to {service} ({sent_to}) goes to {to} since {since:?}, which is no endpoint of it"
            );
            report.broken(self.id(), message, &[&format!("proxy/{machine}"), "controller-manager"]);
        }
    }

    fn missing(&self, cluster: &Cluster, missing: &mut Missing) {
        let flows = self
            .pinned
            .iter()
            .filter(|(_, pinned)| pinned.last + SILENT >= cluster.now);
        for ((machine, service, _), Pinned { to, .. }) in flows {
            let what = format!("E5: the UDP flow from {machine} to {service} goes to {to}, which is no endpoint");
            missing.push_on(machine, what);
        }
    }
}

/// The addresses in the slices of a service that serve, and be it only until they have ended.
fn endpoints(service: &Item, cluster: &Cluster) -> Vec<String> {
    let endpoints = cluster.slices_of(service).flat_map(|slice| slice.slice_endpoints());
    endpoints
        .filter(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            conditions.is_none_or(|own| own.ready != Some(false) || own.terminating == Some(true))
        })
        .flat_map(|endpoint| endpoint.addresses.iter().cloned())
        .collect()
}
