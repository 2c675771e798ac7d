//! Clients of services: from every node that is up, one that sends a UDP packet a second to each UDP service, at its
//! address and at its node port, and one that opens a connection a second to each service with session affinity; and
//! from one node after the other, one that opens a connection to each TCP service. Those are processes of the nodes;
//! others call by other ways ([`calls`]).
//!
//! The first keeps its port, so that its packets are one flow for connection tracking, which remembers where the first
//! one went (E5). The others take another port each time, so that only the service's rules decide where they get to
//! (E7, E8). Nobody calls services that are another proxy's, of which there is none. Not simulated: what follows a
//! connection's first packet, and what is in them.

mod calls;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use orrery_api::random::{Random, fnv1a};
use orrery_proxy::ruleset::Protocol;

use crate::model::{Cluster, Item, ObjectId, Seen};
use crate::netfilter::{Origin, Packet, Verdict};
use crate::world::{Machine, World};

/// The first port that clients send from; which one is a function of the service.
const FIRST_PORT: u16 = 40_000;
/// The first port that connections come from, each from the next one, and of how many.
const FIRST_CONNECTION: u16 = 10_000;
const CONNECTIONS: u16 = 20_000;

/// The clients: what they know of services. They go on when a service is deleted, as clients do.
#[derive(Default)]
pub struct Clients {
    known: BTreeMap<ObjectId, Udp>,
    /// How many connections each client has opened.
    turn: u16,
    /// How often every service was called.
    calls: usize,
}

impl Clients {
    /// Lets every client send a packet.
    pub fn send(&mut self, world: &World, random: &Random) {
        let targets: Vec<_> = world.witness.look(world, |cluster| {
            self.learn(cluster);
            let targets = cluster.all("services").filter_map(|item| target(item));
            targets.collect()
        });
        send(world, &self.known, random);
        self.turn = (self.turn + 1) % CONNECTIONS;
        for service in &targets {
            connect(world, service, self.turn, random);
        }
        calls::call(world, self.calls, &random.stream("calls"));
        self.calls += 1;
    }

    /// Takes in where services take UDP. Those who called a service that is gone go on, unless its address is another's
    /// by now; its port on the nodes may be, too.
    fn learn(&mut self, cluster: &Cluster) {
        let services = || cluster.all("services");
        let taken: BTreeSet<Ipv4Addr> = services().filter_map(|item| item.cluster_ip()).collect();
        self.known
            .retain(|id, udp| cluster.get(id).is_none() && !taken.contains(udp.address.ip()));
        for udp in self.known.values_mut() {
            udp.node_port = None;
        }
        let addresses = services().filter_map(|item| Some((item.id.clone(), udp(item)?)));
        self.known.extend(addresses);
    }
}

/// Where a service takes UDP: at its address, and at the nodes' if it has a port there.
struct Udp {
    address: SocketAddrV4,
    node_port: Option<u16>,
}

/// Where a service takes UDP, if it does.
fn udp(service: &Item) -> Option<Udp> {
    let spec = service.service()?.spec.as_ref()?;
    let ip = service.cluster_ip().filter(|_| !service.is_another_proxys())?;
    let mut udp = spec
        .ports
        .iter()
        .flatten()
        .filter(|port| port.protocol.as_deref() == Some("UDP"));
    let port = udp.next()?;
    let node_port = port.node_port.and_then(|number| u16::try_from(number).ok());
    Some(Udp {
        address: SocketAddrV4::new(ip, u16::try_from(port.port).ok()?),
        node_port: node_port.filter(|number| *number != 0),
    })
}

/// A service as its clients see it: its protocol and its address.
struct Target {
    id: ObjectId,
    protocol: Protocol,
    address: SocketAddrV4,
    /// Whether it has session affinity: then clients on every node connect at once.
    is_sticky: bool,
}

/// The service as those see it who connect to it: one of TCP, or one with session affinity.
fn target(service: &Item) -> Option<Target> {
    let spec = service.service()?.spec.as_ref()?;
    let is_sticky = spec.session_affinity.as_deref() == Some("ClientIP");
    let port = spec.ports.as_ref()?.first()?;
    let protocol = Protocol::of(port.protocol.as_deref())?;
    // Who sends to the endpoints of the own node only may have none.
    let is_everywhere = spec.internal_traffic_policy.as_deref() != Some("Local");
    let is_called = is_sticky || (protocol == Protocol::Tcp && is_everywhere);
    if service.is_terminating() || service.is_another_proxys() || !is_called {
        return None;
    }
    Some(Target {
        id: service.id.clone(),
        protocol,
        address: SocketAddrV4::new(service.cluster_ip()?, u16::try_from(port.port).ok()?),
        is_sticky,
    })
}

