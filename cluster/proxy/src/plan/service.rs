//! The rules of one service: where its addresses lead, and what becomes of calls that nobody can answer.

use core::net::{Ipv4Addr, SocketAddrV4};
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use orrery_api::mutant;

use super::endpoints::Backends;
use super::names;
use super::port::{Port, ports_of};
use crate::options::Options;
use crate::ruleset::{Cidr, Match, Protocol, Rule, Target};

/// Somewhere that flows can be opened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frontend {
    /// The protocol.
    pub protocol: Protocol,
    /// The addresses.
    pub destination: Cidr,
    /// The port.
    pub port: u16,
}

/// What one service adds to the rules. It depends on that service and its slices alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceRules {
    /// What they are made of: all that packets depend on of the service and its slices.
    basis: Vec<(Port, Backends)>,
    /// The service's own chains in table nat.
    pub(super) chains: BTreeMap<String, Arc<[Rule]>>,
    /// Rules of KUBE-SERVICES in table nat.
    pub(super) portals: Vec<Rule>,
    /// Rules of KUBE-NODEPORTS in table nat.
    pub(super) node_ports: Vec<Rule>,
    /// Rules of KUBE-SERVICES in table filter.
    pub(super) unanswered: Vec<Rule>,
    /// Rules of KUBE-EXTERNAL-SERVICES in table filter.
    pub(super) unanswered_outside: Vec<Rule>,
    /// Rules of KUBE-PROXY-FIREWALL in table filter.
    pub(super) forbidden: Vec<Rule>,
    /// Where flows can be opened to, and the endpoints that answer there.
    pub(super) frontends: BTreeMap<Frontend, BTreeSet<SocketAddrV4>>,
}

impl ServiceRules {
    /// The rules of `service`, whose slices are `slices`.
    pub fn plan<E: Borrow<EndpointSlice>>(service: &Service, slices: &[E], options: &Options) -> Self {
        let mut rules = ServiceRules::default();
        rules.replan(service, slices, options);
        rules
    }

    /// Plans the rules anew, if what they are made of has changed; says whether it has. Most changes of slices are
    /// about endpoints that take no packets yet, and names of chains are hashes.
    pub fn replan<E: Borrow<EndpointSlice>>(&mut self, service: &Service, slices: &[E], options: &Options) -> bool {
        let observe = |port: Port| {
            let backends = Backends::observe(&port, slices, &options.node_name);
            (port, backends)
        };
        let basis: Vec<_> = ports_of(service).into_iter().map(observe).collect();
        let has_same_backends = || {
            basis
                .iter()
                .map(|(_, own)| own)
                .eq(self.basis.iter().map(|(_, own)| own))
        };
        if basis == self.basis || (has_same_backends() && mutant::active("O64")) {
            return false;
        }
        *self = ServiceRules::default();
        for (port, backends) in &basis {
            self.add(port, backends, options);
        }
        self.basis = basis;
        true
    }

    /// Where flows can be opened to, each with the endpoints that answer there.
    pub fn frontends(&self) -> &BTreeMap<Frontend, BTreeSet<SocketAddrV4>> {
        &self.frontends
    }

    fn add(&mut self, port: &Port, backends: &Backends, options: &Options) {
        self.add_frontends(port, backends, options);
        self.add_internal(port, backends, options);
        if port.is_external() {
            self.add_external(port, backends, options);
        }
    }

    fn add_frontends(&mut self, port: &Port, backends: &Backends, options: &Options) {
        let hosts = [&port.external_ips[..], &port.balancer_ips, &[port.cluster_ip]].concat();
        let hosts = hosts.into_iter().map(|address| (Cidr::host(address), port.port));
        let node_ports = port.node_port.into_iter();
        let node_ports = node_ports.filter(|_| port.protocol != Protocol::Udp || !mutant::active("O94"));
        let node_ports = node_ports.flat_map(|number| {
            options
                .node_port_addresses
                .iter()
                .map(move |network| (*network, number))
        });
        for (destination, number) in hosts.chain(node_ports) {
            let frontend = Frontend {
                protocol: port.protocol,
                destination,
                port: number,
            };
            self.frontends.entry(frontend).or_default().extend(&backends.serving);
        }
    }

