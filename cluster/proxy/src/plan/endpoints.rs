//! Which endpoints a service's packets go to. Topology hints are not read: one machine is one zone.

use core::net::SocketAddrV4;
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use orrery_api::mutant;

use super::port::{Port, number};
use crate::ruleset::Protocol;

/// What is known of one address that a port's packets could go to.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// It lives on this node.
    local: bool,
    /// It takes new connections.
    ready: bool,
    /// It still answers, though it is going away.
    draining: bool,
}

/// The endpoints of one port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Backends {
    /// Where packets go that may go to any node; in order, without duplicates.
    pub cluster: Vec<SocketAddrV4>,
    /// Where packets go that may not leave this node.
    pub local: Vec<SocketAddrV4>,
    /// All that answer, whether or not new flows are led there: flows to these need not be cut.
    pub serving: BTreeSet<SocketAddrV4>,
}

impl Backends {
    /// The endpoints for packets that must (or need not) stay on this node.
    pub fn of(&self, local: bool) -> &[SocketAddrV4] {
        let leaves = local && self.local.is_empty() && !self.cluster.is_empty() && mutant::active("O98");
        if local && !leaves { &self.local } else { &self.cluster }
    }

    /// Whether no packet of any kind has somewhere to go.
    pub fn is_empty(&self) -> bool {
        self.cluster.is_empty() && self.local.is_empty()
    }

    /// The endpoints of `port` in the slices of its service.
    pub fn observe<E: Borrow<EndpointSlice>>(port: &Port, slices: &[E], node: &str) -> Self {
        let mut states: BTreeMap<SocketAddrV4, State> = BTreeMap::new();
        for slice in slices
            .iter()
            .map(Borrow::borrow)
            .filter(|slice| slice.address_type == "IPv4")
        {
            for number in numbers(slice, &port.name, port.protocol) {
                for endpoint in &slice.endpoints {
                    // All addresses of one endpoint are the same endpoint; the first stands for it, as in kube-proxy.
                    let Some(Ok(address)) = endpoint.addresses.first().map(|address| address.parse()) else {
                        continue;
                    };
                    let conditions = endpoint.conditions.clone().unwrap_or_default();
                    let ready = conditions.ready.unwrap_or(true);
                    let serving = conditions.serving.unwrap_or(ready);
                    // An address that moves from slice to slice is in two of them for a while: the better word counts.
                    let state = states.entry(SocketAddrV4::new(address, number)).or_default();
                    state.local |= endpoint.node_name.as_deref() == Some(node);
                    state.ready |= ready;
                    state.draining |= serving && conditions.terminating.unwrap_or(false);
                }
            }
        }
        let mut local = preferred(states.iter().filter(|(_, state)| state.local));
        let is_ready = |local: bool| states.values().any(|state| state.ready && state.local == local);
        if !local.is_empty() && is_ready(false) && !is_ready(true) && mutant::active("O101") {
            local.clear();
        }
        Backends {
            cluster: preferred(states.iter()),
            local,
            serving: states
                .iter()
                .filter(|(_, state)| state.ready || state.draining || mutant::active("O65"))
                .map(|(at, _)| *at)
                .collect(),
        }
    }
}

/// The ready ones; when there is none, those that still answer while they go away.
fn preferred<'a>(states: impl Iterator<Item = (&'a SocketAddrV4, &'a State)> + Clone) -> Vec<SocketAddrV4> {
    let pick = |which: fn(&State) -> bool| -> Vec<_> {
        states
            .clone()
            .filter(|(_, state)| which(state))
            .map(|(address, _)| *address)
            .collect()
    };
    let ready = pick(|state| state.ready);
    if ready.is_empty() {
        pick(|state| state.draining)
    } else {
        ready
    }
}

/// The port numbers that the slice has for the service port of this name and protocol.
fn numbers(slice: &EndpointSlice, name: &str, protocol: Protocol) -> Vec<u16> {
    let ports = slice.ports.iter().flatten();
    let ports = ports.filter(|port| Protocol::of(port.protocol.as_deref()) == Some(protocol));
    let ports = ports.filter(|port| port.name.as_deref().unwrap_or_default() == name || mutant::active("O93"));
    ports.filter_map(|port| number(port.port?)).collect()
}
