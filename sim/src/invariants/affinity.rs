//! E7: a client of a service with session affinity keeps its endpoint as long as that is there.
//!
//! Seen by clients that open a connection a second to every such service, from every node that is up
//! ([`crate::traffic`]). A connection that goes elsewhere than the client's last one is wrong if the last one is
//! younger than the service's `timeoutSeconds`, and the endpoint it went to has been ready, and the service as it is,
//! for longer than a proxy may lag.
//!
//! That lets pass: endpoints that were gone for a moment (their rules may have been gone with them, and who called them
//! is forgotten), services that change, connections that are refused, and whatever happens while a fault is in force
//! that reaches the node, or was in the last minute: nodes that restart forget, too.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use super::specified::Specified;
use super::{CALM, Invariant, Report, SYNC};
use crate::model::{Change, Cluster, Item, ObjectId, Seen};
use crate::scenario::Role;

/// See the module.
#[derive(Default)]
pub struct Affinity {
    /// By machine and service: where the last connection went, and when.
    last: BTreeMap<(String, ObjectId), (SocketAddrV4, Duration)>,
    /// Since when services are specified as they are.
    services: Specified,
    /// By slice: since when each of its addresses is ready.
    ready: BTreeMap<ObjectId, BTreeMap<String, Duration>>,
}

impl Invariant for Affinity {
    fn id(&self) -> &'static str {
        "E7"
    }

    fn statement(&self) -> &'static str {
        "A client of a service with session affinity keeps its endpoint as long as that is there."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Change(change) => match &*change.id.resource {
                "services" => self.services.note(change, cluster.now),
                "endpointslices.discovery.k8s.io" => self.remember_slice(change, cluster.now),
                _ => {}
            },
            Seen::Connected {
                machine,
                service,
                goes_to,
            } => {
                let key = ((*machine).to_owned(), (*service).clone());
                let Some(to) = goes_to else {
                    self.last.remove(&key);
                    return;
                };
                let last = self.last.insert(key, (*to, cluster.now));
                if let Some((last, at)) = last.filter(|(last, _)| last != to)
                    && self.lasts(machine, service, (last, at), cluster)
                {
                    let message = format!(
                        "a connection from {machine} to {service} goes to {to}, though the one before went to {last} at {at:?}, which is still ready"
                    );
                    report.broken(self.id(), message, &[&format!("proxy/{machine}")]);
                }
            }
            _ => {}
        }
    }
}

/// The addresses of a slice's ready endpoints.
fn ready(slice: &Item) -> impl Iterator<Item = &String> {
    slice.ready_endpoints().flat_map(|endpoint| &endpoint.addresses)
}

impl Affinity {
    fn remember_slice(&mut self, change: &Change, now: Duration) {
        let Some(after) = &change.after else {
            self.ready.remove(&change.id);
            return;
        };
        let before = self.ready.remove(&change.id).unwrap_or_default();
        // Other ports are other endpoints.
        let ports = |item: &Item| item.slice().and_then(|slice| slice.ports.clone());
        let same = change
            .before
            .as_ref()
            .is_some_and(|before| ports(before) == ports(after));
        let since = ready(after).map(|ip| {
            let since = before.get(ip).copied().filter(|_| same);
            (ip.clone(), since.unwrap_or(now))
        });
        self.ready.insert(change.id.clone(), since.collect());
    }

    /// Whether a connection from `machine` that went to `last` at `at` binds the next one.
    fn lasts(
        &self,
        machine: &str,
        service: &ObjectId,
        (last, at): (SocketAddrV4, Duration),
        cluster: &Cluster,
    ) -> bool {
        let Some(item) = cluster.get(service) else { return false };
        let Some(spec) = item.service().and_then(|service| service.spec.as_ref()) else {
            return false;
        };
        let config = spec.session_affinity_config.as_ref();
        let seconds = config.and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
        let timeout = Duration::from_secs(u64::try_from(seconds.unwrap_or(10_800)).unwrap_or(0));
        let is_sticky = spec.session_affinity.as_deref() == Some("ClientIP");
        let patience = cluster.lag(Role::Proxy) + SYNC;
        let rests = |since: Duration| since + patience < cluster.now;
        let slices = cluster.slices_of(item);
        let ip = last.ip().to_string();
        let mut since = slices
            .filter_map(|slice| self.ready.get(&slice.id)?.get(&ip))
            .copied()
            .peekable();
        is_sticky
            && at + timeout > cluster.now
            && self.services.since(item.uid()).is_some_and(rests)
            && since.peek().is_some()
            && since.all(rests)
            && !cluster.is_disturbed_on(machine, CALM)
    }
}
