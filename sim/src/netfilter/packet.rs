//! Packets, and what may become of them.

use core::net::{Ipv4Addr, SocketAddrV4};

use orrery_proxy::ruleset::Protocol;

/// Who sent a packet, seen from the node that it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A pod; it is forwarded or received.
    Pod,
    /// A process of the node itself.
    Host,
    /// Something beyond the node.
    Outside,
}

/// One packet as it enters a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Its sender's address.
    pub src: Ipv4Addr,
    /// Where it is sent to.
    pub dst: Ipv4Addr,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its sender's port.
    pub sport: u16,
    /// The port it is sent to.
    pub dport: u16,
    /// Who sent it.
    pub from: Origin,
}

impl Packet {
    /// Where it is sent to.
    pub fn destination(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.dst, self.dport)
    }

    /// Who sent it.
    pub fn source(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.src, self.sport)
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to an endpoint.
    Delivered {
        /// The endpoint's address.
        ip: Ipv4Addr,
        /// The endpoint's port.
        port: u16,
        /// Whether the endpoint sees the node as its sender.
        snat: bool,
    },
    /// It is refused, and its sender told.
    Rejected,
    /// It vanishes.
    Dropped,
    /// No rule says anything of it: it goes to where it was sent.
    NoRule,
}
