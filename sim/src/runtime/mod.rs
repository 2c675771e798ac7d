//! The simulated container runtime of one machine: images that pull, start, answer, crash and end as they are scripted.
//!
//! It outlives its kubelet and dies with its machine: a crash ends every container and sandbox, and a new boot finds
//! them dead. Each call takes a while and may be cut off half-way, before or after it took effect. Not simulated:
//! resource usage, files (volumes are remembered by name), and a runtime that hangs or lies.

mod draws;
mod network;
mod pods;
mod state;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use orrery_api::clock;
use orrery_api::random::Random;
use orrery_kubelet::runtime::{
    ContainerConfig, ContainerRuntime, ErrorKind, EventStream, ExecOutcome, Exit, ImageInfo, LogLine, LogOptions,
    LogSource, LogStream, PodIdentity, PodSandbox, RuntimeError, RuntimeVersion, Sandbox, SandboxConfig, Volume,
};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::model::Seen;
use crate::scenario::ImageScript;
use crate::world::World;
use state::{SimContainer, State};

/// How long a call takes that has nothing to wait for.
const CALL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(10));
/// How long a sandbox takes to set up.
const SANDBOX: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(300));

/// The container runtime of one machine.
pub struct SimRuntime {
    world: Weak<World>,
    machine: String,
    address: IpAddr,
    state: Mutex<State>,
    random: Random,
}

impl SimRuntime {
    /// The runtime of `machine`, whose pods get addresses of the network `10.<second>.<third>.0/24`.
    pub fn new(world: Weak<World>, machine: &str, address: IpAddr, network: (u8, u8), random: Random) -> Arc<Self> {
        Arc::new(SimRuntime {
            world,
            machine: machine.to_owned(),
            address,
            state: Mutex::new(State::new(network, random.stream("images"))),
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

    /// Running containers: the pod's uid, its name and the container's, in order.
    pub fn running(&self) -> Vec<(PodIdentity, String)> {
        let state = self.lock();
        let running = state.containers.values().filter(|container| container.is_running());
        running
            .map(|container| (container.config.pod.clone(), container.config.name.clone()))
            .collect()
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
            &Seen::ContainerEnded { container: id },
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

/// The runtime as the kubelet holds it.
pub struct SharedRuntime(pub Arc<SimRuntime>);

#[async_trait]
impl ContainerRuntime for SharedRuntime {
    async fn version(&self) -> Result<RuntimeVersion, RuntimeError> {
        self.0.call().await;
        Ok(RuntimeVersion {
            name: "simulated".to_owned(),
            version: "1.0.0".to_owned(),
        })
    }

    async fn list_pods(&self) -> Result<Vec<PodSandbox>, RuntimeError> {
        self.0.call().await;
        Ok(self.0.lock().list())
    }

    async fn events(&self) -> Result<EventStream, RuntimeError> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.lock().followers.push(sender);
        Ok(Box::pin(stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        })))
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        Ok(self
            .0
            .lock()
            .images
            .contains(reference)
            .then(|| state::image(reference)))
    }

    async fn pull_image(&self, reference: &str) -> Result<ImageInfo, RuntimeError> {
        let script = self.0.script(reference);
        let takes = self.0.lock().draws.pull(reference, &script);
        sleep(takes).await;
        self.0.lock().images.insert(reference.to_owned());
        Ok(state::image(reference))
    }

    async fn run_sandbox(&self, config: &SandboxConfig) -> Result<Sandbox, RuntimeError> {
        let runtime = &self.0;
        sleep(runtime.random.duration(SANDBOX.0, SANDBOX.1)).await;
        let id = runtime.id();
        let ip = runtime.lock().add_sandbox(&id, config)?;
        let seen = Seen::SandboxReady {
            machine: &runtime.machine,
            pod_uid: &config.pod.uid,
            sandbox: &id,
            ip,
        };
        runtime.tell(
            &config.pod.uid,
            &seen,
            format_args!("sandbox {} of {} is up, at {ip:?}", &id[..12], config.pod),
        );
        runtime.call().await;
        Ok(Sandbox { id, ip })
    }

    async fn stop_sandbox(&self, sandbox_id: &str) -> Result<(), RuntimeError> {
        self.0.call().await;
        pods::stop_sandbox(&self.0, sandbox_id);
        self.0.call().await;
        Ok(())
    }

    async fn remove_sandbox(&self, sandbox_id: &str) -> Result<(), RuntimeError> {
        self.0.call().await;
        pods::stop_sandbox(&self.0, sandbox_id);
        self.0.lock().remove_sandbox(sandbox_id);
        self.0.call().await;
        Ok(())
    }

    async fn create_container(&self, sandbox_id: &str, config: &ContainerConfig) -> Result<String, RuntimeError> {
        self.0.call().await;
        let id = self.0.id();
        self.0.lock().add_container(&id, sandbox_id, config)?;
        self.0.call().await;
        Ok(id)
    }

    async fn start_container(&self, container_id: &str) -> Result<(), RuntimeError> {
        pods::start_container(&self.0, container_id).await
    }

    async fn stop_container(&self, container_id: &str, grace: Duration) -> Result<(), RuntimeError> {
        pods::stop_container(&self.0, container_id, grace).await
    }

    async fn remove_container(&self, container_id: &str) -> Result<(), RuntimeError> {
        self.0.call().await;
        let uid = self
            .0
            .lock()
            .containers
            .get(container_id)
            .map(|container| (container.config.pod.uid.clone(), container.is_running()));
        if let Some((uid, runs)) = uid {
            if runs {
                self.0.observe(&Seen::ContainerStopping {
                    machine: &self.0.machine,
                    pod_uid: &uid,
                    container: container_id,
                    grace: Duration::ZERO,
                });
            }
            self.0.end(container_id, &uid, 137, "Error");
            self.0.lock().containers.remove(container_id);
        }
        Ok(())
    }

    async fn exec(
        &self,
        container_id: &str,
        _command: &[String],
        _timeout: Duration,
    ) -> Result<ExecOutcome, RuntimeError> {
        self.0.call().await;
        let answers = self.0.lock().containers.get(container_id).map(SimContainer::answers);
        match answers {
            None => Err(RuntimeError::new(
                ErrorKind::NotFound,
                format!("no container {container_id}"),
            )),
            Some(answers) => Ok(ExecOutcome {
                exit_code: i32::from(!answers),
                output: bytes::Bytes::new(),
            }),
        }
    }

    async fn logs(&self, container_id: &str, _options: &LogOptions) -> Result<LogStream, RuntimeError> {
        self.0.call().await;
        let state = self.0.lock();
        let Some(container) = state.containers.get(container_id) else {
            return Err(RuntimeError::new(
                ErrorKind::NotFound,
                format!("no container {container_id}"),
            ));
        };
        let lines = container.started_at.map(|time| {
            Ok(LogLine {
                time,
                stream: LogSource::Stdout,
                bytes: bytes::Bytes::from(format!("{} started\n", container.config.image)),
            })
        });
        Ok(Box::pin(stream::iter(lines)))
    }

    async fn write_volume(&self, pod: &PodIdentity, volume: &Volume) -> Result<(), RuntimeError> {
        self.0.lock().volumes.insert((pod.uid.clone(), volume.name.clone()));
        Ok(())
    }

    async fn remove_volumes(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        self.0.lock().volumes.retain(|(uid, _)| uid != pod_uid);
        Ok(())
    }
}
