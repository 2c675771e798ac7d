//! From services and endpoint slices to rules: pure, and the whole truth of the proxy.
//!
//! The chains, their names and their comments are kube-proxy's in mode iptables, with four differences, all because the
//! machine is somebody's own: node ports answer at the node's own addresses only; packets from beyond the machine reach
//! no service unless [`Options::admit_outside`] says so; invalid packets are dropped only when a pod sent them; and
//! packets between pods pass, also where another program (Docker) would stop them. Not here: IPv6, topology hints,
//! health-check node ports.

mod endpoints;
pub(crate) mod names;
mod port;
mod service;

use std::borrow::Borrow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use orrery_api::meta::{Object, ObjectKey};

pub use names::{MASQUERADE_MARK, is_own_chain};
pub use service::{Frontend, ServiceRules};

use crate::options::Options;
use crate::ruleset::{Cidr, Connection, Hook, Match, Rule, Ruleset, Table, Target};

/// Says which service a slice belongs to.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The service that a slice belongs to.
pub fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    Some(ObjectKey::new(slice.namespace(), slice.label(SERVICE_NAME)?))
}

/// The rules of a node for these services and slices, in whatever order they come.
pub fn plan<S, E>(services: &[S], slices: &[E], options: &Options) -> Ruleset
where
    S: Borrow<Service>,
    E: Borrow<EndpointSlice>,
{
    let mut by_service: BTreeMap<ObjectKey, Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices.iter().map(Borrow::borrow) {
        if let Some(key) = service_of(slice) {
            by_service.entry(key).or_default().push(slice);
        }
    }
    let planned: BTreeMap<ObjectKey, ServiceRules> = services
        .iter()
        .map(|service| {
            let key = service.borrow().key();
            let slices = by_service.get(&key).map_or(&[][..], Vec::as_slice);
            let rules = ServiceRules::plan(service.borrow(), slices, options);
            (key, rules)
        })
        .collect();
    assemble(planned.values(), &frame(options), options)
}

/// The rules of a node that depend on no service.
pub fn frame(options: &Options) -> Ruleset {
    let mut nat = Table {
        hooks: nat_hooks().into(),
        chains: BTreeMap::new(),
    };
    nat.add(names::MARKER, Vec::new());
    nat.add(names::MARK_MASQUERADE, vec![Rule::to(Target::MarkOr(MASQUERADE_MARK))]);
    nat.add(names::POSTROUTING, postrouting());
    let mut filter = Table {
        hooks: filter_hooks().into(),
        chains: BTreeMap::new(),
    };
    filter.add(names::MARKER, Vec::new());
    filter.add(names::FORWARD, forward(options));
    filter.add(names::FIREWALL, firewall());
    Ruleset { nat, filter }
}

/// The rules of a node: those of the [`frame`] and those of its services, given in the order of their keys.
pub fn assemble<'a>(
    services: impl Iterator<Item = &'a ServiceRules> + Clone,
    frame: &Ruleset,
    options: &Options,
) -> Ruleset {
    let collect = |which: fn(&ServiceRules) -> &[Rule]| services.clone().flat_map(which).cloned().collect::<Vec<_>>();
    let mut portals = Vec::new();
    if !options.admit_outside {
        let stranger = Rule::to(Target::Return).comment("orrery: services answer pods and this machine only");
        portals.push(
            stranger
                .not_from(options.cluster_cidr)
                .when(Match::SourceIsLocal { not: true }),
        );
    }
    portals.extend(collect(|rules| &rules.portals));
    for network in &options.node_port_addresses {
        let rule = Rule::jump(names::NODE_PORTS)
            .comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
            .towards(*network);
        portals.push(rule.when(Match::DestinationIsLocal));
    }

    let Ruleset { mut nat, mut filter } = frame.clone();
    for service in services.clone() {
        nat.chains
            .extend(service.chains.iter().map(|(name, rules)| (name.clone(), rules.clone())));
    }
    nat.add(names::SERVICES, portals);
    nat.add(names::NODE_PORTS, collect(|rules| &rules.node_ports));
    filter.add(names::SERVICES, collect(|rules| &rules.unanswered));
    filter.add(names::EXTERNAL_SERVICES, collect(|rules| &rules.unanswered_outside));
    filter.add(names::PROXY_FIREWALL, collect(|rules| &rules.forbidden));
    Ruleset { nat, filter }
}

