//! The world: machines, processes, the network between them, and what is known of them all.
//!
//! Assembly only: what happens on a link is in `link`, in a runtime in `runtime`, what must hold in `invariants`.

mod components;
mod machine;
mod process;
mod supervisor;
mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use madsim::runtime::{Handle, NodeHandle};
use madsim::task::NodeId;
use madsim::time::TimeHandle;
use orrery_api::message::Service;
use orrery_api::random::Random;
use orrery_store::Store;
use tokio::sync::Notify;

use crate::choices::Choices;
use crate::clocks::Clocks;
use crate::coverage::Coverage;
use crate::disk::SimDisk;
use crate::feed::Lags;
use crate::invariants::Finding;
use crate::link::{Connections, Courier, Holds, Network, Priorities};
use crate::recording::What;
use crate::scenario::{Role, Scenario, Trigger};
use crate::trace::Trace;
use crate::triggers::{Triggers, Waiter};
use crate::variation::Variation;

pub use components::AUTHORITY;
pub use machine::Machine;
pub use process::Process;
pub use witness::Witness;

/// The machine of the control plane.
const CONTROL_PLANE: &str = "control-plane";

/// A broken invariant, with what led to it.
#[derive(Debug, Clone)]
pub struct Violation {
    /// When.
    pub at: Duration,
    /// What.
    pub finding: Finding,
    /// The last events of the actors involved.
    pub events: Vec<String>,
}

/// Where an API server runs, whenever it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its process: `apiserver/2`.
    pub name: String,
    /// Its machine.
    pub machine: String,
}

/// An API server, while it runs.
#[derive(Clone)]
pub struct Server {
    /// Where requests go.
    pub service: Arc<dyn Service>,
    /// The process they are carried out in.
    pub node: NodeHandle,
}

/// Where the API servers of a scenario run: one on each machine of the control plane.
fn places(scenario: &Scenario) -> Vec<Place> {
    let machines = scenario.topology.control_planes().into_iter().enumerate();
    let places = machines.map(|(index, machine)| Place {
        name: format!("{}/{}", Role::ApiServer, index + 1),
        machine,
    });
    places.collect()
}

/// All simulated things of one run.
pub struct World {
    /// What shall happen.
    pub scenario: Arc<Scenario>,
    /// The seed.
    pub seed: u64,
    /// The root of all chance; take streams of it.
    pub random: Random,
    /// What happened.
    pub trace: Trace,
    /// What was seen sometimes.
    pub coverage: Coverage,
    /// What was drawn.
    pub choices: Arc<Choices>,
    /// Who can reach whom.
    pub network: Network,
    /// Which watch caches are late.
    pub lags: Lags,
    /// Which machines' clocks are wrong.
    pub clocks: Clocks,
    /// Which calls are held up.
    pub holds: Holds,
    /// Who is connected to which API server.
    pub connections: Connections,
    /// Brings what its senders have given up.
    pub courier: Courier,
    /// Whose messages are late, where interleavings are explored by priority.
    pub priorities: Priorities,
    /// What is waited for.
    pub triggers: Triggers,
    /// What is true, and whether it may be.
    pub witness: Witness,
    machines: BTreeMap<String, Machine>,
    processes: Mutex<BTreeMap<String, Process>>,
    places: Vec<Place>,
    servers: Mutex<BTreeMap<String, Server>>,
    /// The store, while it runs: of the only API server, or of several.
    store: Mutex<Option<Store>>,
    numbers: AtomicU64,
    healed: AtomicBool,
    violations: Mutex<Vec<Violation>>,
    troubles: Mutex<Vec<String>>,
    /// The nodes that a fault drains.
    drained: Mutex<BTreeSet<String>>,
    /// Told when the run is to end.
    pub stop: Notify,
    time: TimeHandle,
    handle: Handle,
    own: Weak<World>,
}

