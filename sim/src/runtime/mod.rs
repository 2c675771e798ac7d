//! The simulated container runtime of one machine: images that pull, start, answer, crash and end as they are scripted.
//!
//! It outlives its kubelet and dies with its machine: a crash ends every container and sandbox, and a new boot finds
//! them dead. Each call takes a while and may be cut off half-way, before or after it took effect; faults make it sick
//! ([`Trouble`]). Not simulated: resource usage, files beyond what volumes were written with, and a runtime that lies.

mod calls;
mod draws;
mod network;
mod pods;
mod state;
mod troubles;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use orrery_api::clock;
use orrery_api::random::Random;
use orrery_kubelet::runtime::{Exit, PodIdentity, SandboxConfig, VolumeContent};
use tokio::time::sleep;

use crate::model::Seen;
use crate::scenario::ImageScript;
use crate::world::World;
use state::State;

pub use calls::SharedRuntime;
pub use troubles::{Trouble, Troubles};

/// How long a call takes that has nothing to wait for.
const CALL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(10));
/// How late an event is told that is late.
const LATE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(20));

/// A container that runs.
#[derive(Debug, Clone)]
pub struct RunningContainer {
    /// Its id.
    pub id: String,
    /// Its pod.
    pub pod: PodIdentity,
    /// Its name in the pod.
    pub name: String,
    /// How often one of its name ran before.
    pub attempt: u32,
    started: u64,
}

/// What a container was told: its pod's uid, its name, its environment, and the address of its sandbox.
pub type Environment = (String, String, Vec<(String, String)>, Option<IpAddr>);

/// The container runtime of one machine.
pub struct SimRuntime {
    world: Weak<World>,
    machine: String,
    address: IpAddr,
    state: Mutex<State>,
    random: Random,
    /// What faults have done to it.
    pub troubles: Troubles,
    /// Which calls take effect that never return, how late events are told, and the like.
    faults: Random,
}

