//! The runtime as the kubelet holds it: each call is carried out as the runtime's troubles have it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use orrery_kubelet::runtime::{
    ContainerConfig, ContainerRuntime, ErrorKind, EventStream, ExecOutcome, ImageInfo, LogLine, LogOptions, LogSource,
    LogStream, PodIdentity, PodSandbox, Pressure, RuntimeError, RuntimeVersion, Sandbox, SandboxConfig, Volume,
};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::state::{self, SimContainer};
use super::troubles::Call;
use super::{SimRuntime, Trouble, pods};
use crate::model::Seen;

/// The runtime as the kubelet holds it.
pub struct SharedRuntime(pub Arc<SimRuntime>);

impl SharedRuntime {
    async fn call<T: Send + 'static, F>(
        &self,
        work: impl FnOnce(Arc<SimRuntime>) -> F + Send,
    ) -> Result<T, RuntimeError>
    where
        F: Future<Output = Result<T, RuntimeError>> + Send + 'static,
    {
        self.0.carry_out(Call::Other, work(self.0.clone())).await
    }
}

fn no_container(id: &str) -> RuntimeError {
    RuntimeError::new(ErrorKind::NotFound, format!("no container {id}"))
}

/// Pulls an image, however long that takes.
async fn pull(runtime: &SimRuntime, reference: &str) -> Result<ImageInfo, RuntimeError> {
    let script = runtime.script(reference);
    let takes = runtime.lock().draws.pull(reference, &script);
    sleep(takes).await;
    runtime.troubles.over(&[Trouble::PullSlow]).await;
    if runtime.troubles.has(Trouble::PullFails) {
        if let Some(world) = runtime.world() {
            world.coverage.saw("a pull failed");
        }
        let message = format!("failed to pull and unpack image {reference:?}: 503 Service Unavailable");
        return Err(RuntimeError::other(message));
    }
    runtime.lock().images.insert(reference.to_owned());
    Ok(state::image(reference))
}

#[async_trait]
impl ContainerRuntime for SharedRuntime {
    async fn version(&self) -> Result<RuntimeVersion, RuntimeError> {
        let runtime = self.0.clone();
        let answer = async move {
            runtime.call().await;
            Ok(RuntimeVersion {
                name: "simulated".to_owned(),
                version: "1.0.0".to_owned(),
            })
        };
        self.0.carry_out(Call::Version, answer).await
    }

    async fn list_pods(&self) -> Result<Vec<PodSandbox>, RuntimeError> {
        self.call(|runtime| async move {
            // It may show any moment of the call: what happens until the answer comes may not be in it.
            let pods = runtime.lock().list();
            runtime.call().await;
            Ok(pods)
        })
        .await
    }

    async fn events(&self) -> Result<EventStream, RuntimeError> {
        self.call(|runtime| async move {
            let (sender, receiver) = mpsc::unbounded_channel();
            runtime.lock().followers.push(sender);
            let events = stream::unfold(receiver, |mut receiver: mpsc::UnboundedReceiver<String>| async move {
                Some((receiver.recv().await?, receiver))
            });
            Ok(Box::pin(events) as EventStream)
        })
        .await
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        let reference = reference.to_owned();
        self.call(|runtime| async move {
            let present = runtime.lock().images.contains(&reference);
            Ok(present.then(|| state::image(&reference)))
        })
        .await
    }

    async fn pull_image(&self, reference: &str) -> Result<ImageInfo, RuntimeError> {
        let reference = reference.to_owned();
        self.call(|runtime| async move { pull(&runtime, &reference).await })
            .await
    }

    async fn run_sandbox(&self, config: &SandboxConfig) -> Result<Sandbox, RuntimeError> {
        let config = config.clone();
        self.call(|runtime| async move { pods::run_sandbox(&runtime, &config).await })
            .await
    }

    async fn stop_sandbox(&self, sandbox_id: &str) -> Result<(), RuntimeError> {
        let id = sandbox_id.to_owned();
        self.call(|runtime| async move { pods::stop_sandbox(&runtime, &id).await })
            .await
    }

