//! Machines: they have power or not, a disk or a runtime, and an address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use madsim::runtime::Handle;
use madsim::task::NodeId;
use orrery_api::random::Random;

use super::{CONTROL_PLANE, World};
use crate::disk::SimDisk;
use crate::netfilter::SimPacketFilter;
use crate::recording::What;
use crate::runtime::SimRuntime;
use crate::scenario::{NodeSpec, Scenario};

/// The network that all pods' networks are a part of.
pub const POD_CIDR: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 128, 0, 0), 9);

/// A machine.
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// What its own tasks run on.
    pub node: NodeId,
    /// The disk, of the control plane.
    pub disk: Option<Arc<SimDisk>>,
    /// What a worker has.
    pub worker: Option<Worker>,
    up: AtomicBool,
    boots: AtomicU32,
    generation: AtomicU32,
}

/// What a worker has.
pub struct Worker {
    /// As the scenario says.
    pub spec: NodeSpec,
    /// Its zone.
    pub zone: String,
    /// The second and third byte of its pods' addresses.
    pub network: (u8, u8),
    /// Runs its containers.
    pub runtime: Arc<SimRuntime>,
    /// Its packet filter.
    pub filter: Arc<SimPacketFilter>,
}

impl Machine {
    /// Whether it has power.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// How often it has been started.
    pub fn boots(&self) -> u32 {
        self.boots.load(Ordering::Relaxed)
    }

    /// How many machines of this name there were before it.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }
}

impl Worker {
    /// The network of its pods.
    pub fn pod_cidr(&self) -> String {
        format!("10.{}.{}.0/24", self.network.0, self.network.1)
    }
}

/// The machines of a scenario.
pub fn build(scenario: &Scenario, random: &Random, handle: &Handle, world: &Weak<World>) -> BTreeMap<String, Machine> {
    let machine = |name: &str, number: usize, disk, worker| Machine {
        name: name.to_owned(),
        address: World::address(number),
        node: handle.create_node().name(format!("machine/{name}")).build().id(),
        disk,
        worker,
        up: AtomicBool::new(true),
        boots: AtomicU32::new(1),
        generation: AtomicU32::new(0),
    };
    let disk = Arc::new(SimDisk::new(random.stream("disk")));
    let mut machines = BTreeMap::new();
    machines.insert(CONTROL_PLANE.to_owned(), machine(CONTROL_PLANE, 1, Some(disk), None));
    let workers = scenario.topology.nodes.len();
    for (index, name) in scenario.topology.control_planes().iter().enumerate().skip(1) {
        machines.insert(name.clone(), machine(name, workers + 1 + index, None, None));
    }
    let zones = scenario.topology.zones.max(1) as usize;
    for (index, spec) in scenario.topology.nodes.iter().enumerate() {
        let number = index + 2;
        let network = pod_network(number);
        let address = World::address(number);
        let worker = Worker {
            spec: spec.clone(),
            zone: spec
                .zone
                .clone()
                .unwrap_or_else(|| format!("zone-{}", index % zones + 1)),
            network,
            runtime: SimRuntime::new(
                world.clone(),
                &spec.name,
                IpAddr::V4(address),
                network,
                random.stream(&format!("runtime/{}", spec.name)),
            ),
            filter: SimPacketFilter::new(
                vec![address, Ipv4Addr::LOCALHOST],
                random.stream(&format!("packets/{}", spec.name)),
            ),
        };
        machines.insert(spec.name.clone(), machine(&spec.name, number, None, Some(worker)));
    }
    machines
}

/// The second and third byte of the addresses of a machine's pods: 10.244 and up, and when those are used up 10.128 and
/// up. All lie in [`POD_CIDR`].
fn pod_network(number: usize) -> (u8, u8) {
    let [block, third] = (number as u16).to_be_bytes();
    let second = if block < 12 { 244 + block } else { 116 + block };
    (second, third)
}

impl World {
    /// A machine loses power: its processes and containers are gone, and whatever was not durable may be.
    pub fn crash_machine(&self, name: &str) {
        let Some(machine) = self.machines.get(name) else { return };
        if !machine.up.swap(false, Ordering::Relaxed) {
            return;
        }
        self.coverage.saw("a machine crashed");
        self.record_power(name, false);
        for process in self.process_names(|process| process.machine == name) {
            self.kill(&process);
        }
        self.handle.kill(machine.node);
        if let Some(worker) = &machine.worker {
            worker.runtime.crash();
            worker.filter.reset();
        }
        if let Some(disk) = &machine.disk {
            let loss = disk.crash();
            if loss.bytes > 0 {
                self.coverage.saw("an unsynced write was lost");
            }
            self.trace.event(
                self.now(),
                "disk",
                format_args!("crash lost {} bytes, {} names", loss.bytes, loss.names),
            );
        }
        self.network.notify();
    }

    /// Another machine of the same name and address takes the place of a worker, with nothing on it.
    pub fn replace_machine(&self, name: &str) {
        self.crash_machine(name);
        let Some(machine) = self.machines.get(name) else { return };
        if let Some(worker) = &machine.worker {
            worker.runtime.wipe();
        }
        machine.generation.fetch_add(1, Ordering::Relaxed);
        self.coverage.saw("a machine was replaced");
        self.trace
            .event(self.now(), "fault", format_args!("{name} is another machine now"));
        self.boot_machine(name);
    }

    fn record_power(&self, machine: &str, up: bool) {
        self.trace.recorder.note(self.now(), || What::Power {
            machine: machine.to_owned(),
            up,
        });
    }

    /// A machine gets power: its components start.
    pub fn boot_machine(&self, name: &str) {
        let Some(machine) = self.machines.get(name) else { return };
        if machine.up.swap(true, Ordering::Relaxed) {
            return;
        }
        self.coverage.saw("a machine came back");
        self.record_power(name, true);
        machine.boots.fetch_add(1, Ordering::Relaxed);
        self.handle.restart(machine.node);
        self.network.notify();
        for process in self.process_names(|process| process.machine == name) {
            self.start(&process);
        }
    }
}
