//! A packet's way through the rules: pure but for the flows and callers that the filter remembers.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::collections::BTreeMap;

use orrery_proxy::ruleset::{Cidr, Connection, Match, Rule, Table, Target};
use orrery_proxy::{Ruleset, StaleFlows};

use super::conntrack::{Conntrack, Flow};
use super::packet::{Origin, Packet, Verdict};
use crate::faults::Victims;

/// How deep chains may call one another. The proxy's are five deep; a circle, which Linux refuses, ends here.
pub(super) const DEEPEST: usize = 32;

/// Answers "one time in so many".
pub type OneIn<'a> = &'a mut dyn FnMut(u32) -> bool;

/// The state of a node's packet filter.
#[derive(Debug, Clone, Default)]
pub struct Netfilter {
    rules: Ruleset,
    addresses: Vec<Ipv4Addr>,
    conntrack: Conntrack,
    /// By list, then by caller: when it was last seen.
    recent: BTreeMap<String, BTreeMap<Ipv4Addr, Duration>>,
}

/// A packet on its way.
struct Walker<'a> {
    recent: &'a mut BTreeMap<String, BTreeMap<Ipv4Addr, Duration>>,
    addresses: &'a [Ipv4Addr],
    one_in: OneIn<'a>,
    now: Duration,
    packet: Packet,
    mark: u32,
    state: Connection,
    translated: bool,
}

/// What a hook decides of a packet; nothing means that it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Accept,
    Drop,
    Reject,
    Translate(SocketAddrV4),
    Masquerade,
    Return,
}

impl Netfilter {
    /// The empty filter of a node with these addresses.
    pub fn new(addresses: Vec<Ipv4Addr>) -> Self {
        Netfilter {
            addresses,
            ..Netfilter::default()
        }
    }

    /// The node's addresses.
    pub fn addresses(&self) -> &[Ipv4Addr] {
        &self.addresses
    }

    /// The rules that stand.
    pub fn rules(&self) -> &Ruleset {
        &self.rules
    }

    /// Replaces table nat.
    pub fn set_nat(&mut self, table: Table) {
        // A list of callers lives as long as some rule names it.
        self.recent.retain(|list, _| table.chains.contains_key(list));
        self.rules.nat = table;
    }

    /// Replaces table filter.
    pub fn set_filter(&mut self, table: Table) {
        self.rules.filter = table;
    }

    /// What becomes of a packet at `now`, which is counted since the node's start.
    pub fn evaluate(&mut self, packet: &Packet, now: Duration, one_in: OneIn<'_>) -> Verdict {
        let known = self.conntrack.find(packet, now);
        let state = if known.is_some_and(|flow| flow.answered) {
            Connection::Established
        } else {
            Connection::New
        };
        let mut walker = Walker {
            recent: &mut self.recent,
            addresses: &self.addresses,
            one_in,
            now,
            packet: *packet,
            mark: 0,
            state,
            translated: false,
        };

        // Only a flow's first packet is asked for its translation; all others get the same.
        let (entry, checks) = match packet.from {
            Origin::Host => ("OUTPUT", &["OUTPUT"][..]),
            Origin::Pod | Origin::Outside => ("PREROUTING", &[][..]),
        };
        let endpoint = match known {
            Some(flow) => Some(flow.endpoint).filter(|_| flow.is_translated()),
            None => match walker.hook(&self.rules.nat, entry) {
                Some(Decision::Translate(to)) => Some(to),
                _ => None,
            },
        };
        if let Some(to) = endpoint {
            walker.packet.dst = *to.ip();
            walker.packet.dport = to.port();
            walker.translated = true;
        }

        let is_received = walker.is_local(walker.packet.dst);
        let last = match (packet.from, is_received) {
            (_, true) => &["INPUT"][..],
            (Origin::Host, false) => &[],
            (_, false) => &["FORWARD"],
        };
        for chain in checks.iter().chain(last) {
            match walker.hook(&self.rules.filter, chain) {
                Some(Decision::Drop) => return Verdict::Dropped,
                Some(Decision::Reject) => return Verdict::Rejected,
                _ => {}
            }
        }

        let leaves = packet.from == Origin::Host || !is_received;
        let masqueraded = match known {
            Some(flow) => flow.masqueraded,
            None => leaves && walker.hook(&self.rules.nat, "POSTROUTING") == Some(Decision::Masquerade),
        };
        let flow = Flow {
            protocol: packet.protocol,
            source: packet.source(),
            original: packet.destination(),
            endpoint: endpoint.unwrap_or(packet.destination()),
            masqueraded,
            answered: known.is_some_and(|flow| flow.answered),
            until: now,
        };
        // Only now: Linux does not track a flow whose first packet did not pass.
        self.conntrack.pass(packet, flow, now);
        match endpoint {
            Some(to) => Verdict::Delivered {
                ip: *to.ip(),
                port: to.port(),
                snat: masqueraded,
            },
            None => Verdict::NoRule,
        }
    }

