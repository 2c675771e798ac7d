//! Cluster IPs and node ports: each is a key of its own in the store, written and removed in the very transaction that
//! writes its service, so that two services can never hold one, and none is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use orrery_api::field::Error;
use orrery_api::random::Random;
use orrery_store::Store;

use crate::resource::AnyObject;
use crate::resources::services::defaults::{given, has_health_port, has_node_ports};

/// Where claims lie.
pub const CLAIMS: &str = "/ranges/";
const TAKEN: &str = "provided port is already allocated";
/// So many random tries before the range is searched from its beginning.
const TRIES: usize = 16;

/// The addresses and ports that services are given.
#[derive(Debug, Clone)]
pub struct Ranges {
    /// The first address of the service network.
    pub network: Ipv4Addr,
    /// The length of its prefix, 8 to 30.
    pub prefix: u8,
    /// The first node port.
    pub first_port: u16,
    /// The last node port.
    pub last_port: u16,
}

impl Default for Ranges {
    /// `10.96.0.0/16` and 30000 to 32767.
    fn default() -> Self {
        Ranges {
            network: Ipv4Addr::new(10, 96, 0, 0),
            prefix: 16,
            first_port: 30000,
            last_port: 32767,
        }
    }
}

impl Ranges {
    fn size(&self) -> u32 {
        1 << (32 - u32::from(self.prefix))
    }

    /// The `position`th address.
    pub fn address(&self, position: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) + position)
    }

    /// The address of the service `kubernetes`.
    pub fn api_address(&self) -> Ipv4Addr {
        self.address(1)
    }

    fn contains(&self, address: Ipv4Addr) -> bool {
        let position = u32::from(address).wrapping_sub(u32::from(self.network));
        // The first and the last are the network's and the broadcast's.
        (1..self.size() - 1).contains(&position)
    }
}

fn address_key(address: &str) -> String {
    format!("{CLAIMS}serviceips/{address}")
}

fn port_key(port: i32) -> String {
    format!("{CLAIMS}servicenodeports/{port}")
}

fn spec_of(object: &dyn AnyObject) -> Option<&ServiceSpec> {
    object.as_any().downcast_ref::<Service>()?.spec.as_ref()
}

/// The keys that `object` holds: none unless it is a service.
pub fn claims(object: &dyn AnyObject) -> BTreeSet<String> {
    let Some(spec) = spec_of(object) else {
        return BTreeSet::new();
    };
    let own_address = spec.cluster_ip.iter().chain(spec.cluster_ips.iter().flatten());
    let addresses = own_address
        .filter(|address| !address.is_empty() && *address != "None")
        .map(|ip| address_key(ip));
    let ports = spec
        .ports
        .iter()
        .flatten()
        .filter_map(|port| port.node_port)
        .filter(|port| *port != 0);
    let health = spec.health_check_node_port.filter(|port| *port != 0);
    addresses.chain(ports.chain(health).map(port_key)).collect()
}

fn wants_address(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() != Some("ExternalName")
}

/// Whether the type has node ports; others are refused by validation.
fn may_have_ports(spec: &ServiceSpec) -> bool {
    matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer"))
}

/// Gives `object` the addresses and ports that it wants and has not; none unless it is a service. `held` are the claims
/// it has already. Finds faults of what the user chose.
pub fn allocate(
    object: &mut dyn AnyObject,
    held: &BTreeSet<String>,
    ranges: &Ranges,
    store: &Store,
    random: &Random,
) -> Vec<Error> {
    let Some(spec) = object
        .as_any_mut()
        .downcast_mut::<Service>()
        .and_then(|service| service.spec.as_mut())
    else {
        return Vec::new();
    };
    let mut errors = Vec::new();
    let free = |key: &str| held.contains(key) || store.get(key).is_none();
    if wants_address(spec) {
        match spec.cluster_ip.clone().filter(|address| !address.is_empty()) {
            None => match free_address(ranges, &free, random) {
                Some(address) => spec.cluster_ip = Some(address.to_string()),
                None => errors.push(Error {
                    field: "spec.clusterIPs".into(),
                    ..internal("failed to allocate a serviceIP: range is full")
                }),
            },
            Some(none) if none == "None" => {}
            Some(chosen) => errors.extend(check_address(&chosen, ranges, &free)),
        }
        if spec.cluster_ips.as_ref().is_none_or(Vec::is_empty) {
            spec.cluster_ips = spec.cluster_ip.clone().map(|address| vec![address]);
        }
    }
    if may_have_ports(spec) {
        errors.extend(allocate_ports(spec, held, ranges, &free, random));
    }
    if has_health_port(spec) {
        errors.extend(allocate_health_port(spec, ranges, &free, random));
    }
    errors
}