    async fn remove_sandbox(&self, sandbox_id: &str) -> Result<(), RuntimeError> {
        let id = sandbox_id.to_owned();
        self.call(|runtime| async move { pods::remove_sandbox(&runtime, &id).await })
            .await
    }

    async fn create_container(&self, sandbox_id: &str, config: &ContainerConfig) -> Result<String, RuntimeError> {
        let (sandbox, config) = (sandbox_id.to_owned(), config.clone());
        self.call(|runtime| async move { pods::create_container(&runtime, &sandbox, &config).await })
            .await
    }

    async fn start_container(&self, container_id: &str) -> Result<(), RuntimeError> {
        let id = container_id.to_owned();
        let asked = self.0.world().map(|world| world.now()).unwrap_or_default();
        self.call(move |runtime| async move { pods::start_container(&runtime, &id, asked).await })
            .await
    }

    async fn stop_container(&self, container_id: &str, grace: Duration) -> Result<(), RuntimeError> {
        let id = container_id.to_owned();
        self.call(move |runtime| async move { pods::stop_container(&runtime, &id, grace).await })
            .await
    }

    async fn remove_container(&self, container_id: &str) -> Result<(), RuntimeError> {
        let id = container_id.to_owned();
        self.call(|runtime| async move { pods::remove_container(&runtime, &id).await })
            .await
    }

    /// A command succeeds once the container answers, and waits for that as long as it may: hooks are run right after
    /// the start. The invariants are told when the kubelet asks for it and when it hears of it, whatever the runtime's
    /// troubles make of the call.
    async fn exec(
        &self,
        container_id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutcome, RuntimeError> {
        let id = container_id.to_owned();
        self.0.observe(&Seen::CommandAsked {
            machine: &self.0.machine,
            container: container_id,
            command,
            timeout,
        });
        let run = self.call(move |runtime| async move {
            runtime.call().await;
            let ready_in = runtime.lock().containers.get(&id).and_then(SimContainer::ready_in);
            if let Some(wait) = ready_in.filter(|wait| *wait < timeout) {
                sleep(wait).await;
            }
            let answers = runtime.lock().containers.get(&id).map(SimContainer::answers);
            let answers = answers.ok_or_else(|| no_container(&id))?;
            Ok(ExecOutcome {
                exit_code: i32::from(!answers),
                output: Bytes::new(),
            })
        });
        let outcome = run.await;
        self.0.observe(&Seen::CommandAnswered {
            container: container_id,
            command,
            code: outcome.as_ref().ok().map(|outcome| outcome.exit_code),
        });
        outcome
    }

    async fn logs(&self, container_id: &str, _options: &LogOptions) -> Result<LogStream, RuntimeError> {
        let id = container_id.to_owned();
        self.call(|runtime| async move {
            runtime.call().await;
            let state = runtime.lock();
            let container = state.containers.get(&id).ok_or_else(|| no_container(&id))?;
            let lines = container.started_at.map(|time| {
                Ok(LogLine {
                    time,
                    stream: LogSource::Stdout,
                    bytes: Bytes::from(format!("{} started\n", container.config.image)),
                })
            });
            Ok(Box::pin(stream::iter(lines)) as LogStream)
        })
        .await
    }

    async fn pressure(&self) -> Result<Pressure, RuntimeError> {
        let troubles = &self.0.troubles;
        Ok(Pressure {
            memory: troubles.has(Trouble::MemoryShort),
            disk: troubles.has(Trouble::DiskShort),
        })
    }

    async fn write_volume(&self, pod: &PodIdentity, volume: &Volume) -> Result<(), RuntimeError> {
        let (pod, volume) = (pod.uid.clone(), volume.clone());
        self.call(|runtime| async move {
            let volumes = &mut runtime.lock().volumes;
            volumes.entry(pod).or_default().insert(volume.name, volume.content);
            Ok(())
        })
        .await
    }

    async fn remove_volumes(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        let pod = pod_uid.to_owned();
        self.call(|runtime| async move {
            runtime.lock().volumes.remove(&pod);
            Ok(())
        })
        .await
    }
}
