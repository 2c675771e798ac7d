//! One rule: what a packet must look like, and what then happens to it.

use core::fmt;
use core::net::{Ipv4Addr, SocketAddrV4};
use std::borrow::Cow;

use super::Cidr;

/// A transport protocol that services can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The protocol of a service's or slice's port; TCP when it names none, nothing when it is unknown.
    pub fn of(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("" | "TCP") => Some(Protocol::Tcp),
            Some("UDP") => Some(Protocol::Udp),
            Some("SCTP") => Some(Protocol::Sctp),
            Some(_) => None,
        }
    }

    /// The name iptables knows it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What connection tracking says of a packet's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Connection {
    /// Its first packet.
    New,
    /// It has seen packets in both directions.
    Established,
    /// It belongs to another connection that is known.
    Related,
    /// It belongs to no connection and cannot open one.
    Invalid,
    /// Its destination was translated.
    Dnat,
}

impl Connection {
    fn as_str(self) -> &'static str {
        match self {
            Connection::New => "NEW",
            Connection::Established => "ESTABLISHED",
            Connection::Related => "RELATED",
            Connection::Invalid => "INVALID",
            Connection::Dnat => "DNAT",
        }
    }
}

/// A condition on a packet. A rule applies when all of its conditions hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Match {
    /// It comes from the network, or, if `not`, from elsewhere.
    Source {
        /// The network.
        network: Cidr,
        /// Whether the condition is turned round.
        not: bool,
    },
    /// It goes to the network, or, if `not`, elsewhere.
    Destination {
        /// The network.
        network: Cidr,
        /// Whether the condition is turned round.
        not: bool,
    },
    /// It came in by the interface.
    InInterface(String),
    /// It leaves by the interface.
    OutInterface(String),
    /// It is of the protocol.
    Protocol(Protocol),
    /// Its destination port; only after `Protocol`.
    DestinationPort(Protocol, u16),
    /// Its mark, under the mask, is the value.
    Mark {
        /// The value.
        value: u32,
        /// Which bits of the mark count.
        mask: u32,
        /// Whether the condition is turned round.
        not: bool,
    },
    /// Its source is an address of this machine (or, if `not`, is none).
    SourceIsLocal {
        /// Whether the condition is turned round.
        not: bool,
    },
    /// Its destination is an address of this machine.
    DestinationIsLocal,
    /// Its connection is in one of the states (or, if `not`, in none).
    Connection {
        /// The states.
        states: Vec<Connection>,
        /// Whether the condition is turned round.
        not: bool,
    },
    /// Chance: one packet in so many, each on its own.
    OneIn(u32),
    /// Its source was put on the list of this name within the last seconds.
    Recent {
        /// The list.
        list: String,
        /// How long a source stays on it, in seconds.
        seconds: u32,
    },
    /// Always holds; puts the source on the list of this name.
    Remember(String),
    /// Always holds; says to people what the rule is for.
    Comment(String),
}

/// What happens to a packet that a rule applies to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// It goes through the rules of another chain, and comes back if none decides.
    Jump(String),
    /// It goes back to the calling chain.
    Return,
    /// It passes.
    Accept,
    /// It vanishes.
    Drop,
    /// It is refused: its sender gets "port unreachable".
    Reject,
    /// Its connection goes to this address, or, with no port, to the same port of the address.
    Dnat(SocketAddrV4),
    /// Its connection's source becomes this machine's own address.
    Masquerade,
    /// Bits of its mark are set; on to the next rule.
    MarkOr(u32),
    /// Bits of its mark are flipped; on to the next rule.
    MarkXor(u32),
}

/// A rule of a chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// The conditions, in the order they are asked: one with an effect (`Remember`, `OneIn`) only when those before
    /// hold.
    pub matches: Vec<Match>,
    /// What happens when all hold.
    pub target: Target,
}

impl Rule {
    /// A rule without conditions.
    pub fn to(target: Target) -> Self {
        Rule {
            matches: Vec::new(),
            target,
        }
    }

    /// A rule without conditions that goes to the chain.
    pub fn jump(chain: impl Into<String>) -> Self {
        Rule::to(Target::Jump(chain.into()))
    }

    /// The rule with one more condition.
    pub fn when(mut self, condition: Match) -> Self {
        self.matches.push(condition);
        self
    }

    /// The rule for packets from the network.
    pub fn from(self, network: Cidr) -> Self {
        self.when(Match::Source { network, not: false })
    }

    /// The rule for packets from outside the network.
    pub fn not_from(self, network: Cidr) -> Self {
        self.when(Match::Source { network, not: true })
    }

    /// The rule for packets to the network.
    pub fn towards(self, network: Cidr) -> Self {
        self.when(Match::Destination { network, not: false })
    }

    /// The rule for packets to the address.
    pub fn towards_host(self, address: Ipv4Addr) -> Self {
        self.towards(Cidr::host(address))
    }

    /// The rule for packets of the protocol.
    pub fn of(self, protocol: Protocol) -> Self {
        self.when(Match::Protocol(protocol))
    }

    /// The rule for packets of the protocol to the port.
    pub fn port(self, protocol: Protocol, port: u16) -> Self {
        self.of(protocol).when(Match::DestinationPort(protocol, port))
    }

    /// The rule for packets of connections in one of the states.
    pub fn in_state(self, states: &[Connection]) -> Self {
        self.when(Match::Connection {
            states: states.to_vec(),
            not: false,
        })
    }