impl World {
    /// A world in which nothing runs yet. Call it inside the simulation.
    pub fn new(
        scenario: Arc<Scenario>,
        seed: u64,
        variation: &Variation,
        trace: Trace,
        choices: Arc<Choices>,
    ) -> Arc<World> {
        let random = Random::from_number(seed).with_redraws(&variation.redraws());
        let handle = Handle::current();
        let world = Arc::new_cyclic(|own: &Weak<World>| {
            let machines = machine::build(&scenario, &random, &handle, own);
            World {
                triggers: Triggers::new(scenario.is_about_views()),
                witness: Witness::new(&scenario),
                seed,
                random: random.clone(),
                trace,
                coverage: Coverage::default(),
                choices,
                network: Network::default(),
                lags: Lags::default(),
                clocks: Clocks::default(),
                holds: Holds::default(),
                connections: Connections::default(),
                courier: Courier::default(),
                priorities: Priorities::new(variation.explore, scenario.duration, &random),
                machines,
                processes: Mutex::default(),
                places: places(&scenario),
                servers: Mutex::default(),
                store: Mutex::default(),
                numbers: AtomicU64::new(1),
                healed: AtomicBool::new(false),
                violations: Mutex::default(),
                troubles: Mutex::default(),
                drained: Mutex::default(),
                stop: Notify::new(),
                time: TimeHandle::current(),
                handle: handle.clone(),
                own: own.clone(),
                scenario,
            }
        });
        process::build(&world);
        world
    }

    /// Simulated time since the beginning.
    pub fn now(&self) -> Duration {
        self.time.elapsed()
    }

    /// The name of the control plane's machine; of the first one, which has the store, where there are several.
    pub fn control_plane(&self) -> &str {
        CONTROL_PLANE
    }

    /// Whether `machine` is one of the control plane's.
    pub fn is_control_plane(&self, machine: &str) -> bool {
        self.machines.get(machine).is_some_and(|known| known.worker.is_none())
    }

    /// Where the API servers run.
    pub fn api_servers(&self) -> &[Place] {
        &self.places
    }