/// Whether there are clients on `machine`: it is up, and not left broken, where nobody minds old rules.
fn has_clients(world: &World, machine: &Machine) -> bool {
    machine.is_up() && !(world.is_healed() && world.is_lost(&machine.name))
}

/// Opens a connection to a service: from every node that is up, or from the one whose turn it is.
fn connect(world: &World, service: &Target, turn: u16, random: &Random) {
    let senders: Vec<&Machine> = if service.is_sticky {
        world.workers().collect()
    } else {
        let nodes = &world.scenario.topology.nodes;
        let chosen = nodes.get(usize::from(turn) % nodes.len().max(1));
        chosen.and_then(|node| world.machine(&node.name)).into_iter().collect()
    };
    for machine in senders.into_iter().filter(|machine| has_clients(world, machine)) {
        let Some(worker) = machine.worker.as_ref().filter(|worker| worker.filter.is_whole()) else {
            continue;
        };
        let packet = Packet {
            src: machine.address,
            dst: *service.address.ip(),
            protocol: service.protocol,
            sport: FIRST_CONNECTION + turn,
            dport: service.address.port(),
            from: Origin::Host,
        };
        let goes_to = match worker.filter.evaluate(&packet, random) {
            Verdict::Delivered { ip, port, .. } => Some(SocketAddrV4::new(ip, port)),
            Verdict::NoRule | Verdict::Rejected | Verdict::Dropped => None,
        };
        let seen = Seen::Connected {
            machine: &machine.name,
            service: &service.id,
            goes_to,
        };
        world.witness.observe(world, &seen);
    }
}

fn send(world: &World, services: &BTreeMap<ObjectId, Udp>, random: &Random) {
    for (service, udp) in services {
        for machine in world.workers().filter(|machine| has_clients(world, machine)) {
            let at_node = udp.node_port.map(|port| SocketAddrV4::new(machine.address, port));
            for to in [Some(udp.address), at_node].into_iter().flatten() {
                send_one(world, machine, service, to, random);
            }
        }
    }
}

fn send_one(world: &World, machine: &Machine, service: &ObjectId, to: SocketAddrV4, random: &Random) {
    let Some(worker) = &machine.worker else { return };
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
        Verdict::NoRule => Some(to),
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
        sent_to: to,
        goes_to,
    };
    world.witness.observe(world, &seen);
}

/// Whether a pod answers there.
fn answers(world: &World, at: SocketAddrV4) -> bool {
    let workers = world.workers().filter_map(|machine| machine.worker.as_ref());
    let mut runtimes = workers.map(|worker| &worker.runtime);
    runtimes.any(|runtime| runtime.listens(IpAddr::V4(*at.ip()), at.port()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn id(name: &str) -> ObjectId {
        ObjectId {
            resource: "services".into(),
            namespace: "default".to_owned(),
            name: name.to_owned(),
        }
    }

    fn service(name: &str, ip: &str, protocol: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"clusterIP": ip, "ports": [{"port": 53, "nodePort": 30053, "protocol": protocol}]}})
    }

    /// What clients know after each of these writes of a service, or deletes.
    fn known(writes: &[(&str, Option<Value>)]) -> Vec<(String, SocketAddrV4, Option<u16>)> {
        let (mut cluster, mut clients) = (Cluster::default(), Clients::default());
        for (revision, (name, object)) in (1..).zip(writes) {
            let bytes = object.as_ref().map(|object| object.to_string().into_bytes().into());
            cluster.apply(id(name), revision, bytes);
            clients.learn(&cluster);
        }
        let known = clients.known.into_iter();
        known.map(|(id, udp)| (id.name, udp.address, udp.node_port)).collect()
    }

    #[test]
    fn clients_of_a_service_that_is_gone_go_on_until_its_address_is_anothers() {
        let at = |ip: &str| SocketAddrV4::new(ip.parse().expect("an address"), 53);
        let one = || ("one", Some(service("one", "10.96.0.1", "UDP")));
        assert_eq!(known(&[one()]), [("one".to_owned(), at("10.96.0.1"), Some(30053))]);
        assert_eq!(
            known(&[one(), ("one", None)]),
            [("one".to_owned(), at("10.96.0.1"), None)]
        );
        let other = |ip, protocol| ("two", Some(service("two", ip, protocol)));
        let both = known(&[one(), ("one", None), other("10.96.0.2", "UDP")]);
        assert_eq!(both.len(), 2);
        let taken = known(&[one(), ("one", None), other("10.96.0.1", "UDP")]);
        assert_eq!(taken, [("two".to_owned(), at("10.96.0.1"), Some(30053))]);
        assert!(known(&[one(), ("one", None), other("10.96.0.1", "TCP")]).is_empty());
        // It is there, and takes no UDP any more.
        assert!(known(&[one(), ("one", Some(service("one", "10.96.0.1", "TCP")))]).is_empty());
    }
}