impl SimRuntime {
    /// The runtime of `machine`, whose pods get addresses of the network `10.<second>.<third>.0/24`.
    pub fn new(world: Weak<World>, machine: &str, address: IpAddr, network: (u8, u8), random: Random) -> Arc<Self> {
        Arc::new(SimRuntime {
            world,
            machine: machine.to_owned(),
            address,
            state: Mutex::new(State::new(network, random.stream("images"))),
            troubles: Troubles::default(),
            faults: random.stream("faults"),
            random,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn world(&self) -> Option<Arc<World>> {
        self.world.upgrade()
    }

    fn script(&self, image: &str) -> ImageScript {
        self.world()
            .and_then(|world| world.scenario.images.get(image).cloned())
            .unwrap_or_default()
    }

    /// Says what happened, to the trace, the invariants and those who follow events.
    fn tell(&self, pod_uid: &str, seen: &Seen<'_>, what: std::fmt::Arguments<'_>) {
        if let Some(world) = self.world() {
            world
                .trace
                .event(world.now(), &format!("runtime/{}", self.machine), what);
            world.witness.observe(&world, seen);
        }
        if self.troubles.has(Trouble::LostEvents) || self.troubles.has(Trouble::Away) {
            return;
        }
        if self.troubles.has(Trouble::LateEvents) {
            let late = self.faults.duration(LATE.0, LATE.1);
            let (followers, uid) = (self.lock().followers.clone(), pod_uid.to_owned());
            self.spawn(async move {
                sleep(late).await;
                for follower in followers {
                    let _ = follower.send(uid.clone());
                }
            });
            return;
        }
        self.lock()
            .followers
            .retain(|follower| follower.send(pod_uid.to_owned()).is_ok());
    }

    /// Lets the invariants know of what the runtime was asked for.
    fn observe(&self, seen: &Seen<'_>) {
        if let Some(world) = self.world() {
            world.witness.observe(&world, seen);
        }
    }

    /// Lets the invariants know which containers are no longer known.
    fn observe_removed(&self, containers: &[String]) {
        for container in containers {
            self.observe(&Seen::ContainerRemoved { container });
        }
    }

    /// An id like Docker's.
    fn id(&self) -> String {
        (0..4).map(|_| format!("{:016x}", self.random.bits())).collect()
    }

    async fn call(&self) {
        sleep(self.random.duration(CALL.0, CALL.1)).await;
    }

    /// The machine dies: nothing runs any more.
    pub fn crash(&self) {
        let (containers, sandboxes) = {
            let mut state = self.lock();
            state.followers.clear();
            let containers: Vec<(String, String)> = state
                .containers
                .iter()
                .filter(|(_, container)| container.is_running())
                .map(|(id, container)| (id.clone(), container.config.pod.uid.clone()))
                .collect();
            let sandboxes: Vec<(String, String)> = state
                .sandboxes
                .iter()
                .filter(|(_, sandbox)| sandbox.ready)
                .map(|(id, sandbox)| (id.clone(), sandbox.config.pod.uid.clone()))
                .collect();
            (containers, sandboxes)
        };
        for (id, uid) in containers {
            self.end(&id, &uid, 255, "Error");
        }
        for (id, uid) in sandboxes {
            self.take_down(&id, &uid);
        }
        // What was pulled stays on the disk.
    }

    /// The machine is replaced by a new one, on which there is nothing. Call it after [`crash`](Self::crash).
    pub fn wipe(&self) {
        let containers: Vec<String> = self.lock().containers.keys().cloned().collect();
        self.lock().wipe();
        self.observe_removed(&containers);
    }

    /// The runtime goes away for a while: whoever follows its events hears that they end.
    pub fn go_away(&self) {
        self.troubles.begin(Trouble::Away);
        self.lock().followers.clear();
    }

    /// Nothing is wrong any more, and every container that runs answers.
    pub fn heal(&self) {
        self.troubles.end_all();
        let answering: Vec<String> = {
            let mut state = self.lock();
            let all = state.containers.iter_mut();
            all.filter_map(|(id, container)| (std::mem::take(&mut container.silences) > 0).then(|| id.clone()))
                .collect()
        };
        for container in &answering {
            self.observe_silence(container, false);
        }
    }

    /// The ids of running containers with their pods' names and their own, the oldest first.
    pub fn containers(&self) -> Vec<RunningContainer> {
        let state = self.lock();
        let mut running: Vec<RunningContainer> = state
            .containers
            .iter()
            .filter(|(_, container)| container.is_running())
            .map(|(id, container)| RunningContainer {
                id: id.clone(),
                pod: container.config.pod.clone(),
                name: container.config.name.clone(),
                attempt: container.config.attempt,
                started: container.started,
            })
            .collect();
        running.sort_by_key(|container| container.started);
        running
    }

    /// A container ends, for a reason of the machine's: `OOMKilled`, for example.
    pub fn end_container(&self, container: &RunningContainer, code: i32, reason: &str) {
        self.end(&container.id, &container.pod.uid, code, reason);
    }

    /// A container that runs answers nobody any more.
    pub fn silence(&self, container: &RunningContainer) {
        if self.change_silences(&container.id, |silences| silences + 1) == Some(1) {
            self.observe_silence(&container.id, true);
        }
    }

    /// Takes back one [`silence`](Self::silence): the container answers again if it was the last.
    pub fn end_silence(&self, container: &RunningContainer) {
        if self.change_silences(&container.id, |silences| silences.saturating_sub(1)) == Some(0) {
            self.observe_silence(&container.id, false);
        }
    }

    /// Changes how many faults keep a container from answering; how many these are then, if it is still known.
    fn change_silences(&self, container: &str, change: impl FnOnce(u32) -> u32) -> Option<u32> {
        let mut state = self.lock();
        let container = state.containers.get_mut(container)?;
        container.silences = change(container.silences);
        Some(container.silences)
    }

    /// Lets the invariants know whether a container answers nobody from now on.
    fn observe_silence(&self, container: &str, silent: bool) {
        self.observe(&Seen::ContainerSilent { container, silent });
    }

    /// A sandbox appears of a pod that nobody has ever heard of.
    pub fn add_stray(&self) {
        let id = self.id();
        let pod = PodIdentity {
            uid: self.faults.uid(),
            namespace: "default".to_owned(),
            name: format!("stray-{}", self.faults.below(1000)),
        };
        let config = SandboxConfig {
            pod: pod.clone(),
            grace: Duration::from_secs(1),
            ..SandboxConfig::default()
        };
        // It fails when no address is free: then nothing appears.
        let Ok(ip) = self.lock().add_sandbox(&id, &config) else {
            return;
        };
        let seen = Seen::SandboxReady {
            machine: &self.machine,
            pod_uid: &pod.uid,
            sandbox: &id,
            ip,
        };
        self.tell(&pod.uid, &seen, format_args!("sandbox {} of {pod} appears", &id[..12]));
    }

    /// The pods of all sandboxes, in no certain order.
    pub fn pods(&self) -> Vec<PodIdentity> {
        let state = self.lock();
        state
            .sandboxes
            .values()
            .map(|sandbox| sandbox.config.pod.clone())
            .collect()
    }

    /// Running containers: the pod's uid, its name and the container's, in order.
    pub fn running(&self) -> Vec<(PodIdentity, String)> {
        let state = self.lock();
        let running = state.containers.values().filter(|container| container.is_running());
        running
            .map(|container| (container.config.pod.clone(), container.config.name.clone()))
            .collect()
    }

    /// What running containers were told.
    pub fn environments(&self) -> Vec<Environment> {
        let state = self.lock();
        let running = state.containers.values().filter(|container| container.is_running());
        running
            .map(|container| {
                let (config, sandbox) = (&container.config, state.sandboxes.get(&container.sandbox));
                let address = sandbox.and_then(|sandbox| sandbox.ip);
                (config.pod.uid.clone(), config.name.clone(), config.env.clone(), address)
            })
            .collect()
    }

    /// What is in the volumes of pods, by the pod's uid and the volume's name.
    pub fn volumes(&self) -> BTreeMap<String, BTreeMap<String, VolumeContent>> {
        self.lock().volumes.clone()
    }

    fn take_down(&self, id: &str, uid: &str) {
        {
            let mut state = self.lock();
            let Some(sandbox) = state.sandboxes.get_mut(id) else {
                return;
            };
            if !std::mem::replace(&mut sandbox.ready, false) {
                return;
            }
            sandbox.ip = None;
        }
        self.tell(
            uid,
            &Seen::SandboxGone { sandbox: id },
            format_args!("sandbox {} of {uid} is down", &id[..12]),
        );
    }

    /// A container ends.
    fn end(&self, id: &str, uid: &str, code: i32, reason: &str) {
        {
            let mut state = self.lock();
            let Some(container) = state.containers.get_mut(id) else {
                return;
            };
            let Some(started_at) = container.running_since() else {
                return;
            };
            container.exit = Some(Exit {
                code,
                reason: reason.to_owned(),
                message: String::new(),
                started_at,
                finished_at: clock::now(),
            });
            container.ended.send_replace(true);
        }
        self.tell(
            uid,
            &Seen::ContainerEnded { container: id, code },
            format_args!("container {} of {uid} ended with {code}", &id[..12]),
        );
    }

    /// Lets a container end by itself at some time, if it is going to.
    fn schedule_end(self: &Arc<Self>, id: &str, uid: &str, end: Option<(Duration, i32)>) {
        let Some((after, code)) = end else { return };
        let (runtime, id, uid) = (Arc::downgrade(self), id.to_owned(), uid.to_owned());
        self.spawn(async move {
            sleep(after).await;
            if let Some(runtime) = runtime.upgrade() {
                if let Some(world) = runtime.world().filter(|_| code != 0) {
                    world.coverage.saw("a container crashed");
                }
                runtime.end(&id, &uid, code, if code == 0 { "Completed" } else { "Error" });
            }
        });
    }

    /// Runs a task of the machine itself: it dies with it, not with the kubelet.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(world) = self.world() {
            world.spawn_on_machine(&self.machine, task);
        }
    }
}

#[cfg(test)]
mod tests;