    /// The cluster IP.
    fn add_internal(&mut self, port: &Port, backends: &Backends, options: &Options) {
        let purpose = format!("{} cluster IP", port.label);
        let call = |rule: Rule| {
            rule.comment(&purpose)
                .towards_host(port.cluster_ip)
                .port(port.protocol, port.port)
        };
        if backends.of(port.internal_local).is_empty() {
            let (target, reason) = unanswered(port, backends);
            let rule = Rule::to(target).comment(reason).towards_host(port.cluster_ip);
            self.unanswered.push(rule.port(port.protocol, port.port));
            return;
        }
        let chain = self.add_spread(port, backends, port.internal_local, options);
        self.portals.push(call(Rule::jump(chain)));
    }

    /// External addresses, a load balancer's addresses, the node port.
    fn add_external(&mut self, port: &Port, backends: &Backends, options: &Options) {
        // With a local policy, pods and the machine itself still reach every endpoint.
        let is_answered = !backends.is_empty();
        if backends.of(port.external_local).is_empty() {
            self.add_unanswered_outside(port, backends, options);
        }
        if !is_answered {
            return;
        }
        let external = self.add_external_chain(port, backends, options);
        let call = |address: Ipv4Addr, kind: &str, chain: &str| {
            let rule = Rule::jump(chain).comment(format!("{} {kind}", port.label));
            rule.towards_host(address).port(port.protocol, port.port)
        };
        for address in port.external_ips.iter().filter(|_| !mutant::active("O153")) {
            self.portals.push(call(*address, "external IP", &external));
        }
        for address in &port.balancer_ips {
            let chain = if port.source_ranges.is_empty() {
                external.clone()
            } else {
                self.add_admission(port, &external, options)
            };
            self.portals.push(call(*address, "loadbalancer IP", &chain));
            if !port.source_ranges.is_empty() {
                let reason = format!("{} traffic not accepted by {chain}", port.label);
                let rule = Rule::to(Target::Drop).comment(reason).towards_host(*address);
                self.forbidden.push(rule.port(port.protocol, port.port));
            }
        }
        if let Some(number) = port.node_port {
            self.node_ports
                .push(Rule::jump(&external).comment(&port.label).port(port.protocol, number));
        }
    }

    fn add_unanswered_outside(&mut self, port: &Port, backends: &Backends, options: &Options) {
        let (target, reason) = if backends.is_empty() {
            (Target::Reject, "has no endpoints")
        } else {
            (Target::Drop, "has no local endpoints")
        };
        let rule = || Rule::to(target.clone()).comment(format!("{} {reason}", port.label));
        for address in port.external_ips.iter().chain(&port.balancer_ips) {
            self.unanswered_outside
                .push(rule().towards_host(*address).port(port.protocol, port.port));
        }
        if let Some(number) = port.node_port {
            for network in &options.node_port_addresses {
                let rule = rule().towards(*network).when(Match::DestinationIsLocal);
                self.unanswered_outside.push(rule.port(port.protocol, number));
            }
        }
    }

    /// The chain that all external addresses of the port lead to.
    fn add_external_chain(&mut self, port: &Port, backends: &Backends, options: &Options) -> String {
        let mut rules = Vec::new();
        if port.external_local {
            if !backends.cluster.is_empty() && !mutant::active("O152") {
                let anywhere = self.add_spread(port, backends, false, options);
                let callers =
                    |rule: Rule, who: &str| rule.comment(format!("{who} for {} external destinations", port.label));
                let local = || Match::SourceIsLocal { not: false };
                rules.push(callers(Rule::jump(&anywhere), "pod traffic").from(options.cluster_cidr));
                rules.push(callers(Rule::jump(names::MARK_MASQUERADE), "masquerade LOCAL traffic").when(local()));
                rules.push(callers(Rule::jump(&anywhere), "route LOCAL traffic").when(local()));
            }
        } else {
            let purpose = format!("masquerade traffic for {} external destinations", port.label);
            rules.push(Rule::jump(names::MARK_MASQUERADE).comment(purpose));
        }
        if !backends.of(port.external_local).is_empty() {
            rules.push(Rule::jump(self.add_spread(
                port,
                backends,
                port.external_local,
                options,
            )));
        }
        let name = names::external(port);
        self.chains.insert(name.clone(), rules.into());
        name
    }