    /// The rule with a comment.
    pub fn comment(self, text: impl Into<String>) -> Self {
        self.when(Match::Comment(text.into()))
    }

    /// The chain that the rule jumps to.
    pub fn jumps_to(&self) -> Option<&str> {
        match &self.target {
            Target::Jump(chain) => Some(chain),
            _ => None,
        }
    }

    /// Where the rule sends connections.
    pub fn translates_to(&self) -> Option<SocketAddrV4> {
        match self.target {
            Target::Dnat(to) => Some(to),
            _ => None,
        }
    }
}

/// iptables' order: addresses, interfaces and the protocol first, however the rule was put together.
fn leads(condition: &Match) -> Option<u8> {
    match condition {
        Match::Source { .. } => Some(0),
        Match::Destination { .. } => Some(1),
        Match::InInterface(_) => Some(2),
        Match::OutInterface(_) => Some(3),
        Match::Protocol(_) => Some(4),
        _ => None,
    }
}

impl fmt::Display for Rule {
    /// As iptables-save prints it, without the leading `-A CHAIN`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in 0..=4 {
            for condition in self.matches.iter().filter(|condition| leads(condition) == Some(place)) {
                write!(f, "{condition} ")?;
            }
        }
        for condition in self.matches.iter().filter(|condition| leads(condition).is_none()) {
            write!(f, "{condition} ")?;
        }
        write!(f, "{}", self.target)
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let turned = |not: &bool| if *not { "! " } else { "" };
        match self {
            Match::Source { network, not } => write!(f, "{}-s {network}", turned(not)),
            Match::Destination { network, not } => write!(f, "{}-d {network}", turned(not)),
            Match::InInterface(name) => write!(f, "-i {name}"),
            Match::OutInterface(name) => write!(f, "-o {name}"),
            Match::Protocol(protocol) => write!(f, "-p {protocol}"),
            Match::DestinationPort(protocol, port) => write!(f, "-m {protocol} --dport {port}"),
            Match::Mark { value, mask, not } => write!(f, "-m mark {}--mark {value:#x}/{mask:#x}", turned(not)),
            Match::SourceIsLocal { not } => write!(f, "-m addrtype {}--src-type LOCAL", turned(not)),
            Match::DestinationIsLocal => f.write_str("-m addrtype --dst-type LOCAL"),
            Match::Connection { states, not } => {
                let states: Vec<_> = states.iter().map(|state| state.as_str()).collect();
                write!(f, "-m conntrack {}--ctstate {}", turned(not), states.join(","))
            }
            Match::OneIn(count) => {
                let probability = 1.0 / f64::from((*count).max(1));
                write!(f, "-m statistic --mode random --probability {probability:.10}")
            }
            Match::Recent { list, seconds } => {
                write!(
                    f,
                    "-m recent --rcheck --seconds {seconds} --reap --name {list} --rsource"
                )
            }
            Match::Remember(list) => write!(f, "-m recent --set --name {list} --rsource"),
            Match::Comment(text) => write!(f, "-m comment --comment \"{}\"", quotable(text)),
        }
    }
}

/// The longest comment that the kernel takes, in bytes.
const LONGEST_COMMENT: usize = 255;

/// `text` as it may stand between quotes: names of objects never need the change, but a broken line would break the
/// whole table.
fn quotable(text: &str) -> Cow<'_, str> {
    let plain = |letter: char| letter != '"' && letter != '\\' && !letter.is_control();
    if text.len() <= LONGEST_COMMENT && text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::new();
    for letter in text.chars() {
        let letter = if plain(letter) { letter } else { '_' };
        if kept.len() + letter.len_utf8() > LONGEST_COMMENT {
            break;
        }
        kept.push(letter);
    }
    Cow::Owned(kept)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Jump(chain) => write!(f, "-j {chain}"),
            Target::Return => f.write_str("-j RETURN"),
            Target::Accept => f.write_str("-j ACCEPT"),
            Target::Drop => f.write_str("-j DROP"),
            Target::Reject => f.write_str("-j REJECT"),
            Target::Dnat(to) => write!(f, "-j DNAT --to-destination {to}"),
            Target::Masquerade => f.write_str("-j MASQUERADE --random-fully"),
            Target::MarkOr(bits) => write!(f, "-j MARK --or-mark {bits:#x}"),
            Target::MarkXor(bits) => write!(f, "-j MARK --xor-mark {bits:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_as_iptables_save_prints_it() {
        let rule = Rule::jump("KUBE-SVC-X")
            .comment("default/web cluster IP")
            .towards_host(Ipv4Addr::new(10, 96, 0, 7))
            .port(Protocol::Tcp, 80)
            .not_from(Cidr::LOOPBACK);
        insta::assert_snapshot!(rule, @r#"! -s 127.0.0.0/8 -d 10.96.0.7/32 -p tcp -m comment --comment "default/web cluster IP" -m tcp --dport 80 -j KUBE-SVC-X"#);
    }

    #[test]
    fn a_comment_cannot_leave_its_quotes() {
        let text = Match::Comment("a\" -j ACCEPT\n-A \\".into()).to_string();
        insta::assert_snapshot!(text, @r#"-m comment --comment "a_ -j ACCEPT_-A _""#);
        assert!(Match::Comment("é".repeat(300)).to_string().len() <= LONGEST_COMMENT + 30);
    }
}
