//! Processes: one component each, on a machine, killed and started, paused and resumed.

use std::collections::BTreeMap;
use std::sync::Arc;

use madsim::task::NodeId;

use super::{CONTROL_PLANE, World, components};
use crate::model::Seen;
use crate::recording::{ProcessState, What};
use crate::scenario::Role;
use crate::simulator;

/// A process.
#[derive(Debug, Clone)]
pub struct Process {
    /// `scheduler/1`, `kubelet/node-2`.
    pub name: String,
    /// Which component it is.
    pub role: Role,
    /// Where it runs.
    pub machine: String,
    /// What its tasks run on.
    pub node: NodeId,
    running: bool,
    paused: u32,
    pub(super) starts: u32,
}

impl Process {
    /// Whether it runs, and nobody holds it up.
    pub fn is_well(&self) -> bool {
        self.running && self.paused == 0
    }

    /// Whether it runs, perhaps held up.
    pub fn is_running(&self) -> bool {
        self.running
    }
}

/// Makes the processes of the world's scenario; none runs yet.
pub fn build(world: &Arc<World>) {
    let mut processes = BTreeMap::new();
    let mut add = |role: Role, instance: &str, machine: &str| {
        let name = format!("{role}/{instance}");
        let node = world.handle.create_node().name(name.clone()).build().id();
        let process = Process {
            name: name.clone(),
            role,
            machine: machine.to_owned(),
            node,
            running: false,
            paused: 0,
            starts: 0,
        };
        processes.insert(name, process);
    };
    let topology = &world.scenario.topology;
    let machines = topology.control_planes();
    let roles = [
        (Role::ApiServer, topology.apiservers),
        (Role::Scheduler, topology.schedulers),
        (Role::ControllerManager, topology.controller_managers),
    ];
    for (role, count) in roles {
        // Twins are spread over the machines of the control plane.
        for (number, machine) in (1..=count).zip(machines.iter().cycle()) {
            add(role, &number.to_string(), machine);
        }
    }
    if topology.apiservers > 1 {
        add(Role::Store, "1", CONTROL_PLANE);
    }
    let nodes: Vec<String> = topology.nodes.iter().map(|node| node.name.clone()).collect();
    for component in &simulator::parts().components {
        let places = if component.runs_on_nodes() { &nodes } else { &machines };
        for (number, machine) in (1..=topology.replicas(&component.words())).zip(places.iter().cycle()) {
            add(Role::Custom(component.name()), &number.to_string(), machine);
        }
    }
    for node in &topology.nodes {
        add(Role::Kubelet, &node.name, &node.name);
        add(Role::Proxy, &node.name, &node.name);
    }
    *world.processes() = processes;
}

impl World {
    /// The components of users' own that run on one of `machines`.
    pub fn own_components_on(&self, machines: &[String]) -> Vec<Role> {
        let runs_there = |role: &Role| {
            let there = |process: &Process| process.role == *role && machines.contains(&process.machine);
            !self.process_names(there).is_empty()
        };
        Role::all()
            .filter(|role| matches!(role, Role::Custom(_)))
            .filter(runs_there)
            .collect()
    }

    /// Starts everything that is not running, where there is power.
    pub fn start_all(&self) {
        for process in self.process_names(|_| true) {
            self.start(&process);
        }
    }

    /// Starts a process, unless it runs or its machine is down.
    pub fn start(&self, name: &str) {
        let (process, again) = {
            let mut processes = self.processes();
            let Some(process) = processes.get_mut(name) else { return };
            if process.running || !self.is_up(&process.machine) {
                return;
            }
            process.running = true;
            process.paused = 0;
            process.starts += 1;
            (process.clone(), process.starts > 1)
        };
        if again {
            // It was killed before: a node that is restarted without loses its tasks' wakers.
            self.handle.restart(process.node);
            let restarted = if process.role == Role::ApiServer {
                "the API server restarted"
            } else {
                "a component restarted"
            };
            self.coverage.saw(restarted);
        }
        self.trace.event(
            self.now(),
            name,
            format_args!("starts, for the {}. time", process.starts),
        );
        self.witness.observe(self, &Seen::Started { process: name });
        self.record(&process, ProcessState::Started(process.starts));
        let (Some(world), Some(node)) = (self.own.upgrade(), self.handle.get_node(process.node)) else {
            return;
        };
        let random = self.random.stream(name).stream(&process.starts.to_string());
        let main = components::main(world, process, random);
        node.spawn(main);
    }

    /// How often a process was started.
    pub(super) fn starts(&self, name: &str) -> u32 {
        self.processes().get(name).map_or(0, |process| process.starts)
    }

    /// Kills a process.
    pub fn kill(&self, name: &str) {
        let process = {
            let mut processes = self.processes();
            let Some(process) = processes.get_mut(name) else { return };
            if !process.running {
                return;
            }
            process.running = false;
            process.paused = 0;
            process.clone()
        };
        self.trace.event(self.now(), name, format_args!("is killed"));
        self.record(&process, ProcessState::Killed);
        if process.role == Role::ApiServer {
            self.set_server(name, None);
            if self.api_servers().len() == 1 {
                self.set_store(None);
            }
        }
        self.handle.kill(process.node);
        self.network.notify();
        if process.role == Role::Store {
            self.set_store(None);
            self.network.notify();
            // An API server ends with its store, and waits for it when it is started again.
            for server in self.process_names(|process| process.role == Role::ApiServer && process.running) {
                self.kill(&server);
                self.start(&server);
            }
        }
    }

    /// Holds a process up; whether it ran.
    pub fn pause(&self, name: &str) -> bool {
        let mut processes = self.processes();
        let Some(process) = processes.get_mut(name).filter(|process| process.running) else {
            return false;
        };
        process.paused += 1;
        if process.paused == 1 {
            self.handle.pause(process.node);
        }
        self.coverage.saw("a component was paused");
        self.trace.event(self.now(), name, format_args!("is paused"));
        self.record(process, ProcessState::Paused);
        true
    }

    /// Takes back one [`pause`](Self::pause).
    pub fn resume(&self, name: &str) {
        let mut processes = self.processes();
        let Some(process) = processes.get_mut(name).filter(|process| process.paused > 0) else {
            return;
        };
        process.paused -= 1;
        if process.paused == 0 {
            self.handle.resume(process.node);
            self.trace.event(self.now(), name, format_args!("goes on"));
            self.record(process, ProcessState::Resumed);
        }
    }

    fn record(&self, process: &Process, state: ProcessState) {
        self.trace.recorder.note(self.now(), || What::Process {
            name: process.name.clone(),
            machine: process.machine.clone(),
            state,
        });
    }

    /// Lets a process go on, however often it was paused.
    pub fn resume_fully(&self, name: &str) {
        if let Some(process) = self.processes().get_mut(name).filter(|process| process.paused > 0) {
            process.paused = 1;
        }
        self.resume(name);
    }
}
