//! The worker's hands: carries out one action of a plan.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join_all};
use k8s_openapi::api::core::v1::{Container, Pod};
use orrery_api::mutant;
use orrery_api::task::within;
use orrery_client::{Error, EventKind};
use tokio::time::Instant;

use crate::backoff::FIRST;
use crate::config::{STOP_MARGIN, container_config, sandbox_config};
use crate::downward::Surroundings;
use crate::handler::Handler;
use crate::plan::{Action, Stop, Trouble, Waiting};
use crate::probe::Death;
use crate::runtime::{PodSandbox, RuntimeError};
use crate::sources::{Needs, Sources, TOKEN_REFRESH, read, services};
use crate::turns::Turns;
use crate::view::{host_network, spec_hash, unhindered, usable_sandbox, views};
use crate::volumes::volumes;
use crate::worker::{Failed, Step, Worker};

/// How long making a sandbox or container may take before the runtime is thought to hang.
const MAKE_LIMIT: Duration = Duration::from_secs(120);
/// How long a hook after the start may take: Kubernetes sets no limit, and a runtime that has lost the call shall not
/// hold its pod up for ever.
const POST_START_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the API is waited for that says what an environment is made of.
const UNANSWERED: Duration = Duration::from_secs(60);
/// How long it is where that is known from an earlier start.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is left to a container of its grace period when its hook used all of it.
const LEAST_GRACE: Duration = Duration::from_secs(2);

impl Worker {
    /// Does what `action` says.
    pub(crate) async fn act(&mut self, pod: &Pod, sandboxes: &[PodSandbox], action: &Action) -> Result<Step, Failed> {
        match action {
            Action::CreateSandbox { attempt } => self.create_sandbox(pod, *attempt).await,
            Action::StartContainer { name, attempt, sandbox } => {
                let all = views(pod, sandboxes);
                let sandbox = sandboxes.iter().find(|own| own.id == *sandbox);
                let view = all.iter().find(|view| view.spec.name == *name);
                let (Some(view), Some(sandbox)) = (view, sandbox) else {
                    return Ok(Step::Again);
                };
                let ended = view
                    .current
                    .and_then(|(container, _)| self.memory.ended.get(&container.id))
                    .copied();
                let trouble = match self.start_container(pod, sandbox, view.spec, *attempt, ended).await {
                    Ok(()) => None,
                    Err(Some(trouble)) => Some(trouble),
                    // Something more urgent came between.
                    Err(None) => return Ok(Step::Again),
                };
                self.memory.tried(view.spec, trouble, all.iter().map(|view| view.spec));
                Ok(Step::Again)
            }
            Action::StopContainers(stops) => self.stop_containers(Some(pod), sandboxes, stops).await,
            action => self.act_on_runtime(action).await,
        }
    }

    /// Does what `action` says, where the runtime alone is concerned.
    pub(crate) async fn act_on_runtime(&mut self, action: &Action) -> Result<Step, Failed> {
        let runtime = self.context.runtime.clone();
        let result = within(MAKE_LIMIT, async {
            match action {
                Action::StopSandbox { id } => runtime.stop_sandbox(id).await,
                Action::RemoveSandbox { id } => runtime.remove_sandbox(id).await,
                Action::RemoveContainer { id } => runtime.remove_container(id).await,
                // These need the pod; the worker does them itself.
                Action::CreateSandbox { .. } | Action::StartContainer { .. } | Action::StopContainers(_) => Ok(()),
            }
        });
        match result.await {
            Ok(Ok(())) => Ok(Step::Again),
            Ok(Err(error)) if error.is_not_found() => Ok(Step::Again),
            Ok(Err(error)) => Err(Failed(error.to_string())),
            Err(_) => Err(Failed(format!("the runtime does not answer to {action:?}"))),
        }
    }

