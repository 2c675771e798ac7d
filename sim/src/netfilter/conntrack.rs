//! Connection tracking: which flows are known, and how each was translated at its first packet.

use core::net::SocketAddrV4;
use core::time::Duration;
use std::collections::BTreeMap;

use orrery_proxy::StaleFlows;
use orrery_proxy::ruleset::Protocol;

use super::packet::Packet;
use crate::faults::Victims;

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
    /// Faults by number: as long as there is one, no flow ends by itself.
    lingers: BTreeMap<u64, Victims>,
}

/// Whether a flow has ended by itself. Faults that keep it from that have befallen somebody.
fn has_ended(flow: &Flow, lingers: &BTreeMap<u64, Victims>, now: Duration) -> bool {
    let is_late = flow.until < now;
    if is_late {
        lingers.values().for_each(Victims::add);
    }
    is_late && lingers.is_empty()
}

impl Conntrack {
    /// The flow that `packet` belongs to.
    pub fn find(&mut self, packet: &Packet, now: Duration) -> Option<Flow> {
        let flow = *self.flows.get(&key(packet))?;
        if has_ended(&flow, &self.lingers, now) {
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
        let lingers = &self.lingers;
        self.flows.retain(|_, flow| !has_ended(flow, lingers, now));
        self.flows.values().copied().collect()
    }

    /// All flows are gone.
    pub fn clear(&mut self) {
        self.flows.clear();
    }

    /// From now on flows linger, until the fault of this number ends.
    pub fn linger(&mut self, number: u64, victims: Victims, now: Duration) {
        // Those that ended before the fault do not come back.
        self.flows(now);
        self.lingers.insert(number, victims);
    }

    /// A fault ends, and with the last one those flows that have outlived their time.
    pub fn end_linger(&mut self, number: u64, now: Duration) {
        self.flows(now);
        self.lingers.remove(&number);
    }

    /// All of these faults end.
    pub fn end_lingers(&mut self, now: Duration) {
        self.flows(now);
        self.lingers.clear();
    }
}