/// Gives the service's ports their node ports. Of a service that holds nothing yet, ports of one number (for TCP
/// and UDP, say) have one node port, which any of them may choose; what is added later gets another, as in Kubernetes.
fn allocate_ports(
    spec: &mut ServiceSpec,
    held: &BTreeSet<String>,
    ranges: &Ranges,
    free: &dyn Fn(&str) -> bool,
    random: &Random,
) -> Vec<Error> {
    let is_new = held.is_empty();
    let gives = has_node_ports(spec);
    let health = spec.health_check_node_port;
    let mut errors = Vec::new();
    let mut taken: BTreeSet<(i32, String)> = BTreeSet::new();
    let mut shared: BTreeMap<i32, i32> = BTreeMap::new();
    let ports = spec.ports.as_deref_mut().unwrap_or_default();
    if is_new {
        let chosen = ports.iter().rev().map(|port| (port.port, given(port)));
        // The first of several wins.
        shared.extend(chosen.filter(|(_, chosen)| *chosen != 0));
    }
    for position in 0..ports.len() {
        let chosen = given(&ports[position]);
        if chosen == 0 && !gives {
            continue;
        }
        let number = ports[position].port;
        let protocol = ports[position].protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        let field = format!("spec.ports[{position}].nodePort");
        let given = if chosen != 0 {
            if taken.contains(&(chosen, protocol.clone())) {
                errors.push(Error::invalid(field, chosen, TAKEN));
            } else {
                errors.extend(check_port(field, chosen, ranges, free));
            }
            chosen
        } else if let Some(given) = shared.get(&number) {
            *given
        } else {
            let others: BTreeSet<i32> = taken
                .iter()
                .map(|(port, _)| *port)
                .chain(ports.iter().filter_map(|port| port.node_port))
                .chain(health)
                .collect();
            match free_port(ranges, &|port| !others.contains(&port) && free(&port_key(port)), random) {
                Some(port) => port,
                None => {
                    errors.push(Error {
                        field,
                        ..internal("failed to allocate a nodePort: range is full")
                    });
                    0
                }
            }
        };
        if is_new {
            shared.entry(number).or_insert(given);
        }
        taken.insert((given, protocol));
        ports[position].node_port = Some(given);
    }
    errors
}

/// Gives the service the port at which its health is told, or judges the one it chose.
fn allocate_health_port(
    spec: &mut ServiceSpec,
    ranges: &Ranges,
    free: &dyn Fn(&str) -> bool,
    random: &Random,
) -> Option<Error> {
    const FIELD: &str = "spec.healthCheckNodePort";
    let others: BTreeSet<i32> = spec.ports.iter().flatten().filter_map(|port| port.node_port).collect();
    match spec.health_check_node_port.filter(|chosen| *chosen != 0) {
        Some(chosen) if others.contains(&chosen) => Some(Error::invalid(FIELD, chosen, TAKEN)),
        Some(chosen) => check_port(FIELD.to_owned(), chosen, ranges, free),
        None => {
            spec.health_check_node_port =
                free_port(ranges, &|port| !others.contains(&port) && free(&port_key(port)), random);
            spec.health_check_node_port.is_none().then(|| Error {
                field: FIELD.to_owned(),
                ..internal("failed to allocate a HealthCheck NodePort: range is full")
            })
        }
    }
}

fn check_port(field: String, chosen: i32, ranges: &Ranges, free: &dyn Fn(&str) -> bool) -> Option<Error> {
    let within = i32::from(ranges.first_port)..=i32::from(ranges.last_port);
    if !within.contains(&chosen) {
        let range = format!("{}-{}", ranges.first_port, ranges.last_port);
        let rule = format!("provided port is not in the valid range. The range of valid ports is {range}");
        return Some(Error::invalid(field, chosen, rule));
    }
    (!free(&port_key(chosen))).then(|| Error::invalid(field, chosen, TAKEN))
}

fn internal(detail: &str) -> Error {
    Error {
        kind: orrery_api::field::ErrorKind::Internal,
        field: String::new(),
        value: None,
        detail: detail.to_owned(),
    }
}

fn check_address(chosen: &str, ranges: &Ranges, free: &dyn Fn(&str) -> bool) -> Option<Error> {
    let value = serde_json::json!([chosen]);
    let failed = |why: &str| {
        Some(Error::invalid(
            "spec.clusterIPs",
            &value,
            format!("failed to allocate IP {chosen}: {why}"),
        ))
    };
    match chosen.parse::<Ipv4Addr>() {
        Err(_) => Some(Error::invalid(
            "spec.clusterIPs[0]",
            chosen,
            "must be a valid IPv4 address",
        )),
        Ok(address) if !ranges.contains(address) => failed(&format!(
            "the provided IP ({chosen}) is not in the valid range. The range of valid IPs is {}/{}",
            ranges.network, ranges.prefix
        )),
        Ok(_) if !free(&address_key(chosen)) => failed("provided IP is already allocated"),
        Ok(_) => None,
    }
}

fn free_address(ranges: &Ranges, free: &dyn Fn(&str) -> bool, random: &Random) -> Option<Ipv4Addr> {
    let last = ranges.size() - 2;
    // The first addresses are left to those who choose theirs (KEP-3070).
    let first = (ranges.size() / 16).clamp(16, 256).min(last);
    let is_free = |address: &Ipv4Addr| *address != ranges.api_address() && free(&address_key(&address.to_string()));
    let drawn = (0..TRIES).map(|_| ranges.address(random.between(u64::from(first), u64::from(last)) as u32));
    let all = (1..=last).map(|position| ranges.address(position));
    drawn.chain(all).find(is_free)
}

fn free_port(ranges: &Ranges, free: &dyn Fn(i32) -> bool, random: &Random) -> Option<i32> {
    // The first ports are left to those who choose theirs (KEP-3668).
    let first = (ranges.first_port + 86).min(ranges.last_port);
    let drawn = (0..TRIES).map(|_| random.between(u64::from(first), u64::from(ranges.last_port)) as i32);
    let all = i32::from(ranges.first_port)..=i32::from(ranges.last_port);
    drawn.chain(all).find(|port| free(*port))
}
