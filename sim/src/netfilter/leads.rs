//! Where the rules lead, told without sending anything: of an address every endpoint that a new connection to it may
//! get to, whoever opens it and whatever chance says, and for how long its callers are remembered.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use orrery_proxy::ruleset::{Cidr, Match, Protocol, Rule, Table, Target};

use super::walk::DEEPEST;
use super::{Netfilter, SimPacketFilter};

/// Where connections are opened to.
pub type Front = (Protocol, SocketAddrV4);

impl SimPacketFilter {
    /// Every endpoint that the rules that stand may send a new connection to `front` to.
    pub fn leads(&self, front: Front) -> BTreeSet<SocketAddrV4> {
        self.filter().leads(front)
    }

    /// For how many seconds the rules that stand remember who has called `front`: all times that they name on the way.
    pub fn remembers(&self, front: Front) -> BTreeSet<u32> {
        self.filter().search(front).seconds
    }

    /// Every address that the rules that stand name, with protocol and port.
    pub fn fronts(&self) -> BTreeSet<Front> {
        let filter = self.filter();
        let own = filter.addresses().iter().find(|ip| !ip.is_loopback());
        let chains = filter.rules().nat.chains.values();
        let fronts = chains.flat_map(|rules| rules.iter().filter_map(|rule| front(rule, own.copied())));
        fronts.collect()
    }
}

/// The address, protocol and port that a rule is for, if it is for one: of a port at the node that has it at `own`.
fn front(rule: &Rule, own: Option<Ipv4Addr>) -> Option<Front> {
    let mut networks = rule.matches.iter().filter_map(|condition| match condition {
        Match::Destination { network, not: false } => Some(*network),
        _ => None,
    });
    let host = match networks.next() {
        Some(network) => Some(network.address()).filter(|ip| Cidr::host(*ip) == network),
        None => own,
    }?;
    rule.matches.iter().find_map(|condition| match condition {
        Match::DestinationPort(protocol, port) => Some((*protocol, SocketAddrV4::new(host, *port))),
        _ => None,
    })
}

impl Netfilter {
    /// Every endpoint that a new connection to `front` may get to.
    pub fn leads(&self, front: Front) -> BTreeSet<SocketAddrV4> {
        self.search(front).endpoints
    }

    /// What a new connection to `front` may come upon.
    fn search(&self, (protocol, to): Front) -> Found {
        let table = &self.rules().nat;
        let mut search = Search {
            table,
            protocol,
            to,
            is_local: self.addresses().contains(to.ip()) || Cidr::LOOPBACK.contains(*to.ip()),
            found: Found::default(),
        };
        for chain in ["PREROUTING", "OUTPUT"] {
            search.walk(table.hooks_in(chain), 0);
        }
        search.found
    }
}

/// What connections to an address may come upon.
#[derive(Default)]
struct Found {
    /// The endpoints that they may get to.
    endpoints: BTreeSet<SocketAddrV4>,
    /// For how long their callers are remembered.
    seconds: BTreeSet<u32>,
}

/// A search for what connections to an address may get to.
struct Search<'a> {
    table: &'a Table,
    protocol: Protocol,
    to: SocketAddrV4,
    is_local: bool,
    found: Found,
}

impl Search<'_> {
    /// Goes through rules; whether no connection gets past them.
    fn walk<'r>(&mut self, rules: impl Iterator<Item = &'r Rule>, depth: usize) -> bool {
        let table = self.table;
        for rule in rules {
            let holds: Vec<Option<bool>> = rule.matches.iter().map(|condition| self.holds(condition)).collect();
            if holds.contains(&Some(false)) {
                continue;
            }
            let times = rule.matches.iter().filter_map(|condition| match condition {
                Match::Recent { seconds, .. } => Some(*seconds),
                _ => None,
            });
            self.found.seconds.extend(times);
            let is_sure = !holds.contains(&None);
            let decides = match &rule.target {
                Target::Dnat(to) => {
                    self.found.endpoints.insert(*to);
                    true
                }
                Target::Jump(chain) => depth < DEEPEST && self.walk(table.chain(chain).iter(), depth + 1),
                Target::Return if is_sure => return false,
                Target::Return | Target::MarkOr(_) | Target::MarkXor(_) => false,
                Target::Accept | Target::Drop | Target::Reject | Target::Masquerade => true,
            };
            if decides && is_sure {
                return true;
            }
        }
        false
    }

    /// Whether a condition holds for all connections to the address, or for none; nothing if that depends on more.
    fn holds(&self, condition: &Match) -> Option<bool> {
        match condition {
            Match::Destination { network, not } => Some(network.contains(*self.to.ip()) != *not),
            Match::DestinationIsLocal => Some(self.is_local),
            Match::Protocol(protocol) => Some(*protocol == self.protocol),
            Match::DestinationPort(protocol, port) => Some((*protocol, *port) == (self.protocol, self.to.port())),
            // As when packets are evaluated.
            Match::InInterface(_) | Match::OutInterface(_) => Some(false),
            Match::Remember(_) | Match::Comment(_) => Some(true),
            Match::Source { .. }
            | Match::SourceIsLocal { .. }
            | Match::Mark { .. }
            | Match::Connection { .. }
            | Match::OneIn(_)
            | Match::Recent { .. } => None,
        }
    }
}
