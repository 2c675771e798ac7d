//! What a node's proxy must be told.

use core::net::Ipv4Addr;
use core::time::Duration;

use crate::ruleset::Cidr;

/// Options of one node's proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The node that the rules are for: endpoints on it are the local ones.
    pub node_name: String,
    /// The node's own addresses.
    pub node_ips: Vec<Ipv4Addr>,
    /// Where node ports answer: those of the node's addresses that lie in one of these networks. By default the node's
    /// own addresses and loopback.
    pub node_port_addresses: Vec<Cidr>,
    /// Whether packets from beyond the machine (neither a pod's nor the machine's own) may reach services. By default
    /// they may not: a cluster on a laptop is not the business of the network it is in.
    pub admit_outside: bool,
    /// The addresses of all pods of the cluster; whoever calls a cluster IP from elsewhere is masqueraded.
    pub cluster_cidr: Cidr,
    /// The cluster IPs. With it, a proxy that starts also forgets UDP flows to services that vanished while it was
    /// down.
    pub service_cidr: Option<Cidr>,
    /// The shortest time between two changes of the rules; a change after a quiet time is made at once.
    pub min_sync: Duration,
    /// How often everything is planned and written again though nothing changed, to repair what others did.
    pub resync: Duration,
    /// The longest time that one change of the rules may take before it counts as failed.
    pub apply_timeout: Duration,
}

impl Options {
    /// The options of the node with these addresses, all else at its default.
    pub fn new(node_name: impl Into<String>, node_ips: Vec<Ipv4Addr>, cluster_cidr: Cidr) -> Self {
        let own = node_ips.iter().copied().map(Cidr::host);
        Options {
            node_name: node_name.into(),
            node_port_addresses: own.chain([Cidr::LOOPBACK]).collect(),
            node_ips,
            admit_outside: false,
            cluster_cidr,
            service_cidr: None,
            min_sync: Duration::from_millis(100),
            resync: Duration::from_secs(300),
            apply_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options::new("orrery", Vec::new(), Cidr::new(Ipv4Addr::new(10, 244, 0, 0), 16))
    }
}
