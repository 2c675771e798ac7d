//! Calls of services by other ways than a node's own processes take: by pods, and from outside at node ports.
//!
//! A call a second to each service: from one node after the other, to one port after the other, in turn by a pod of the
//! service itself, which now and then is led back to itself, and from outside. What becomes of them is judged by E9.

use std::net::{Ipv4Addr, SocketAddrV4};

use k8s_openapi::api::core::v1::ServicePort;
use orrery_api::random::Random;
use orrery_proxy::ruleset::Protocol;

use crate::model::{Call, Caller, Cluster, Item, ObjectId, Seen};
use crate::netfilter::{Origin, Packet, Verdict};
use crate::world::{Machine, World};

/// Who calls from outside: an address that is nobody's ([RFC 5737](https://www.rfc-editor.org/rfc/rfc5737)).
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

/// The first port that calls come from, each from the next one, and of how many.
const FIRST: u16 = 30_000;
const PORTS: usize = 10_000;

/// A call that is to be made.
struct Planned {
    service: ObjectId,
    port: String,
    caller: Caller,
    protocol: Protocol,
    to: SocketAddrV4,
}

/// Calls every service, for the so manieth time.
pub fn call(world: &World, turn: usize, random: &Random) {
    let nodes = &world.scenario.topology.nodes;
    let Some(node) = nodes.get(turn % nodes.len().max(1)) else {
        return;
    };
    let Some(machine) = world.machine(&node.name).filter(|machine| machine.is_up()) else {
        return;
    };
    let round = turn / nodes.len();
    let planned: Vec<Planned> = world.witness.look(world, |cluster| {
        let services = cluster.all("services").filter(|service| !service.is_terminating());
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
    let address: Ipv4Addr = spec.cluster_ip.as_deref()?.parse().ok()?;
    let ports = spec.ports.as_ref().filter(|ports| !ports.is_empty())?;
    let port: &ServicePort = &ports[(round / 2) % ports.len()];
    let own = round
        .is_multiple_of(2)
        .then(|| own_pod(service, cluster, &machine.name))
        .flatten();
    let (caller, ip, number) = match own {
        Some(pod) => (Caller::Pod(pod), address, port.port),
        None => (
            Caller::Outside,
            machine.address,
            port.node_port.filter(|number| *number != 0)?,
        ),
    };
    Some(Planned {
        service: service.id.clone(),
        port: port.name.clone().unwrap_or_default(),
        caller,
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
        Caller::Outside => (OUTSIDE, Origin::Outside),
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
        call,
    };
    world.witness.observe(world, &seen);
}
