//! Convergence: after the heal the cluster reaches what was asked for, and then is quiet.
//!
//! Judged over the store ([`orrery_play::convergence`]), the containers that really run, what they were given
//! ([`given`]), and the rules that really stand ([`shares`]).
//! Machines that stay broken are left out: their containers may run on unheard.

mod given;
mod shares;

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use orrery_play::convergence::{Rest, containers};

use crate::model::{Cluster, Item};
use crate::world::{AUTHORITY, World};

/// What is still missing; nothing when the cluster has converged. `left` are the machines that stay broken.
pub fn missing(world: &World, left: &[String]) -> Vec<String> {
    let mut missing = at_rest(world, left);
    let mut places = left.to_vec();
    places.extend(world.process_names(|process| left.contains(&process.machine)));
    missing.extend(world.witness.missing().without(&places));
    missing
}

fn at_rest(world: &World, left: &[String]) -> Vec<String> {
    let well = world.workers().filter(|machine| !left.contains(&machine.name));
    let nodes: Vec<String> = well.map(|machine| machine.name.clone()).collect();
    let rest = Rest {
        nodes: &nodes,
        left,
        broken: &world.broken_machines(),
        authority: AUTHORITY,
        expect: &world.scenario.expect,
    };
    world.witness.look(world, |cluster| {
        let mut missing = orrery_play::convergence::missing(cluster, &rest);
        machines(world, cluster, left, &mut missing);
        rules(world, cluster, left, &mut missing);
        missing
    })
}

fn machines(world: &World, cluster: &Cluster, left: &[String], missing: &mut Vec<String>) {
    for machine in world.workers().filter(|machine| !left.contains(&machine.name)) {
        let Some(worker) = &machine.worker else { continue };
        let running = worker.runtime.running().into_iter();
        let running: Vec<(String, String)> = running.map(|(pod, container)| (pod.uid, container)).collect();
        containers(cluster, &machine.name, &running, missing);
        given::missing(&worker.runtime, cluster, &machine.name, missing);
        for pod in worker.runtime.pods() {
            if cluster.by_uid(&pod.uid).is_none() {
                missing.push(format!(
                    "a sandbox of {pod} is left on {}, which nobody has",
                    machine.name
                ));
            }
        }
    }
}

/// Where a service's packets go at rest: an endpoint, and the node whose rules alone have it, of services that stay
/// there.
type Way = (Option<String>, SocketAddrV4);

/// The label of services that are another proxy's.
const SERVED_BY_ANOTHER: &str = "service.kubernetes.io/service-proxy-name";

/// Whether packets to the service never leave their node, wherever they come from.
fn stays_on_its_node(spec: &ServiceSpec) -> bool {
    let is_inner = spec.type_.as_deref().is_none_or(|kind| kind == "ClusterIP");
    let is_outer = spec
        .external_ips
        .as_ref()
        .is_some_and(|addresses| !addresses.is_empty());
    is_inner && !is_outer && spec.internal_traffic_policy.as_deref() == Some("Local")
}

/// Where the packets of all services go at rest.
fn ways(cluster: &Cluster) -> BTreeSet<Way> {
    let mut ways = BTreeSet::new();
    for service in cluster.all("services") {
        let Some(spec) = service.service().and_then(|service| service.spec.as_ref()) else {
            continue;
        };
        let headless = spec
            .cluster_ip
            .as_deref()
            .is_none_or(|ip| ip.is_empty() || ip == "None");
        let labels = service.service().and_then(|service| service.metadata.labels.as_ref());
        let is_anothers = labels.is_some_and(|labels| labels.contains_key(SERVED_BY_ANOTHER));
        if headless || is_anothers || spec.type_.as_deref() == Some("ExternalName") {
            continue;
        }
        let stays = stays_on_its_node(spec);
        for port in spec.ports.iter().flatten() {
            for slice in cluster.slices_of(service) {
                let Some(number) = number(slice, port) else { continue };
                // An endpoint that says nothing of its node is on none for a service that stays.
                let endpoints = slice.ready_endpoints().filter(|own| !stays || own.node_name.is_some());
                for endpoint in endpoints {
                    let node = endpoint.node_name.clone().filter(|_| stays);
                    let addresses = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
                    ways.extend(addresses.map(|address| (node.clone(), SocketAddrV4::new(address, number))));
                }
            }
        }
    }
    ways
}

/// The number of a service's port at the endpoints of a slice.
fn number(slice: &Item, port: &ServicePort) -> Option<u16> {
    let ports = slice
        .slice()
        .and_then(|slice| slice.ports.as_ref())
        .into_iter()
        .flatten();
    let number = ports
        .filter(|own| own.name.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default())
        .find_map(|own| own.port);
    let number = number.or(match &port.target_port {
        Some(IntOrString::Int(number)) => Some(*number),
        _ => None,
    });
    number.and_then(|number| u16::try_from(number).ok())
}

/// E4 at rest: the rules translate to the ready endpoints of all services and to nothing else.
fn rules(world: &World, cluster: &Cluster, left: &[String], missing: &mut Vec<String>) {
    let ways = ways(cluster);
    for machine in world.workers().filter(|machine| !left.contains(&machine.name)) {
        let Some(worker) = &machine.worker else { continue };
        shares::missing(&machine.name, &worker.filter.rules(), missing);
        let stand = worker.filter.endpoints();
        let here = |node: &Option<String>| node.as_ref().is_none_or(|node| *node == machine.name);
        let wanted: BTreeSet<SocketAddrV4> = ways.iter().filter(|(node, _)| here(node)).map(|(_, at)| *at).collect();
        if stand != wanted {
            let differ: Vec<String> = stand.symmetric_difference(&wanted).map(ToString::to_string).collect();
            missing.push(format!(
                "the packet rules of {} differ from the services in {}",
                machine.name,
                differ.join(" ")
            ));
        }
    }
}
