//! What holds for all services and slices.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use orrery_proxy::plan::plan;
use orrery_proxy::ruleset::{Match, Rule, Ruleset};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::objects::{draining, options, ready, service, slice, unready};

fn endpoint() -> impl Strategy<Value = Endpoint> {
    (1u8..40, prop::bool::ANY, 0..4u8).prop_map(|(number, here, state)| {
        // The address says the node, so that one address is always on the same one.
        let (node, address) = if here {
            ("here", format!("10.244.0.{number}"))
        } else {
            ("there", format!("10.244.1.{number}"))
        };
        match state {
            0 => unready(&address, node),
            1 => draining(&address, node),
            _ => ready(&address, node),
        }
    })
}

/// Some services, each with slices for its one port.
fn cluster() -> impl Strategy<Value = (Vec<Service>, Vec<EndpointSlice>)> {
    let kinds = prop::sample::select(vec!["ClusterIP", "NodePort", "LoadBalancer"]);
    let protocols = prop::sample::select(vec!["TCP", "UDP", "SCTP"]);
    let one = (
        kinds,
        protocols,
        prop::bool::ANY,
        prop::bool::ANY,
        prop::bool::ANY,
        vec(vec(endpoint(), 0..8), 0..3),
    );
    vec(one, 0..5).prop_map(|services| {
        let mut all = (Vec::new(), Vec::new());
        for (place, (kind, protocol, internal, external, affinity, slices)) in services.into_iter().enumerate() {
            let name = format!("s{place}");
            let node_port = if kind == "ClusterIP" { 0 } else { 30000 + place as i32 };
            let mut service = service(
                &name,
                kind,
                &format!("10.96.0.{place}"),
                &[("p", protocol, 80, node_port)],
            );
            let spec = service.spec.as_mut().unwrap();
            spec.internal_traffic_policy = internal.then(|| "Local".to_string());
            spec.external_traffic_policy = external.then(|| "Local".to_string());
            spec.session_affinity = affinity.then(|| "ClientIP".to_string());
            all.0.push(service);
            for (number, endpoints) in slices.into_iter().enumerate() {
                let mut slice = slice(&name, ("p", protocol, 8080), endpoints);
                slice.metadata.name = Some(format!("{name}-{number}"));
                all.1.push(slice);
            }
        }
        all
    })
}

/// The addresses of a service's endpoints that `which` holds for.
fn addresses(slices: &[EndpointSlice], service: &str, which: impl Fn(&Endpoint) -> bool) -> Vec<SocketAddrV4> {
    let of_service = |slice: &&EndpointSlice| {
        slice
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get("kubernetes.io/service-name"))
            .map(String::as_str)
            == Some(service)
    };
    let endpoints = slices
        .iter()
        .filter(of_service)
        .flat_map(|slice| &slice.endpoints)
        .filter(|endpoint| which(endpoint));
    let mut all: Vec<_> = endpoints
        .map(|endpoint| format!("{}:8080", endpoint.addresses[0]).parse().unwrap())
        .collect();
    all.sort();
    all.dedup();
    all
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().unwrap().ready == Some(true)
}

/// How likely a connection that comes by `chain` goes where, as the rules have it.
fn odds(rules: &Ruleset, chain: &str) -> BTreeMap<SocketAddrV4, f64> {
    let mut odds = BTreeMap::new();
    let mut left = 1.0;
    for rule in rules.nat.chain(chain) {
        let Some(next) = rule.jumps_to().filter(|next| next.starts_with("KUBE-SEP-")) else {
            continue;
        };
        if rule
            .matches
            .iter()
            .any(|condition| matches!(condition, Match::Recent { .. }))
        {
            continue;
        }
        let share = rule.matches.iter().find_map(|condition| match condition {
            Match::OneIn(count) => Some(left / f64::from(*count)),
            _ => None,
        });
        let share = share.unwrap_or(left);
        left -= share;
        let to = rules
            .nat
            .chain(next)
            .iter()
            .find_map(Rule::translates_to)
            .expect("an endpoint's chain leads to it");
        *odds.entry(to).or_default() += share;
    }
    odds
}

proptest! {
    #[test]
    fn the_rules_depend_on_the_set_of_objects_and_not_on_their_order((services, slices) in cluster(), turn in 0usize..7) {
        let rules = plan(&services, &slices, &options());
        let (mut services, mut slices) = (services, slices);
        services.reverse();
        let length = slices.len().max(1);
        slices.rotate_left(turn % length);
        prop_assert_eq!(plan(&services, &slices, &options()), rules);
    }

    #[test]
    fn every_ready_endpoint_gets_its_share_and_nobody_else_any((services, slices) in cluster()) {
        let rules = plan(&services, &slices, &options());
        for service in &services {
            let spec = service.spec.as_ref().unwrap();
            let name = service.metadata.name.as_deref().unwrap();
            if spec.internal_traffic_policy.is_some() {
                continue;
            }
            let ready = addresses(&slices, name, is_ready);
            let portal = rules.nat.chain("KUBE-SERVICES").iter().find(|rule| {
                rule.to_string().contains(&format!("\"default/{name}:p cluster IP\""))
            });
            let Some(chain) = portal.and_then(Rule::jumps_to) else {
                prop_assert!(ready.is_empty());
                let refused = format!("\"default/{name}:p has no endpoints\"");
                prop_assert!(rules.filter.to_string().contains(&refused));
                continue;
            };
            let odds = odds(&rules, chain);
            prop_assert!((odds.values().sum::<f64>() - 1.0).abs() < 1e-9);
            if !ready.is_empty() {
                prop_assert_eq!(odds.keys().copied().collect::<Vec<_>>(), ready.clone());
            }
            for share in odds.values() {
                prop_assert!((share - 1.0 / odds.len() as f64).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn no_rule_leads_to_what_is_no_endpoint((services, slices) in cluster()) {
        let rules = plan(&services, &slices, &options());
        let serving = |endpoint: &Endpoint| endpoint.conditions.as_ref().unwrap().serving == Some(true);
        let all: Vec<_> = services.iter().flat_map(|service| addresses(&slices, service.metadata.name.as_deref().unwrap(), serving)).collect();
        for endpoint in rules.endpoints() {
            prop_assert!(all.contains(&endpoint));
        }
    }

    #[test]
    fn every_jump_leads_to_a_chain_and_every_chain_is_reached((services, slices) in cluster()) {
        let rules = plan(&services, &slices, &options());
        for (_, table) in rules.tables() {
            let jumps = table.chains.values().flat_map(|rules| rules.iter()).chain(table.hooks.iter().map(|hook| &hook.rule));
            let targets: Vec<_> = jumps.filter_map(Rule::jumps_to).collect();
            for target in &targets {
                prop_assert!(table.chains.contains_key(*target), "{target}");
            }
            for chain in table.chains.keys().filter(|chain| *chain != "ORRERY-PROXY") {
                prop_assert!(targets.contains(&chain.as_str()) || chain.starts_with("KUBE-MARK"), "{chain}");
            }
            prop_assert!(table.chains.keys().all(|chain| chain.len() <= 28));
        }
    }
}
