//! Connection tracking: which flows are known, and how each was translated at its first packet.

use core::net::SocketAddrV4;
use core::time::Duration;
use std::collections::BTreeMap;

use orrery_proxy::StaleFlows;
use orrery_proxy::ruleset::Protocol;

use super::packet::Packet;

/// A tracked flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Its protocol.
    pub protocol: Protocol,
    /// Who opened it.
    pub source: SocketAddrV4,
    /// Where it was opened to.
    pub original: SocketAddrV4,
    /// Where its packets go: the same when it was not translated.
    pub endpoint: SocketAddrV4,
    /// Whether its packets get the node as their source.
    pub masqueraded: bool,
    /// Whether it was ever answered.
    pub answered: bool,
    /// When it is forgotten unless another packet comes, since the node's start.
    pub until: Duration,
}

impl Flow {
    /// Whether its destination was translated.
    pub fn is_translated(&self) -> bool {
        self.original != self.endpoint
    }

    /// How long it is remembered after a packet: Linux' defaults.
    fn patience(&self) -> Duration {
        Duration::from_secs(match (self.protocol, self.answered) {
            (Protocol::Udp, false) => 30,
            (Protocol::Udp, true) => 120,
            (Protocol::Tcp, false) => 120,
            (Protocol::Tcp, true) => 432_000,
            (Protocol::Sctp, false) => 10,
            (Protocol::Sctp, true) => 210,
        })
    }
}

type Key = (Protocol, SocketAddrV4, SocketAddrV4);

fn key(packet: &Packet) -> Key {
    (packet.protocol, packet.source(), packet.destination())
}

/// All flows that a node tracks.
#[derive(Debug, Clone, Default)]
pub(super) struct Conntrack {
    flows: BTreeMap<Key, Flow>,
    /// A fault: no flow ends by itself.
    lingers: bool,
}

impl Conntrack {
    /// The flow that `packet` belongs to.
    pub fn find(&mut self, packet: &Packet, now: Duration) -> Option<Flow> {
        let flow = *self.flows.get(&key(packet))?;
        if flow.until < now && !self.lingers {
            self.flows.remove(&key(packet));
            return None;
        }
        Some(flow)
    }

    /// Tracks the flow of a packet that has passed.
    pub fn pass(&mut self, packet: &Packet, mut flow: Flow, now: Duration) {
        flow.until = now + flow.patience();
        self.flows.insert(key(packet), flow);
    }

    /// An answer to `packet` has passed.
    pub fn answered(&mut self, packet: &Packet, now: Duration) {
        if let Some(mut flow) = self.find(packet, now) {
            flow.answered = true;
            self.pass(packet, flow, now);
        }
    }

    /// Forgets what the proxy says is stale.
    pub fn forget(&mut self, stale: &[StaleFlows]) {
        let is_stale = |flow: &Flow| {
            stale
                .iter()
                .any(|one| one.names(flow.protocol, flow.original, flow.endpoint))
        };
        self.flows.retain(|_, flow| !is_stale(flow));
    }

    /// The flows that are known.
    pub fn flows(&mut self, now: Duration) -> Vec<Flow> {
        let lingers = self.lingers;
        self.flows.retain(|_, flow| lingers || flow.until >= now);
        self.flows.values().copied().collect()
    }

    /// Whether flows linger from now on. Those that have outlived their time end when the fault does.
    pub fn linger(&mut self, linger: bool, now: Duration) {
        // Those that ended before the fault do not come back.
        self.flows(now);
        self.lingers = linger;
    }
}