    async fn create_sandbox(&mut self, pod: &Pod, attempt: u32) -> Result<Step, Failed> {
        if attempt > 0 {
            let message = "Pod sandbox changed, it will be killed and re-created.";
            self.context
                .pod_event(pod, EventKind::Normal, "SandboxChanged", message);
        }
        let config = sandbox_config(pod, &self.context.options, attempt);
        match limited(MAKE_LIMIT, self.context.runtime.run_sandbox(&config)).await {
            Ok(_) => self.memory.sandbox_trouble = None,
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {error}");
                self.context
                    .pod_event(pod, EventKind::Warning, "FailedCreatePodSandBox", &message);
                let waiting = Waiting {
                    reason: unhindered(pod).to_owned(),
                    message: String::new(),
                };
                let retry_at = self.context.elapsed() + Duration::from_secs(2);
                self.memory.sandbox_trouble = Some(Trouble { waiting, retry_at });
            }
        }
        Ok(Step::Again)
    }

    /// Starts a container, or says what hinders it; nothing if something more urgent came between.
    async fn start_container(
        &mut self,
        pod: &Pod,
        sandbox: &PodSandbox,
        spec: &Container,
        attempt: u32,
        ended: Option<Duration>,
    ) -> Result<(), Option<Trouble>> {
        let context = self.context.clone();
        let mut urgency = self.urgency.clone();
        self.write_volumes(pod, Some(sandbox)).await?;
        let image = tokio::select! {
            biased;
            _ = urgency.changed() => return Err(None),
            pulled = self.pulls.ensure(&context, pod, spec) => pulled?,
        };
        let warn = |message: &str| context.container_event(pod, &spec.name, EventKind::Warning, "Failed", message);
        let trouble = |reason: &str, message: String| {
            warn(&format!("Error: {message}"));
            let waiting = Waiting {
                reason: reason.to_owned(),
                message,
            };
            Some(Trouble {
                waiting,
                retry_at: context.elapsed() + FIRST,
            })
        };
        let sources = self
            .environment(pod, spec)
            .await
            .map_err(|error| trouble("CreateContainerConfigError", error.to_string()))?;
        let config = container_config(
            pod,
            spec,
            &image,
            attempt,
            &sources,
            &context.options,
            &self.around(pod, Some(sandbox)),
        )
        .map_err(|why| trouble("CreateContainerConfigError", why))?;
        if let Some(ended) = ended {
            self.memory.crashes.raise(&spec_hash(spec), ended, context.elapsed());
        }
        let id = limited(MAKE_LIMIT, context.runtime.create_container(&sandbox.id, &config))
            .await
            .map_err(|error| trouble("CreateContainerError", error.to_string()))?;
        let tell = |reason, message: &str| {
            context.container_event(pod, &spec.name, EventKind::Normal, reason, message);
        };
        tell("Created", &format!("Created container: {}", spec.name));
        limited(MAKE_LIMIT, context.runtime.start_container(&id))
            .await
            .map_err(|error| trouble("RunContainerError", error.to_string()))?;
        tell("Started", &format!("Started container {}", spec.name));
        let has_hook = spec.lifecycle.as_ref().is_some_and(|hooks| hooks.post_start.is_some());
        let is_passed_over = attempt > 0 && has_hook && mutant::active("O199");
        if !is_passed_over {
            self.post_start(pod, sandbox, spec, &id).await;
        }
        Ok(())
    }

    /// What a container's environment is made of, as the API has it; while that cannot be reached, as it was when the
    /// container was last started: a node that is cut off keeps its pods running.
    async fn environment(&mut self, pod: &Pod, spec: &Container) -> Result<Sources, Error> {
        let context = self.context.clone();
        let with_services =
            context.options.service_links && pod.spec.as_ref().and_then(|own| own.enable_service_links) != Some(false);
        let read = async {
            let mut sources = read(&context.client, pod, &Needs::of_environment(spec)).await?;
            if with_services {
                let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                sources.services = services(&context.client, namespace).await?;
            }
            Ok(sources)
        };
        let known = self.environments.get(&spec.name).cloned();
        let limit = if known.is_some() { PATIENCE } else { UNANSWERED };
        match within(limit, read).await.unwrap_or(Err(Error::Timeout)) {
            Ok(sources) => {
                self.environments.insert(spec.name.clone(), sources.clone());
                Ok(sources)
            }
            Err(error @ (Error::Transport(_) | Error::Timeout)) => known.ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// Runs the hook after a container's start; a hook that fails kills the container.
    async fn post_start(&mut self, pod: &Pod, sandbox: &PodSandbox, spec: &Container, id: &str) {
        let hook = spec
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.post_start.as_ref());
        let ip = self.around(pod, Some(sandbox)).pod_ip;
        let Some(handler) = hook.and_then(|hook| Handler::of_hook(hook, spec, ip)) else {
            return;
        };
        let context = self.context.clone();
        let mut urgency = self.urgency.clone();
        let hook = async {
            tokio::select! {
                biased;
                _ = urgency.changed() => None,
                done = handler.run(&*context.runtime, &*context.network, id, POST_START_LIMIT) => Some(done),
            }
        };
        // The mutant: what is to be seen of the container is told while its hook runs.
        let done = match mutant::active("O198") {
            true => self.telling(hook).await,
            false => hook.await,
        };
        if let Some(Err(why)) = done {
            let message = format!("PostStartHook failed: {why}");
            context.container_event(pod, &spec.name, EventKind::Warning, "FailedPostStartHook", &message);
            let death = Death {
                message: "FailedPostStartHook".to_owned(),
                grace: None,
            };
            if !mutant::active("O197") {
                self.memory.dead.insert(id.to_owned(), death);
            }
        }
    }

    /// Stops containers: event, hook, signal when their turn has come, and after the grace period the kill. There is one
    /// grace period for all: who waits for others has the less for itself (Kubernetes' documentation, "Sidecar
    /// Containers", "Termination with sidecars").
    pub(crate) async fn stop_containers(
        &mut self,
        pod: Option<&Pod>,
        sandboxes: &[PodSandbox],
        stops: &[Stop],
    ) -> Result<Step, Failed> {
        // What is more urgent comes first.
        if self.urgency.has_changed().unwrap_or(false) {
            return Ok(Step::Again);
        }
        let context = self.context.clone();
        // Whatever comes of the stop: a container that ends without an answer is to be replaced as well.
        self.memory.stops(stops);
        let ip = pod.and_then(|pod| self.around(pod, usable_sandbox(pod, sandboxes)).pod_ip);
        let turns = Turns::of(stops);
        // Containers whose hook is over.
        let hooked = Mutex::new(BTreeSet::new());
        let mut works = Vec::new();
        for stop in stops {
            let first = self.stopping.insert(stop.id.clone());
            let spec = pod.and_then(|pod| spec_of(pod, &stop.name));
            if let (Some(pod), true) = (pod, first) {
                context.container_event(pod, &stop.name, EventKind::Normal, "Killing", &stop.message);
            }
            let hook = spec.filter(|_| first).and_then(|spec| {
                let hook = spec
                    .lifecycle
                    .as_ref()
                    .and_then(|lifecycle| lifecycle.pre_stop.as_ref())?;
                Handler::of_hook(hook, spec, ip)
            });
            let stays = pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none());
            let hook = hook.filter(|_| !(stays && mutant::active("O194")));
            let context = context.clone();
            let (turns, hooked) = (&turns, &hooked);
            works.push(async move {
                let began = Instant::now();
                let hook_is_run = async {
                    if let Some(hook) = &hook
                        && let Err(why) = hook
                            .run(&*context.runtime, &*context.network, &stop.id, stop.grace)
                            .await
                        && let Some(pod) = pod
                    {
                        let message = format!("PreStopHook failed: {why}");
                        context.container_event(pod, &stop.name, EventKind::Warning, "FailedPreStopHook", &message);
                    }
                    hooked.lock().unwrap_or_else(PoisonError::into_inner).insert(&stop.id);
                };
                let stopped = async {
                    // The mutant: as if the grace period began when the hook was over.
                    let began = match hook.is_some() && mutant::active("O196") {
                        true => Instant::now(),
                        false => began,
                    };
                    let left = || stop.grace.saturating_sub(began.elapsed());
                    turns.wait(stop.turn, left()).await;
                    let left = match mutant::active("O117") {
                        true => stop.grace,
                        false => left().max(stop.grace.min(LEAST_GRACE)),
                    };
                    let stopped = limited(left + STOP_MARGIN, context.runtime.stop_container(&stop.id, left)).await;
                    if stopped.as_ref().err().is_none_or(RuntimeError::is_not_found) {
                        turns.ended(stop.turn);
                    }
                    stopped
                };
                if hook.is_some() && mutant::active("O195") {
                    return join(hook_is_run, stopped).await.1;
                }
                hook_is_run.await;
                stopped.await
            });
        }
        let mut urgency = self.urgency.clone();
        let stopping = async {
            tokio::select! {
                biased;
                _ = urgency.changed() => None,
                results = join_all(works) => Some(results),
            }
        };
        let results = self.telling(stopping).await;
        let Some(results) = results else {
            // A hook that was cut off is run again within what the pod has now, as Kubernetes' kubelet does.
            let hooked = hooked.into_inner().unwrap_or_else(PoisonError::into_inner);
            for stop in stops.iter().filter(|stop| !hooked.contains(&stop.id)) {
                self.stopping.remove(&stop.id);
            }
            return Ok(Step::Again);
        };
        match results
            .into_iter()
            .find_map(|result| result.err().filter(|error| !error.is_not_found()))
        {
            Some(error) => Err(Failed(error.to_string())),
            None => Ok(Step::Again),
        }
    }

    /// What the pod's environment and files may refer to beside its spec.
    pub(crate) fn around(&self, pod: &Pod, sandbox: Option<&PodSandbox>) -> Surroundings<'_> {
        let host_ip = self.context.options.node_ip;
        let pod_ip = if host_network(pod) {
            Some(host_ip)
        } else {
            sandbox.and_then(|sandbox| sandbox.ip)
        };
        Surroundings {
            pod_ip,
            host_ip,
            allocatable: &self.context.allocatable,
        }
    }

    async fn write_volumes(&mut self, pod: &Pod, sandbox: Option<&PodSandbox>) -> Result<(), Option<Trouble>> {
        if self.volumes_written {
            return Ok(());
        }
        let context = self.context.clone();
        let trouble = |message: String| {
            context.pod_event(pod, EventKind::Warning, "FailedMount", &message);
            let waiting = Waiting {
                reason: unhindered(pod).to_owned(),
                message: String::new(),
            };
            Some(Trouble {
                waiting,
                retry_at: context.elapsed() + Duration::from_secs(2),
            })
        };
        let failed = |name: &str, why: &str| trouble(format!("MountVolume.SetUp failed for volume \"{name}\" : {why}"));
        let mut needs = Needs::of_volumes(pod);
        let known = self
            .tokens
            .take()
            .filter(|(_, read)| context.elapsed().saturating_sub(*read) < TOKEN_REFRESH);
        if known.is_some() {
            needs.forgo_tokens();
        }
        let mut sources = read(&context.client, pod, &needs)
            .await
            .map_err(|error| trouble(format!("Unable to attach or mount volumes: {}", error.words())))?;
        match known {
            Some((tokens, read)) => {
                sources.tokens = tokens.clone();
                self.tokens = Some((tokens, read));
            }
            None => self.tokens = Some((sources.tokens.clone(), context.elapsed())),
        }
        let all = volumes(pod, &sources, &self.around(pod, sandbox)).map_err(|(name, why)| failed(&name, &why))?;
        for volume in all {
            let identity = crate::view::identity(pod);
            limited(MAKE_LIMIT, context.runtime.write_volume(&identity, &volume))
                .await
                .map_err(|error| failed(&volume.name, &error.to_string()))?;
        }
        self.volumes_written = true;
        self.volumes_read = context.elapsed();
        Ok(())
    }

    /// Writes the pod's volumes again if their content may have changed since; a failure leaves the old content.
    /// Volumes that were never written stay so: containers wait for them. Returns when to come again.
    pub(crate) async fn refresh_volumes(&mut self, pod: &Pod, sandboxes: &[PodSandbox]) -> Option<Duration> {
        let period = Needs::of_volumes(pod).refresh_period()?;
        let age = self.context.elapsed().saturating_sub(self.volumes_read);
        if age < period {
            return Some(period - age);
        }
        let old = std::mem::replace(&mut self.volumes_written, false);
        let failed = self.write_volumes(pod, usable_sandbox(pod, sandboxes)).await.is_err();
        self.volumes_written |= old || failed && mutant::active("O102");
        let never = failed && mutant::active("O106");
        self.volumes_read = if never { Duration::MAX } else { self.context.elapsed() };
        Some(period)
    }

    /// Removes the pod's volumes. They go before its sandboxes: as long as one of these is there, a kubelet that is
    /// restarted in between knows that something is left to do.
    pub(crate) async fn remove_volumes(&mut self, uid: &str) -> Result<(), Failed> {
        if !self.volumes_removed {
            let removed = limited(MAKE_LIMIT, self.context.runtime.remove_volumes(uid)).await;
            removed.map_err(|error| Failed(error.to_string()))?;
            self.volumes_removed = true;
        }
        Ok(())
    }
}

fn spec_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    spec.containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .find(|own| own.name == name)
}

async fn limited<T>(limit: Duration, work: impl Future<Output = Result<T, RuntimeError>>) -> Result<T, RuntimeError> {
    let hung = || RuntimeError::new(crate::runtime::ErrorKind::Timeout, "the runtime did not answer in time");
    let mut work = std::pin::pin!(work);
    match within(limit, work.as_mut()).await {
        Ok(done) => done,
        Err(_) if mutant::active("O22") => work.await,
        Err(_) => Err(hung()),
    }
}
