//! E9: a call of a service's port gets to an endpoint of just that port, and its answer back.
//!
//! Seen by pods that call their own services, and by nodes without such a pod, at their addresses and at node ports
//! ([`crate::traffic`]). Judged where all has been as it is for longer than a proxy may lag: the service's specification
//! and its slices, with no fault in the last minute that reaches the node that calls. Then
//!
//! * a call goes to a ready endpoint, or where there is none to one that goes and still serves; with an internal
//!   traffic policy `Local`, to one of the node that it meets;
//! * where there is none it is refused, and not lost;
//! * the node shows itself as the caller where the answer would miss its way else: to a pod that calls itself, to
//!   calls of node ports, and where it calls itself, whose address is not one of the pods'; and to no other pod.
//!
//! Source: Kubernetes' documentation, "Virtual IPs and Service Proxies", and of kube-proxy, `--cluster-cidr`: what
//! comes from elsewhere is masqueraded. That lets pass: services without a selector;
//! calls that a policy `Local` leaves without an endpoint, which proxies may drop; and node ports of services with an
//! external traffic policy `Local`, which is about callers from beyond the node.

use super::backends::backends;
use super::specified::Specified;
use super::{CALM, Invariant, Report, SYNC};
use crate::model::{Call, Caller, Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// See the module.
#[derive(Default)]
pub struct Calls {
    /// Since when services and their slices are as they are.
    settled: Specified,
}

/// A call as it was seen.
#[derive(Clone, Copy)]
struct Made<'a> {
    machine: &'a str,
    port: &'a str,
    caller: Caller,
    at_node_port: bool,
    call: Call,
}

impl Calls {
    fn remember(&mut self, change: &Change, cluster: &Cluster) {
        match &*change.id.resource {
            "services" => self.settled.note(change, cluster.now),
            "endpointslices.discovery.k8s.io" => {
                let sides = [&change.before, &change.after].into_iter().flatten();
                for service in sides.filter_map(|slice| cluster.service_of(slice)) {
                    self.settled.touch(service.uid(), cluster.now);
                }
            }
            _ => {}
        }
    }

    /// What is wrong with a call of `service`.
    fn wrong(&self, service: &Item, made: Made<'_>, cluster: &Cluster) -> Option<String> {
        let spec = service.service()?.spec.as_ref()?;
        spec.selector.as_ref().filter(|selector| !selector.is_empty())?;
        let since = self.settled.since(service.uid())?;
        let is_new = since + cluster.lag(Role::Proxy) + SYNC >= cluster.now;
        if is_new || cluster.is_disturbed_on(made.machine, CALM) {
            return None;
        }
        let policy = match made.at_node_port {
            true => &spec.external_traffic_policy,
            false => &spec.internal_traffic_policy,
        };
        let local = policy.as_deref() == Some("Local");
        if local && made.at_node_port {
            return None;
        }
        let endpoints = backends(service, made.port, local.then_some(made.machine), cluster);
        match made.call {
            Call::Arrives { at, .. } if !endpoints.contains(&at) => {
                Some(format!("goes to {at}, and its endpoints are {endpoints:?}"))
            }
            Call::Arrives { at, masqueraded } => {
                let does = if masqueraded { "shows" } else { "does not show" };
                let shall = match made.caller {
                    Caller::Pod(address) => made.at_node_port || address == *at.ip(),
                    Caller::Node => true,
                };
                (masqueraded != shall).then(|| format!("goes to {at}, and {does} the node as the caller"))
            }
            Call::Refused if endpoints.is_empty() => None,
            Call::Refused => Some(format!("is refused, and its endpoints are {endpoints:?}")),
            Call::Lost if endpoints.is_empty() && local => None,
            Call::Lost if endpoints.is_empty() => Some("is lost and not refused, though nobody is there".to_owned()),
            Call::Lost => Some(format!("is lost, and its endpoints are {endpoints:?}")),
        }
    }
}

impl Invariant for Calls {
    fn id(&self) -> &'static str {
        "E9"
    }

    fn statement(&self) -> &'static str {
        "A call of a service's port gets to an endpoint of just that port, and its answer back."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Change(change) => self.remember(change, cluster),
            Seen::Called {
                machine,
                service,
                port,
                caller,
                at_node_port,
                call,
            } => {
                let made = Made {
                    machine,
                    port,
                    caller: *caller,
                    at_node_port: *at_node_port,
                    call: *call,
                };
                let Some(item) = cluster.get(service) else { return };
                if let Some(wrong) = self.wrong(item, made, cluster) {
                    let who = match caller {
                        Caller::Pod(address) => format!("the pod {address} on {machine}"),
                        Caller::Node => (*machine).to_owned(),
                    };
                    let way = if *at_node_port { "the node port of " } else { "" };
                    let message = format!("a call from {who} of {way}port {port:?} of {service} {wrong}");
                    report.broken(self.id(), message, &[&format!("proxy/{machine}")]);
                }
            }
            _ => {}
        }
    }
}