    /// The receiver of `packet` has answered.
    pub fn answered(&mut self, packet: &Packet, now: Duration) {
        self.conntrack.answered(packet, now);
    }

    /// Forgets stale flows.
    pub fn forget(&mut self, stale: &[StaleFlows]) {
        self.conntrack.forget(stale);
    }

    /// The flows that are tracked.
    pub fn flows(&mut self, now: Duration) -> Vec<Flow> {
        self.conntrack.flows(now)
    }

    /// The node restarts: rules and flows are gone. Faults of its connection tracking stay in force.
    pub fn reset(&mut self) {
        let mut conntrack = std::mem::take(&mut self.conntrack);
        conntrack.clear();
        *self = Netfilter::new(std::mem::take(&mut self.addresses));
        self.conntrack = conntrack;
    }

    /// From now on flows linger, until the fault of this number ends.
    pub fn linger(&mut self, number: u64, victims: Victims, now: Duration) {
        self.conntrack.linger(number, victims, now);
    }

    /// Takes back one [`linger`](Self::linger).
    pub fn end_linger(&mut self, number: u64, now: Duration) {
        self.conntrack.end_linger(number, now);
    }

    /// No flow lingers any more.
    pub fn end_lingers(&mut self, now: Duration) {
        self.conntrack.end_lingers(now);
    }
}

impl Walker<'_> {
    /// Asks the hooks in a built-in chain.
    fn hook(&mut self, table: &Table, chain: &str) -> Option<Decision> {
        let rules: Vec<&Rule> = table.hooks_in(chain).collect();
        self.walk(table, rules.into_iter(), 0)
            .filter(|decision| *decision != Decision::Return)
    }

    fn walk<'r>(&mut self, table: &Table, rules: impl Iterator<Item = &'r Rule>, depth: usize) -> Option<Decision> {
        for rule in rules {
            // In order, and no further than the first that fails: some conditions remember or cast dice.
            if !rule.matches.iter().all(|condition| self.holds(condition)) {
                continue;
            }
            let decision = match &rule.target {
                Target::Accept => Decision::Accept,
                Target::Drop => Decision::Drop,
                Target::Reject => Decision::Reject,
                Target::Dnat(to) => Decision::Translate(*to),
                Target::Masquerade => Decision::Masquerade,
                Target::Return => Decision::Return,
                Target::MarkOr(bits) => {
                    self.mark |= bits;
                    continue;
                }
                Target::MarkXor(bits) => {
                    self.mark ^= bits;
                    continue;
                }
                Target::Jump(chain) => {
                    let called = if depth < DEEPEST {
                        self.walk(table, table.chain(chain).iter(), depth + 1)
                    } else {
                        None
                    };
                    match called {
                        None | Some(Decision::Return) => continue,
                        Some(decision) => decision,
                    }
                }
            };
            return Some(decision);
        }
        None
    }

    fn holds(&mut self, condition: &Match) -> bool {
        let packet = &self.packet;
        match condition {
            Match::Source { network, not } => network.contains(packet.src) != *not,
            Match::Destination { network, not } => network.contains(packet.dst) != *not,
            // The proxy's rules name no interfaces; a simulated node has none.
            Match::InInterface(_) | Match::OutInterface(_) => false,
            Match::Protocol(protocol) => packet.protocol == *protocol,
            Match::DestinationPort(protocol, port) => packet.protocol == *protocol && packet.dport == *port,
            Match::Mark { value, mask, not } => (self.mark & mask == *value) != *not,
            Match::SourceIsLocal { not } => self.is_local(packet.src) != *not,
            Match::DestinationIsLocal => self.is_local(packet.dst),
            Match::Connection { states, not } => {
                let holds = states.iter().any(|state| match state {
                    Connection::Dnat => self.translated,
                    state => *state == self.state,
                });
                holds != *not
            }
            Match::OneIn(count) => (self.one_in)(*count),
            Match::Recent { list, seconds } => {
                let Some(callers) = self.recent.get_mut(list) else {
                    return false;
                };
                let oldest = self.now.saturating_sub(Duration::from_secs(u64::from(*seconds)));
                callers.retain(|_, seen| *seen >= oldest);
                callers.contains_key(&packet.src)
            }
            Match::Remember(list) => {
                self.recent
                    .entry(list.clone())
                    .or_default()
                    .insert(packet.src, self.now);
                true
            }
            Match::Comment(_) => true,
        }
    }

    fn is_local(&self, address: Ipv4Addr) -> bool {
        self.addresses.contains(&address) || Cidr::LOOPBACK.contains(address)
    }
}
