//! E8: a service that has endpoints takes connections, and sends them to its endpoints only.
//!
//! Seen by clients that open connections from the nodes in turn ([`crate::traffic`]). An endpoint of a service is an
//! address that one of its slices shows as ready; while none is, one that is on its way out and still serves. What is
//! wrong:
//!
//! * A connection goes nowhere, though connections from that node did get somewhere since it started, and some endpoint
//!   has been one, and the service as it is, for longer than what a proxy watches may lag and a sync takes. In the
//!   midst of faults that must be an endpoint that a connection from that node has got to since it is one: however old
//!   the proxy's picture is, it is in it.
//! * A connection goes to what has been no endpoint for as long, and no fault that reaches its node was in force in the
//!   last minute of it.
//!
//! That lets pass: nodes that restarted and have no rules yet; rules that a fault has left half written (no client
//! tries those); services without a selector, whose endpoints are other people's; of services whose clients are led to
//! their own node alone, connections from a node that has no endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::time::Duration;

use super::specified::Specified;
use super::{CALM, Invariant, MEMORY, Report, SYNC};
use crate::model::{Change, Cluster, EndpointState, Item, ObjectId, Seen};
use crate::scenario::Role;

/// When an address was last an endpoint.
struct Span {
    since: Duration,
    until: Option<Duration>,
}

/// See the module.
#[derive(Default)]
pub struct Connections {
    /// By service: when its addresses were endpoints.
    endpoints: BTreeMap<ObjectId, BTreeMap<String, Span>>,
    /// Since when services are specified as they are.
    services: Specified,
    /// By machine: the addresses of services to which connections have got since it started, and when last.
    reached: BTreeMap<String, BTreeMap<(ObjectId, String), Duration>>,
}

/// Whether the slice tells a number of the port that clients connect to: that of pods without a port of its name has
/// none.
fn has_first_port(service: &Item, slice: &Item) -> bool {
    let spec = service.service().and_then(|service| service.spec.as_ref());
    let first = spec.and_then(|spec| spec.ports.as_ref()?.first());
    let name = first.and_then(|port| port.name.as_deref()).unwrap_or_default();
    let ports = slice.slice().and_then(|slice| slice.ports.as_ref());
    let mut ports = ports.into_iter().flatten();
    ports.any(|port| port.port.is_some() && port.name.as_deref().unwrap_or_default() == name)
}

/// The addresses that the slices of a service have connections sent to.
fn endpoints(service: &Item, cluster: &Cluster) -> BTreeSet<String> {
    let slices = || cluster.slices_of(service).filter(|own| has_first_port(service, own));
    let pick = |wanted: fn(EndpointState) -> bool| -> BTreeSet<String> {
        let endpoints = slices().flat_map(|slice| slice.slice_endpoints());
        let wanted = endpoints.filter(|endpoint| wanted(EndpointState::of(endpoint)));
        wanted.flat_map(|endpoint| endpoint.addresses.iter().cloned()).collect()
    };
    let ready = pick(|state| state.ready);
    if ready.is_empty() {
        pick(|state| state.serving && state.terminating)
    } else {
        ready
    }
}

/// Whether an address is that of an endpoint on a node, as the slices of its service show it.
fn is_of_node(ip: &String, service: &Item, node: &str, cluster: &Cluster) -> bool {
    let mut endpoints = cluster.slices_of(service).flat_map(|slice| slice.slice_endpoints());
    endpoints.any(|endpoint| endpoint.node_name.as_deref() == Some(node) && endpoint.addresses.contains(ip))
}

impl Invariant for Connections {
    fn id(&self) -> &'static str {
        "E8"
    }

    fn statement(&self) -> &'static str {
        "A service that has endpoints takes connections, and sends them to its endpoints only."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Change(change) => match &*change.id.resource {
                "services" => self.remember_service(change, cluster.now),
                "endpointslices.discovery.k8s.io" => self.remember_slice(change, cluster),
                _ => {}
            },
            // A machine starts with its kubelet, and has no rules then.
            Seen::Started { process } => {
                if let Some(machine) = process.strip_prefix("kubelet/") {
                    self.reached.remove(machine);
                }
            }
            Seen::Connected {
                machine,
                service,
                goes_to,
            } => {
                if let Some(wrong) = self.wrong(machine, service, *goes_to, cluster) {
                    let message = format!("a connection from {machine} to {service} {wrong}");
                    report.broken(self.id(), message, &[&format!("proxy/{machine}")]);
                }
            }
            _ => {}
        }
    }
}

impl Connections {
    fn remember_service(&mut self, change: &Change, now: Duration) {
        self.services.note(change, now);
        if change.after.is_none() {
            self.endpoints.remove(&change.id);
        }
    }

    fn remember_slice(&mut self, change: &Change, cluster: &Cluster) {
        let sides = [&change.before, &change.after].into_iter().flatten();
        for service in sides.filter_map(|slice| cluster.service_of(slice)) {
            let now = endpoints(service, cluster);
            let known = self.endpoints.entry(service.id.clone()).or_default();
            known.retain(|_, span| span.until.is_none_or(|until| until + MEMORY > cluster.now));
            for (_, span) in known.iter_mut().filter(|(ip, _)| !now.contains(*ip)) {
                span.until.get_or_insert(cluster.now);
            }
            for ip in now {
                let is_new = known.get(&ip).is_none_or(|span| span.until.is_some());
                if is_new {
                    let since = cluster.now;
                    known.insert(ip, Span { since, until: None });
                }
            }
        }
    }

    fn wrong(
        &mut self,
        machine: &str,
        service: &ObjectId,
        goes_to: Option<SocketAddrV4>,
        cluster: &Cluster,
    ) -> Option<String> {
        let reached = self.reached.entry(machine.to_owned()).or_default();
        if let Some(to) = goes_to {
            reached.insert((service.clone(), to.ip().to_string()), cluster.now);
        }
        let item = cluster.get(service)?;
        let spec = item.service()?.spec.as_ref()?;
        let selector = spec.selector.as_ref();
        selector.filter(|selector| !selector.is_empty())?;
        let patience = cluster.lag(Role::Proxy) + SYNC;
        let is_old = |at: Duration| at + patience < cluster.now;
        if !self.services.since(item.uid()).is_some_and(is_old) {
            return None;
        }
        let is_calm = !cluster.is_disturbed_on(machine, CALM);
        let known = self.endpoints.get(service);
        let Some(to) = goes_to else {
            let hears = is_calm && reached.keys().any(|(of, _)| of == service);
            let is_known = |ip: &String, span: &Span| {
                let last = reached.get(&(service.clone(), ip.clone()));
                last.is_some_and(|last| *last >= span.since)
            };
            let is_local = spec.internal_traffic_policy.as_deref() == Some("Local");
            let is_led_to = |ip: &String| !is_local || is_of_node(ip, item, machine, cluster);
            let lasting = |(ip, span): &(&String, &Span)| {
                span.until.is_none() && is_old(span.since) && (hears || is_known(ip, span)) && is_led_to(ip)
            };
            let (ip, span) = known.into_iter().flatten().find(lasting)?;
            return Some(format!(
                "goes nowhere, though {ip} has been an endpoint since {:?}",
                span.since
            ));
        };
        let span = known.and_then(|known| known.get(&to.ip().to_string()));
        let is_over = span.is_none_or(|span| span.until.is_some_and(is_old));
        (is_over && is_calm).then(|| format!("goes to {to}, which has been no endpoint for long"))
    }
}
