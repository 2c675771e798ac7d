//! Clients of services: from every node that is up, one that sends a UDP packet a second to each UDP service.
//!
//! A client keeps its port, so that its packets are one flow for connection tracking, which remembers where the first
//! one went. What it sees is told to the invariants (E5). Not simulated: TCP clients, and what is in the packets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use orrery_api::random::{Random, fnv1a};
use orrery_proxy::ruleset::Protocol;

use crate::model::{Item, ObjectId, Seen};
use crate::netfilter::{Origin, Packet, Verdict};
use crate::world::World;

/// The first port that clients send from; which one is a function of the service.
const FIRST_PORT: u16 = 40_000;

/// The clients: what they know of services. They go on when a service is deleted, as clients do.
#[derive(Default)]
pub struct Clients {
    known: BTreeMap<ObjectId, SocketAddrV4>,
}

impl Clients {
    /// Lets every client send a packet.
    pub fn send(&mut self, world: &World, random: &Random) {
        world.witness.look(world, |cluster| {
            let addresses = cluster
                .all("services")
                .filter_map(|item| Some((item.id.clone(), address(item)?)));
            self.known.extend(addresses);
        });
        send(world, &self.known, random);
    }
}

/// Where a service takes UDP, if it does.
fn address(service: &Item) -> Option<SocketAddrV4> {
    let spec = service.service()?.spec.as_ref()?;
    let ip: Ipv4Addr = spec.cluster_ip.as_deref()?.parse().ok()?;
    let mut udp = spec
        .ports
        .iter()
        .flatten()
        .filter(|port| port.protocol.as_deref() == Some("UDP"));
    let port = u16::try_from(udp.next()?.port).ok()?;
    Some(SocketAddrV4::new(ip, port))
}

fn send(world: &World, services: &BTreeMap<ObjectId, SocketAddrV4>, random: &Random) {
    for (service, to) in services {
        for machine in world.workers().filter(|machine| machine.is_up()) {
            let Some(worker) = &machine.worker else { continue };
            let packet = Packet {
                src: machine.address,
                dst: *to.ip(),
                protocol: Protocol::Udp,
                sport: FIRST_PORT + (fnv1a(service.to_string().as_bytes()) % 10_000) as u16,
                dport: to.port(),
                from: Origin::Host,
            };
            let goes_to = match worker.filter.evaluate(&packet, random) {
                Verdict::Delivered { ip, port, .. } => Some(SocketAddrV4::new(ip, port)),
                Verdict::NoRule => Some(*to),
                Verdict::Rejected | Verdict::Dropped => None,
            };
            if let Some(receiver) = goes_to
                && answers(world, receiver)
            {
                worker.filter.answered(&packet);
            }
            let seen = Seen::Flow {
                machine: &machine.name,
                service,
                sent_to: *to,
                goes_to,
            };
            world.witness.observe(world, &seen);
        }
    }
}

/// Whether a pod answers there.
fn answers(world: &World, at: SocketAddrV4) -> bool {
    let workers = world.workers().filter_map(|machine| machine.worker.as_ref());
    let mut runtimes = workers.map(|worker| &worker.runtime);
    runtimes.any(|runtime| runtime.listens(IpAddr::V4(*at.ip()), at.port()))
}
