//! Calls of services at all of their ports, by pods and at node ports.
//!
//! A call a second to each service: on one node after the other, of one port after the other, in turn at the service's
//! address and at the node's. Who calls is a pod of the service itself, which now and then is led back to itself, and
//! the node where it has no such pod. What becomes of them is judged by E9. There are no calls from beyond the node,
//! which the proxy keeps out.

use std::net::{Ipv4Addr, SocketAddrV4};

use k8s_openapi::api::core::v1::ServicePort;
use orrery_api::random::Random;
use orrery_proxy::ruleset::Protocol;

use crate::model::{Call, Caller, Cluster, Item, ObjectId, Seen};
use crate::netfilter::{Origin, Packet, Verdict};
use crate::world::{Machine, World};

/// The first port that calls come from, each from the next one, and of how many.
const FIRST: u16 = 30_000;
const PORTS: usize = 10_000;

/// A call that is to be made.
struct Planned {
    service: ObjectId,
    port: String,
    caller: Caller,
    at_node_port: bool,
    protocol: Protocol,
    to: SocketAddrV4,
}

/// Calls every service, for the so manieth time.
pub fn call(world: &World, turn: usize, random: &Random) {
    let nodes = &world.scenario.topology.nodes;
    let Some(node) = nodes.get(turn % nodes.len().max(1)) else {
        return;
    };
    let machine = world.machine(&node.name);
    let Some(machine) = machine.filter(|machine| super::has_clients(world, machine)) else {
        return;
    };
    let round = turn / nodes.len();
    let planned: Vec<Planned> = world.witness.look(world, |cluster| {
        let services = cluster.all("services");
        let services = services.filter(|service| !service.is_terminating() && !service.is_another_proxys());
        services
            .filter_map(|service| plan(service, cluster, machine, round))
            .collect()
    });
    for planned in &planned {
        carry_out(world, machine, planned, FIRST + (turn % PORTS) as u16, random);
    }
}

/// The call of `service` whose turn it is.
fn plan(service: &Item, cluster: &Cluster, machine: &Machine, round: usize) -> Option<Planned> {
    let spec = service.service()?.spec.as_ref()?;
    let address = service.cluster_ip()?;
    let ports = spec.ports.as_ref().filter(|ports| !ports.is_empty())?;
    let port: &ServicePort = &ports[(round / 2) % ports.len()];
    let at_node_port = !round.is_multiple_of(2);
    let own = own_pod(service, cluster, &machine.name);
    // On the host's network a pod calls as the node does.
    let own = own.filter(|ip| *ip != machine.address).map(Caller::Pod);
    let (ip, number) = if at_node_port {
        (machine.address, port.node_port.filter(|number| *number != 0)?)
    } else {
        (address, port.port)
    };
    Some(Planned {
        service: service.id.clone(),
        port: port.name.clone().unwrap_or_default(),
        caller: own.unwrap_or(Caller::Node),
        at_node_port,
        protocol: Protocol::of(port.protocol.as_deref())?,
        to: SocketAddrV4::new(ip, u16::try_from(number).ok()?),
    })
}

/// The address of a pod on `machine` that is an endpoint of `service`.
fn own_pod(service: &Item, cluster: &Cluster, machine: &str) -> Option<Ipv4Addr> {
    let mut endpoints = cluster.owned(service.uid()).flat_map(|slice| slice.ready_endpoints());
    let own = endpoints.find(|endpoint| endpoint.node_name.as_deref() == Some(machine))?;
    own.addresses.first()?.parse().ok()
}

fn carry_out(world: &World, machine: &Machine, planned: &Planned, sport: u16, random: &Random) {
    let Some(worker) = machine.worker.as_ref().filter(|worker| worker.filter.is_whole()) else {
        return;
    };
    let (src, from) = match planned.caller {
        Caller::Pod(address) => (address, Origin::Pod),
        Caller::Node => (machine.address, Origin::Host),
    };
    let packet = Packet {
        src,
        dst: *planned.to.ip(),
        protocol: planned.protocol,
        sport,
        dport: planned.to.port(),
        from,
    };
    let call = match worker.filter.evaluate(&packet, random) {
        Verdict::Delivered { ip, port, snat } => Call::Arrives {
            at: SocketAddrV4::new(ip, port),
            masqueraded: snat,
        },
        Verdict::Rejected => Call::Refused,
        Verdict::Dropped | Verdict::NoRule => Call::Lost,
    };
    let seen = Seen::Called {
        machine: &machine.name,
        service: &planned.service,
        port: &planned.port,
        caller: planned.caller,
        at_node_port: planned.at_node_port,
        call,
    };
    world.witness.observe(world, &seen);
}
