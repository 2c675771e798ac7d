//! The seam between the proxy and the machine: what a packet filter must be able to do.
//!
//! The real one runs iptables-restore; the simulated one keeps the rules and evaluates packets against them.

use core::net::SocketAddrV4;
use std::collections::BTreeSet;

use async_trait::async_trait;

use crate::ruleset::{Cidr, Protocol, Ruleset};

/// Why the packet filter did not do what it was told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The process may not change rules.
    #[error("iptables needs root: run as root or with CAP_NET_ADMIN ({0})")]
    NotPermitted(String),
    /// A program is not installed.
    #[error("{0} is not installed or not on the PATH")]
    Missing(String),
    /// Rules of another Kubernetes stand on this machine.
    #[error(
        "table {table} holds chain {chain}, which another Kubernetes made: stop its kube-proxy and remove its rules \
         (kube-proxy --cleanup), or run in another network namespace"
    )]
    Foreign {
        /// The table.
        table: String,
        /// One of the chains.
        chain: String,
    },
    /// A program failed.
    #[error("{program} failed: {message}")]
    Failed {
        /// The program.
        program: String,
        /// What it said.
        message: String,
    },
    /// A program did not end in time.
    #[error("{0} did not end in time")]
    Timeout(String),
}

/// Flows that may be stale: those that were opened to a service and are translated to something that is no longer
/// right. It is a statement of what may stay, so that saying it twice does no harm.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StaleFlows {
    /// The flows' protocol. The proxy names only UDP's: other protocols notice by themselves that nobody answers.
    pub protocol: Protocol,
    /// Where the flows were opened to: a cluster IP, an external address, or the addresses that have node ports.
    pub destination: Cidr,
    /// The port they were opened to; any, if none is named.
    pub port: Option<u16>,
    /// Flows translated to one of these stay; all others, also those never translated at all, are forgotten.
    pub keep: BTreeSet<SocketAddrV4>,
}

impl StaleFlows {
    /// Whether a tracked flow must be forgotten: opened to `original`, answered by `endpoint`.
    pub fn names(&self, protocol: Protocol, original: SocketAddrV4, endpoint: SocketAddrV4) -> bool {
        self.protocol == protocol
            && self.port.is_none_or(|port| port == original.port())
            && self.destination.contains(*original.ip())
            && !self.keep.contains(&endpoint)
    }
}

/// The packet filter of one node.
#[async_trait]
pub trait PacketFilter: Send + Sync + 'static {
    /// Makes `rules` all the rules of ours that stand, each table in one step. To apply the same rules again repairs
    /// what others changed. After an error some tables may have the new rules and others the old ones: apply again.
    async fn apply(&self, rules: &Ruleset) -> Result<(), FilterError>;

    /// Forgets tracked flows, so that their next packet meets the rules as a new one.
    async fn flush_conntrack(&self, flows: &[StaleFlows]) -> Result<(), FilterError>;

    /// Removes every rule and chain of ours and nothing else.
    async fn clear(&self) -> Result<(), FilterError>;
}
