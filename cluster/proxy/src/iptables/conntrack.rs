//! Tracked flows: reading `conntrack -L`, and naming those to delete.

use core::net::{Ipv4Addr, SocketAddrV4};
use std::collections::BTreeSet;

use crate::filter::StaleFlows;
use crate::ruleset::Protocol;

/// A tracked flow: where it was opened to, and who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flow {
    pub protocol: Protocol,
    pub original: SocketAddrV4,
    pub endpoint: SocketAddrV4,
}

impl Flow {
    /// The arguments of `conntrack` that delete this flow and all like it.
    pub fn deletion(&self) -> Vec<String> {
        let endpoint = (self.endpoint.ip().to_string(), self.endpoint.port().to_string());
        let original = (self.original.ip().to_string(), self.original.port().to_string());
        let pairs = [
            ("--proto", self.protocol.to_string()),
            ("--orig-dst", original.0),
            ("--orig-port-dst", original.1),
            ("--reply-src", endpoint.0),
            ("--reply-port-src", endpoint.1),
        ];
        let pairs = pairs
            .into_iter()
            .flat_map(|(option, value)| [option.to_string(), value]);
        ["--delete".to_string()].into_iter().chain(pairs).collect()
    }
}

/// The flows in the output of `conntrack -L` that are stale; each kind once, however many clients it has.
pub(super) fn stale(listing: &str, stale: &[StaleFlows]) -> BTreeSet<Flow> {
    let flows = listing.lines().filter_map(read);
    let named = |flow: &Flow| {
        stale
            .iter()
            .any(|one| one.names(flow.protocol, flow.original, flow.endpoint))
    };
    flows.filter(named).collect()
}

/// One line: a flow's addresses as its first packet had them, then as its answers have them.
fn read(line: &str) -> Option<Flow> {
    let protocol = match line.split_whitespace().next()? {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return None,
    };
    let words: Vec<(&str, &str)> = line
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .collect();
    let nth = |name: &str, place: usize| {
        words
            .iter()
            .filter(|(word, _)| *word == name)
            .map(|(_, value)| *value)
            .nth(place)
    };
    let address = |name: &str, place| nth(name, place)?.parse::<Ipv4Addr>().ok();
    let port = |name: &str, place| nth(name, place)?.parse::<u16>().ok();
    Some(Flow {
        protocol,
        original: SocketAddrV4::new(address("dst", 0)?, port("dport", 0)?),
        endpoint: SocketAddrV4::new(address("src", 1)?, port("sport", 1)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
udp      17 29 src=10.244.0.14 dst=10.96.0.10 sport=43145 dport=53 [UNREPLIED] src=10.244.0.11 dst=10.244.0.14 sport=5353 dport=43145 mark=0 use=1
udp      17 29 src=10.244.0.15 dst=10.96.0.10 sport=43146 dport=53 src=10.244.0.12 dst=10.244.0.15 sport=5353 dport=43146 [ASSURED] mark=0 use=1
icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=1 src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=1 mark=0 use=1
conntrack v1.4.7 (conntrack-tools): 3 flow entries have been shown.
";

    #[test]
    fn flows_to_what_is_no_endpoint_are_named_for_deletion() {
        let flows = StaleFlows {
            protocol: Protocol::Udp,
            destination: "10.96.0.10".parse().unwrap(),
            port: Some(53),
            keep: ["10.244.0.12:5353".parse().unwrap()].into(),
        };
        let stale = stale(LISTING, &[flows]);
        assert_eq!(stale.len(), 1);
        insta::assert_snapshot!(stale.first().unwrap().deletion().join(" "), @"--delete --proto udp --orig-dst 10.96.0.10 --orig-port-dst 53 --reply-src 10.244.0.11 --reply-port-src 5353");
    }
}