    /// The chain that lets only the admitted sources through to a load balancer's addresses.
    fn add_admission(&mut self, port: &Port, external: &str, options: &Options) -> String {
        let purpose = format!("{} loadbalancer IP", port.label);
        let rule = |source: Cidr| Rule::jump(external).comment(&purpose).from(source);
        let mut rules: Vec<_> = port.source_ranges.iter().map(|source| rule(*source)).collect();
        // The machine's own packets to an address that it has itself bear that address as their source.
        let admits_node = options
            .node_ips
            .iter()
            .any(|ip| port.source_ranges.iter().any(|range| range.contains(*ip)));
        if admits_node {
            rules.extend(port.balancer_ips.iter().map(|address| rule(Cidr::host(*address))));
        }
        let name = names::balancer(port);
        self.chains.insert(name.clone(), rules.into());
        name
    }

    /// The chain that spreads connections evenly over endpoints, and a chain for each of these.
    fn add_spread(&mut self, port: &Port, backends: &Backends, local: bool, options: &Options) -> String {
        let name = names::service(port, local);
        if self.chains.contains_key(&name) {
            return name;
        }
        let endpoints = backends.of(local);
        let mut rules = Vec::new();
        if local == port.internal_local && !mutant::active("O151") {
            // Whoever calls from elsewhere must get its answers by way of this node.
            let rule = Rule::jump(names::MARK_MASQUERADE).comment(format!("{} cluster IP", port.label));
            let rule = rule.not_from(options.cluster_cidr).towards_host(port.cluster_ip);
            rules.push(rule.port(port.protocol, port.port));
        }
        // A name is a hash, and the most costly thing of a rule.
        let chains: Vec<String> = endpoints.iter().map(|at| names::endpoint(port, *at)).collect();
        let leads = |at: &SocketAddrV4, chain: &str| Rule::jump(chain).comment(format!("{} -> {at}", port.label));
        let affinity = port
            .affinity
            .filter(|_| !(local && endpoints.len() > 1 && mutant::active("O244")));
        if let Some(seconds) = affinity {
            rules.extend(endpoints.iter().zip(&chains).map(|(at, chain)| {
                leads(at, chain).when(Match::Recent {
                    list: chain.clone(),
                    seconds,
                })
            }));
        }
        for ((at, chain), left) in endpoints.iter().zip(&chains).zip((1..=endpoints.len() as u32).rev()) {
            // Of those that come so far, one in as many as endpoints are left: each gets the same share of the whole.
            rules.push(if left > 1 {
                // The mutant: one in as many as there are, though some never come so far.
                let all = endpoints.len() as u32;
                let share = if left < all && mutant::active("O115") {
                    all
                } else {
                    left
                };
                leads(at, chain).when(Match::OneIn(share))
            } else {
                leads(at, chain)
            });
        }
        self.chains.insert(name.clone(), rules.into());
        for (at, chain) in endpoints.iter().zip(chains) {
            self.add_endpoint(port, *at, chain);
        }
        name
    }

    fn add_endpoint(&mut self, port: &Port, at: SocketAddrV4, name: String) {
        // A pod that calls itself would see its own address and answer past us.
        let hairpin = Rule::jump(names::MARK_MASQUERADE)
            .comment(&port.label)
            .from(Cidr::host(*at.ip()));
        let mut lead = Rule::to(Target::Dnat(at)).comment(&port.label).of(port.protocol);
        if port.affinity.is_some() && !mutant::active("O30") {
            lead = lead.when(Match::Remember(name.clone()));
        }
        let rules = match mutant::active("O92") {
            true => vec![lead],
            false => vec![hairpin, lead],
        };
        self.chains.insert(name, rules.into());
    }
}

/// What becomes of calls to a cluster IP that no endpoint may answer.
fn unanswered(port: &Port, backends: &Backends) -> (Target, String) {
    if backends.is_empty() {
        (Target::Reject, format!("{} has no endpoints", port.label))
    } else {
        (Target::Drop, format!("{} has no local endpoints", port.label))
    }
}
