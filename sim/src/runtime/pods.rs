//! The calls on sandboxes and containers: they take time and may be cut off half-way.

use std::sync::Arc;
use std::time::Duration;

use orrery_api::clock;
use orrery_kubelet::runtime::{ContainerConfig, ErrorKind, RuntimeError, Sandbox, SandboxConfig};
use tokio::time::{Instant, sleep};

use super::{SimRuntime, Trouble};
use crate::model::Seen;

/// How long a sandbox takes to set up.
const SANDBOX: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(300));

fn no_container(id: &str) -> RuntimeError {
    RuntimeError::new(ErrorKind::NotFound, format!("no container {id}"))
}

/// Makes a sandbox.
pub(super) async fn run_sandbox(runtime: &Arc<SimRuntime>, config: &SandboxConfig) -> Result<Sandbox, RuntimeError> {
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

/// Stops a sandbox, and takes the time of two calls for it.
pub(super) async fn stop_sandbox(runtime: &Arc<SimRuntime>, id: &str) -> Result<(), RuntimeError> {
    runtime.call().await;
    end_sandbox(runtime, id);
    runtime.call().await;
    Ok(())
}

/// Removes a sandbox with all that is in it.
pub(super) async fn remove_sandbox(runtime: &Arc<SimRuntime>, id: &str) -> Result<(), RuntimeError> {
    runtime.call().await;
    end_sandbox(runtime, id);
    if runtime.troubles.has(Trouble::Leak) {
        if let Some(world) = runtime.world() {
            world.coverage.saw("a sandbox could not be removed");
        }
        return Err(RuntimeError::other(
            "the sandbox cannot be removed: device or resource busy",
        ));
    }
    let removed = runtime.lock().remove_sandbox(id);
    runtime.observe_removed(&removed);
    runtime.call().await;
    Ok(())
}

/// Makes a container.
pub(super) async fn create_container(
    runtime: &Arc<SimRuntime>,
    sandbox: &str,
    config: &ContainerConfig,
) -> Result<String, RuntimeError> {
    runtime.call().await;
    let id = runtime.id();
    runtime.lock().add_container(&id, sandbox, config)?;
    runtime.call().await;
    Ok(id)
}

/// Removes a container, whatever it does.
pub(super) async fn remove_container(runtime: &Arc<SimRuntime>, id: &str) -> Result<(), RuntimeError> {
    runtime.call().await;
    let uid = runtime
        .lock()
        .containers
        .get(id)
        .map(|container| (container.config.pod.uid.clone(), container.is_running()));
    if let Some((uid, runs)) = uid {
        if runs {
            runtime.observe(&Seen::ContainerStopping {
                machine: &runtime.machine,
                pod_uid: &uid,
                container: id,
                grace: Duration::ZERO,
            });
        }
        runtime.end(id, &uid, 137, "Error");
        runtime.lock().containers.remove(id);
        runtime.observe_removed(&[id.to_owned()]);
    }
    Ok(())
}

/// Kills whatever runs in a sandbox, and the sandbox.
fn end_sandbox(runtime: &Arc<SimRuntime>, sandbox_id: &str) {
    let (uid, containers) = {
        let state = runtime.lock();
        let Some(sandbox) = state.sandboxes.get(sandbox_id) else {
            return;
        };
        let containers: Vec<String> = state
            .containers
            .iter()
            .filter(|(_, container)| container.sandbox == sandbox_id && container.is_running())
            .map(|(id, _)| id.clone())
            .collect();
        (sandbox.config.pod.uid.clone(), containers)
    };
    for container in containers {
        runtime.observe(&Seen::ContainerStopping {
            machine: &runtime.machine,
            pod_uid: &uid,
            container: &container,
            grace: Duration::ZERO,
        });
        runtime.end(&container, &uid, 137, "Error");
    }
    runtime.take_down(sandbox_id, &uid);
}

/// Starts a created container, after the time that its script says. It was asked for at `asked`.
pub(super) async fn start_container(runtime: &Arc<SimRuntime>, id: &str, asked: Duration) -> Result<(), RuntimeError> {
    let image = runtime
        .lock()
        .containers
        .get(id)
        .map(|container| container.config.image.clone());
    let image = image.ok_or_else(|| no_container(id))?;
    let script = runtime.script(&image);
    let life = runtime.lock().draws.life(&image, &script);
    sleep(life.start).await;
    if runtime.troubles.has(Trouble::StartFails) {
        return Err(RuntimeError::other(
            "failed to create shim task: OCI runtime create failed",
        ));
    }
    let ready = life.ready;
    let (sandbox, uid, name, attempt) = {
        let mut state = runtime.lock();
        let started = state.next_start();
        let up = state.containers.get(id).is_some_and(|container| {
            state
                .sandboxes
                .get(&container.sandbox)
                .is_some_and(|sandbox| sandbox.ready)
        });
        let container = state.containers.get_mut(id).ok_or_else(|| no_container(id))?;
        if container.started_at.is_some() {
            return Ok(());
        }
        if !up {
            return Err(RuntimeError::other("the sandbox is not ready"));
        }
        container.started_at = Some(clock::now());
        container.ready_at = Some(Instant::now() + ready);
        container.listen = script.listen.clone();
        container.stop = life.stop;
        container.started = started;
        (
            container.sandbox.clone(),
            container.config.pod.uid.clone(),
            container.config.name.clone(),
            container.config.attempt,
        )
    };
    if attempt > 0
        && let Some(world) = runtime.world()
    {
        world.coverage.saw("a container was restarted");
    }
    let seen = Seen::ContainerStarted {
        machine: &runtime.machine,
        pod_uid: &uid,
        sandbox: &sandbox,
        container: id,
        name: &name,
        image: &image,
        answers: ready,
        asked,
    };
    runtime.tell(
        &uid,
        &seen,
        format_args!("container {} ({name}) of {uid} runs", &id[..12]),
    );
    runtime.schedule_end(id, &uid, life.end);
    runtime.call().await;
    Ok(())
}

/// Asks a container to end, kills it after `grace`, and waits for its end. It ends also if nobody waits any more.
pub(super) async fn stop_container(runtime: &Arc<SimRuntime>, id: &str, grace: Duration) -> Result<(), RuntimeError> {
    runtime.call().await;
    let (mut ended, uid, stop) = {
        let state = runtime.lock();
        let Some(container) = state.containers.get(id) else {
            return Ok(());
        };
        if !container.is_running() {
            return Ok(());
        }
        (
            container.ended.subscribe(),
            container.config.pod.uid.clone(),
            container.stop,
        )
    };
    let stopping = Seen::ContainerStopping {
        machine: &runtime.machine,
        pod_uid: &uid,
        container: id,
        grace,
    };
    runtime.observe(&stopping);
    let (after, code) = if stop < grace { (stop, 0) } else { (grace, 137) };
    if after.is_zero() {
        runtime.end(id, &uid, code, "Error");
    } else {
        let (weak, id, uid) = (Arc::downgrade(runtime), id.to_owned(), uid.clone());
        runtime.spawn(async move {
            sleep(after).await;
            if let Some(runtime) = weak.upgrade() {
                runtime.end(&id, &uid, code, if code == 0 { "Completed" } else { "Error" });
            }
        });
    }
    while !*ended.borrow_and_update() {
        if ended.changed().await.is_err() {
            break;
        }
    }
    Ok(())
}