impl Table {
    fn add(&mut self, chain: &str, rules: Vec<Rule>) {
        self.chains.insert(chain.to_string(), rules.into());
    }
}

fn hook(chain: &str, rule: Rule) -> Hook {
    Hook {
        chain: chain.to_string(),
        rule,
        optional: false,
    }
}

fn nat_hooks() -> Vec<Hook> {
    let portals = || Rule::jump(names::SERVICES).comment("kubernetes service portals");
    vec![
        hook("PREROUTING", portals()),
        hook("OUTPUT", portals()),
        hook(
            "POSTROUTING",
            Rule::jump(names::POSTROUTING).comment("kubernetes postrouting rules"),
        ),
    ]
}

fn filter_hooks() -> Vec<Hook> {
    let on_new = |chain: &str, purpose: &str| Rule::jump(chain).in_state(&[Connection::New]).comment(purpose);
    let firewall = || on_new(names::PROXY_FIREWALL, "kubernetes load balancer firewall");
    let portals = || on_new(names::SERVICES, "kubernetes service portals");
    let external = || {
        on_new(
            names::EXTERNAL_SERVICES,
            "kubernetes externally-visible service portals",
        )
    };
    let forward = || Rule::jump(names::FORWARD).comment("kubernetes forwarding rules");
    vec![
        hook("INPUT", firewall()),
        hook("INPUT", external()),
        hook("INPUT", Rule::jump(names::FIREWALL)),
        hook("FORWARD", firewall()),
        hook("FORWARD", forward()),
        hook("FORWARD", portals()),
        hook("FORWARD", external()),
        hook("OUTPUT", firewall()),
        hook("OUTPUT", portals()),
        hook("OUTPUT", external()),
        hook("OUTPUT", Rule::jump(names::FIREWALL)),
        // Docker puts its own rules first again whenever it starts, but always asks this chain before them.
        Hook {
            chain: "DOCKER-USER".to_string(),
            rule: forward(),
            optional: true,
        },
    ]
}

/// Only marked packets are masqueraded, and the mark goes before they do: they may come by here again, encapsulated.
fn postrouting() -> Vec<Rule> {
    vec![
        Rule::to(Target::Return).when(Match::Mark {
            value: MASQUERADE_MARK,
            mask: MASQUERADE_MARK,
            not: true,
        }),
        Rule::to(Target::MarkXor(MASQUERADE_MARK)),
        Rule::to(Target::Masquerade).comment("kubernetes service traffic requiring SNAT"),
    ]
}

fn forward(options: &Options) -> Vec<Rule> {
    let pods = options.cluster_cidr;
    vec![
        // An answer that connection tracking does not know keeps the endpoint's address; its receiver would reset.
        Rule::to(Target::Drop).from(pods).in_state(&[Connection::Invalid]),
        Rule::to(Target::Accept)
            .comment("kubernetes forwarding rules")
            .when(Match::Mark {
                value: MASQUERADE_MARK,
                mask: MASQUERADE_MARK,
                not: false,
            }),
        Rule::to(Target::Accept)
            .comment("kubernetes forwarding conntrack rule")
            .from(pods)
            .in_state(&[Connection::Related, Connection::Established]),
        Rule::to(Target::Accept)
            .comment("kubernetes forwarding conntrack rule")
            .towards(pods)
            .in_state(&[Connection::Related, Connection::Established]),
        Rule::to(Target::Accept)
            .comment("orrery: pods reach pods")
            .from(pods)
            .towards(pods),
    ]
}

/// Node ports on loopback need `route_localnet`, which opens loopback to neighbours; this closes it (CVE-2020-8558).
fn firewall() -> Vec<Rule> {
    let rule = Rule::to(Target::Drop).comment("block incoming localnet connections");
    let rule = rule.not_from(Cidr::LOOPBACK).towards(Cidr::LOOPBACK);
    vec![rule.when(Match::Connection {
        states: vec![Connection::Related, Connection::Established, Connection::Dnat],
        not: true,
    })]
}