    /// The API server of this name, if it runs.
    pub fn server(&self, name: &str) -> Option<Server> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.get(name).cloned()
    }

    fn set_server(&self, name: &str, server: Option<Server>) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        match server {
            Some(server) => servers.insert(name.to_owned(), server),
            None => servers.remove(name),
        };
    }

    fn set_store(&self, store: Option<Store>) {
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = store;
    }

    /// The store, while it runs.
    pub fn running_store(&self) -> Option<Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the store of several API servers runs.
    async fn store(&self) -> Store {
        let mut changes = self.network.changes();
        loop {
            if let Some(store) = self.running_store() {
                return store;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// How much later a message of `actor` arrives than its link would have it, by the actor's priority.
    pub fn lateness(&self, actor: &str) -> Duration {
        if self.is_healed() {
            return Duration::ZERO;
        }
        self.priorities.delay(actor, self.now())
    }

    /// A number for a new watch, or for a request that is carried out.
    pub fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The machine of a name. Machines neither come nor go.
    pub fn machine(&self, name: &str) -> Option<&Machine> {
        self.machines.get(name)
    }

    /// All worker machines, in the order of their names' numbers.
    pub fn workers(&self) -> impl Iterator<Item = &Machine> {
        let specs = self.scenario.topology.nodes.iter();
        specs.filter_map(|spec| self.machines.get(&spec.name))
    }

    /// Whether a machine has power. Machines that are not simulated always have.
    pub fn is_up(&self, machine: &str) -> bool {
        self.machines.get(machine).is_none_or(Machine::is_up)
    }

    /// Runs a task of a machine itself, which dies with it.
    pub fn spawn_on_machine(&self, machine: &str, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(machine) = self.machines.get(machine)
            && let Some(node) = self.handle.get_node(machine.node)
        {
            node.spawn(task);
        }
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<String, Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of the processes that `wanted` accepts, in order.
    pub fn process_names(&self, wanted: impl Fn(&Process) -> bool) -> Vec<String> {
        self.processes()
            .values()
            .filter(|process| wanted(process))
            .map(|process| process.name.clone())
            .collect()
    }

    /// Whether there is a process of this component, running or not.
    pub fn has(&self, role: Role) -> bool {
        self.processes().values().any(|process| process.role == role)
    }

    /// The name of what each node of the executor is, and its machine's, for whoever must not lock the world.
    pub fn node_names(&self) -> Vec<(NodeId, String, String)> {
        let machines = self.machines.values();
        let machines = machines.map(|machine| (machine.node, machine.name.clone(), machine.name.clone()));
        let processes = self.processes();
        let processes = processes.values();
        machines
            .chain(processes.map(|process| (process.node, process.name.clone(), process.machine.clone())))
            .collect()
    }

    /// The control plane's disk.
    pub fn disk(&self) -> Option<&Arc<SimDisk>> {
        self.machines.get(CONTROL_PLANE)?.disk.as_ref()
    }

    /// Says that something is broken; the run ends soon.
    pub fn violated(&self, findings: Vec<Finding>) {
        for finding in findings {
            let mut actors = finding.actors.clone();
            actors.push("fault".to_owned());
            let events = self
                .trace
                .recent(|actor| actors.iter().any(|wanted| actor.starts_with(wanted.as_str())));
            let at = self.now();
            self.trace.event(
                at,
                "invariants",
                format_args!("{} is broken: {}", finding.invariant, finding.message),
            );
            self.trace.recorder.note(at, || What::Broken {
                invariant: finding.invariant.to_owned(),
                statement: crate::report::statement(finding.invariant).to_owned(),
                message: finding.message.clone(),
            });
            self.violations
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Violation { at, finding, events });
            self.stop.notify_one();
        }
    }

    /// What was broken.
    pub fn violations(&self) -> Vec<Violation> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says that the scenario itself cannot be played: a step that the API refuses for good.
    pub fn trouble(&self, what: String) {
        self.trace.event(self.now(), "user", format_args!("{what}"));
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        self.stop.notify_one();
    }

    /// Why the scenario cannot be played.
    pub fn troubles(&self) -> Vec<String> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a trigger from now on.
    pub fn arm(self: &Arc<Self>, trigger: &Trigger) -> Waiter {
        let world = self.clone();
        self.triggers.arm(trigger, move || world.now())
    }

    /// Whether the chaos is over.
    pub fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }

    /// The chaos is over: nothing more goes wrong by itself.
    pub fn set_healed(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }

    /// Notes whether a fault drains a node now.
    pub fn note_drained(&self, node: &str, drained: bool) {
        let mut nodes = self.drained.lock().unwrap_or_else(PoisonError::into_inner);
        if drained {
            nodes.insert(node.to_owned());
        } else {
            nodes.remove(node);
        }
    }

    /// The nodes that a fault drains now.
    pub fn drained(&self) -> BTreeSet<String> {
        self.drained.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The machines that are down or cut off, whose components do not run, or whose container runtime does not answer.
    pub fn broken_machines(&self) -> BTreeSet<String> {
        let processes = self.processes();
        let held_up = processes.values().filter(|process| !process.is_well());
        let mut broken: BTreeSet<String> = held_up.map(|process| process.machine.clone()).collect();
        let lost = self.machines.keys().filter(|name| self.is_lost(name));
        broken.extend(lost.cloned());
        broken
    }

    /// Whether a machine is down or cut off, or its container runtime does not answer.
    pub fn is_lost(&self, machine: &str) -> bool {
        !self.is_up(machine) || self.is_cut_off(machine) || self.is_at_a_loss(machine)
    }

    /// Whether a cut keeps a machine from its work: a worker that still speaks with one of several API servers goes on
    /// working through it, and so does one that is cut off from other workers only.
    fn is_cut_off(&self, machine: &str) -> bool {
        let passes = |from: &str, to: &str| self.network.passes(from, to);
        let speaks = |place: &Place| passes(machine, &place.machine) && passes(&place.machine, machine);
        let mut servers = self.places.iter().filter(|place| self.is_up(&place.machine));
        self.network.is_cut(machine) && (self.is_control_plane(machine) || !servers.any(speaks))
    }

    /// Whether a machine's container runtime cannot be relied on to answer.
    pub fn is_at_a_loss(&self, machine: &str) -> bool {
        let worker = self.machines.get(machine).and_then(|machine| machine.worker.as_ref());
        worker.is_some_and(|worker| worker.runtime.troubles.is_silent())
    }

    /// Ends everything that runs.
    pub fn end(&self) {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.set_store(None);
        self.network.notify();
        for process in self.processes().values() {
            self.handle.kill(process.node);
        }
        for machine in self.machines.values() {
            self.handle.kill(machine.node);
        }
    }

    /// A finished task leaves something behind until this is called.
    pub fn sweep(&self) {
        let _ = self.handle.metrics().num_tasks();
    }

    /// The address of a worker or of the control plane.
    fn address(number: usize) -> Ipv4Addr {
        let [high, low] = (number as u16).to_be_bytes();
        Ipv4Addr::new(192, 168, high, low)
    }

    /// How much of the chaos is to come.
    pub fn rest_of_chaos(&self) -> Duration {
        self.scenario.duration.saturating_sub(self.choices.elapsed())
    }

    /// What has held `role` up since `from` is over sooner than was known.
    pub fn stall_ends(&self, role: Role, from: Duration) {
        let now = self.now();
        self.witness.change(self, |cluster| cluster.stall_ends(role, from, now));
    }

    /// A fault holds `role` up until `until`: its picture may be old afterwards.
    pub fn stall(&self, role: Role, lasts: Duration) {
        let from = self.now();
        self.witness
            .change(self, |cluster| cluster.stall(role, from, from + lasts));
    }
}
