//! The trait, call by call.

mod exec;
mod pull;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, ContainerSummary, ImageInspect};
use bollard::query_parameters::{
    CreateContainerOptions, EventsOptions, LogsOptions, RemoveContainerOptions, StopContainerOptions,
};
use futures_util::StreamExt;
use futures_util::future::join_all;

use super::body::{self, Bind, Namespaces};
use super::error::{code, io, settled, to_runtime, words};
use super::logs::Lines;
use super::{DockerRuntime, labels, list, network};
use crate::runtime::{
    ContainerConfig, ContainerRuntime, ContainerState, ErrorKind, EventStream, ExecOutcome, ImageInfo, LogOptions,
    LogStream, PodIdentity, PodSandbox, RuntimeError, RuntimeVersion, Sandbox, SandboxConfig, Volume,
};

/// How many addresses to try when others took them.
const ADDRESS_TRIES: usize = 8;
/// The part of a log that may become a container's last words.
const MESSAGE_LINES: &str = "80";
const MESSAGE_LIMIT: usize = 2048;

#[async_trait]
impl ContainerRuntime for DockerRuntime {
    async fn version(&self) -> Result<RuntimeVersion, RuntimeError> {
        let version = self
            .docker
            .version()
            .await
            .map_err(to_runtime)?
            .version
            .unwrap_or_default();
        // Distributions append their own revision.
        let version = version.split('+').next().unwrap_or_default().to_owned();
        Ok(RuntimeVersion {
            name: "docker".to_owned(),
            version,
        })
    }

    async fn list_pods(&self) -> Result<Vec<PodSandbox>, RuntimeError> {
        let summaries = self.own_containers(true).await.map_err(to_runtime)?;
        let details = self.details(&summaries).await?;
        Ok(list::pods(&summaries, &details))
    }

    async fn events(&self) -> Result<EventStream, RuntimeError> {
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            (
                "label".to_owned(),
                vec![
                    format!("{}={}", labels::CLUSTER, self.options.cluster),
                    format!("{}={}", labels::NODE, self.options.node),
                ],
            ),
        ]);
        // The connection is made when the stream is first asked; what happens until then is told then.
        let since = Some(orrery_api::clock::now().as_second().to_string());
        let options = EventsOptions {
            since,
            filters: Some(filters),
            ..EventsOptions::default()
        };
        let events = self.docker.events(Some(options));
        Ok(Box::pin(
            events
                .take_while(|event| std::future::ready(event.is_ok()))
                .filter_map(|event| {
                    let uid = event.ok().and_then(|event| {
                        let action = event.action.unwrap_or_default();
                        // Probes run commands all the time; they change nothing.
                        let quiet = action.starts_with("exec_") || action == "top" || action == "attach";
                        let attributes = event.actor.filter(|_| !quiet)?.attributes?;
                        attributes.get(labels::POD_UID).cloned()
                    });
                    std::future::ready(uid)
                }),
        ))
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        match self.docker.inspect_image(reference).await {
            Ok(image) => Ok(Some(image_info(image))),
            Err(error) if code(&error) == Some(404) => Ok(None),
            Err(error) => Err(to_runtime(error)),
        }
    }

    async fn pull_image(&self, reference: &str) -> Result<ImageInfo, RuntimeError> {
        pull::pull(&self.docker, reference).await?;
        self.image(reference).await?.ok_or_else(|| {
            RuntimeError::new(
                ErrorKind::ImageNotFound,
                format!("{reference} is not there after its pull"),
            )
        })
    }

    async fn run_sandbox(&self, config: &SandboxConfig) -> Result<Sandbox, RuntimeError> {
        if config.host_network {
            let id = self
                .make(
                    &config.pod,
                    "POD",
                    config.attempt,
                    body::sandbox(&self.options, config, None, self.least_oom_score),
                )
                .await?;
            self.docker.start_container(&id, None).await.map_err(to_runtime)?;
            return Ok(Sandbox { id, ip: None });
        }
        let mut refused = BTreeSet::new();
        for _ in 0..ADDRESS_TRIES {
            let address = self.next_address(&refused).await?;
            let body = body::sandbox(&self.options, config, Some(address), self.least_oom_score);
            let id = self.make(&config.pod, "POD", config.attempt, body).await?;
            match self.docker.start_container(&id, None).await {
                Ok(()) => {
                    network::allow_hairpin(&self.options.bridge);
                    return Ok(Sandbox {
                        id,
                        ip: Some(IpAddr::V4(address)),
                    });
                }
                Err(error) => {
                    self.remove(&id).await?;
                    if !words(&error).contains("Address already in use") {
                        return Err(to_runtime(error));
                    }
                    refused.insert(address);
                }
            }
        }
        Err(RuntimeError::other("others take the addresses of the pods' network"))
    }

    async fn stop_sandbox(&self, sandbox_id: &str) -> Result<(), RuntimeError> {
        for container in self.in_sandbox(sandbox_id).await? {
            settled(self.docker.kill_container(&container, None).await).map_err(to_runtime)?;
        }
        settled(self.docker.kill_container(sandbox_id, None).await).map_err(to_runtime)
    }

    async fn remove_sandbox(&self, sandbox_id: &str) -> Result<(), RuntimeError> {
        for container in self.in_sandbox(sandbox_id).await? {
            self.remove(&container).await?;
        }
        self.remove(sandbox_id).await
    }

    async fn create_container(&self, sandbox_id: &str, config: &ContainerConfig) -> Result<String, RuntimeError> {
        let sandbox = self
            .docker
            .inspect_container(sandbox_id, None)
            .await
            .map_err(to_runtime)?;
        let uid = &config.pod.uid;
        let mut binds = Vec::new();
        for mount in &config.mounts {
            let source = self
                .volumes
                .source(uid, &mount.volume, mount.sub_path.as_deref())
                .map_err(io)?;
            binds.push(Bind {
                source,
                target: mount.container_path.clone(),
                read_only: mount.read_only,
                propagation: mount.propagation,
            });
        }
        if !config.termination_message_path.is_empty() {
            let source = self
                .volumes
                .make_message_file(uid, &config.name, config.attempt)
                .map_err(io)?;
            binds.push(Bind {
                source,
                target: config.termination_message_path.clone(),
                ..Bind::default()
            });
        }
        let namespaces = Namespaces::of(sandbox_id, &sandbox);
        let body = body::container(&self.options, config, &namespaces, binds, self.least_oom_score);
        self.make(&config.pod, &config.name, config.attempt, body).await
    }

    async fn start_container(&self, container_id: &str) -> Result<(), RuntimeError> {
        settled_but_there(self.docker.start_container(container_id, None).await)
    }

    async fn stop_container(&self, container_id: &str, grace: Duration) -> Result<(), RuntimeError> {
        if grace.is_zero() {
            return settled(self.docker.kill_container(container_id, None).await).map_err(to_runtime);
        }
        let seconds = i32::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
        let options = StopContainerOptions {
            t: Some(seconds),
            ..StopContainerOptions::default()
        };
        settled(self.docker.stop_container(container_id, Some(options)).await).map_err(to_runtime)
    }

    async fn remove_container(&self, container_id: &str) -> Result<(), RuntimeError> {
        self.remove(container_id).await
    }

    async fn exec(
        &self,
        container_id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutcome, RuntimeError> {
        exec::exec(&self.docker, container_id, command, timeout).await
    }

    async fn logs(&self, container_id: &str, options: &LogOptions) -> Result<LogStream, RuntimeError> {
        // Asking for a container that is not there would only fail in the stream.
        self.docker
            .inspect_container(container_id, None)
            .await
            .map_err(to_runtime)?;
        let since = options.since;
        let frames = self.docker.logs(
            container_id,
            Some(LogsOptions {
                follow: options.follow,
                stdout: true,
                stderr: true,
                timestamps: true,
                since: since
                    .and_then(|since| i32::try_from(since.as_second()).ok())
                    .unwrap_or(0),
                tail: options.tail.map_or_else(|| "all".to_owned(), |tail| tail.to_string()),
                ..LogsOptions::default()
            }),
        );
        let mut lines = Lines::default();
        let all = frames
            .map(Some)
            .chain(futures_util::stream::iter([None]))
            .flat_map(move |frame| {
                let found: Vec<Result<_, RuntimeError>> = match frame {
                    Some(Ok(frame)) => lines.take(frame).into_iter().map(Ok).collect(),
                    Some(Err(error)) => vec![Err(to_runtime(error))],
                    None => lines.finish().into_iter().map(Ok).collect(),
                };
                futures_util::stream::iter(found)
            });
        // Docker cuts at whole seconds.
        Ok(Box::pin(all.filter(move |line| {
            let wanted = line
                .as_ref()
                .map_or(true, |line| since.is_none_or(|since| line.time >= since));
            std::future::ready(wanted)
        })))
    }

    async fn write_volume(&self, pod: &PodIdentity, volume: &Volume) -> Result<(), RuntimeError> {
        self.volumes.write(pod, volume).map_err(io)
    }

    async fn remove_volumes(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        self.volumes.remove(pod_uid).map_err(io)
    }
}

/// Started already is as good as started; a container that is gone is not.
fn settled_but_there(result: Result<(), Error>) -> Result<(), RuntimeError> {
    match result {
        Err(error) if code(&error) == Some(304) => Ok(()),
        other => other.map_err(to_runtime),
    }
}

fn image_info(image: ImageInspect) -> ImageInfo {
    ImageInfo {
        id: image.id.unwrap_or_default(),
        size: image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        user: image
            .config
            .and_then(|config| config.user)
            .filter(|user| !user.is_empty()),
    }
}

impl DockerRuntime {
    /// Makes a container. One of the same name is left over from a call that was cut off: it goes first.
    async fn make(
        &self,
        pod: &PodIdentity,
        container: &str,
        attempt: u32,
        body: ContainerCreateBody,
    ) -> Result<String, RuntimeError> {
        let name = labels::name(container, pod, attempt);
        let options = CreateContainerOptions {
            name: Some(name.clone()),
            ..CreateContainerOptions::default()
        };
        match self.docker.create_container(Some(options.clone()), body.clone()).await {
            Ok(made) => Ok(made.id),
            Err(error) if code(&error) == Some(409) => {
                self.remove(&name).await?;
                let made = self
                    .docker
                    .create_container(Some(options), body)
                    .await
                    .map_err(to_runtime)?;
                Ok(made.id)
            }
            Err(error) => Err(to_runtime(error)),
        }
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        let options = RemoveContainerOptions {
            force: true,
            v: true,
            link: false,
        };
        settled(self.docker.remove_container(id, Some(options)).await).map_err(to_runtime)
    }

    /// The ids of the containers in a sandbox.
    async fn in_sandbox(&self, sandbox_id: &str) -> Result<Vec<String>, RuntimeError> {
        let containers = self.own_containers(true).await.map_err(to_runtime)?;
        let inside = containers
            .into_iter()
            .filter(|own| labels::get(own, labels::SANDBOX) == sandbox_id);
        Ok(inside.filter_map(|own| own.id).collect())
    }

    async fn next_address(&self, refused: &BTreeSet<Ipv4Addr>) -> Result<Ipv4Addr, RuntimeError> {
        let containers = self.own_containers(false).await.map_err(to_runtime)?;
        let mut used: BTreeSet<Ipv4Addr> = containers.iter().filter_map(labels::address).collect();
        used.extend(refused);
        self.lock()
            .pool
            .next(&used)
            .ok_or_else(|| RuntimeError::other("the pods' network has no free address"))
    }

    /// What inspecting tells of containers; only those are asked about that may have changed since.
    async fn details(&self, summaries: &[ContainerSummary]) -> Result<BTreeMap<String, list::Details>, RuntimeError> {
        let mut details = BTreeMap::new();
        let mut unknown = Vec::new();
        {
            let state = self.lock();
            for own in summaries.iter().filter(|own| !labels::is_sandbox(own)) {
                let id = own.id.clone().unwrap_or_default();
                // Only what has ended is not asked about again: what runs may have been restarted by hand in between,
                // and what was only made is called the same when it could not be started.
                match state.inspected.get(&id) {
                    Some((word, known)) if *word == list::state_word(own) && has_ended(known) => {
                        details.insert(id, known.clone());
                    }
                    _ => unknown.push(own),
                }
            }
        }
        let inspections = unknown.iter().map(|own| self.inspect(own));
        for (own, inspected) in unknown.iter().zip(join_all(inspections).await) {
            let id = own.id.clone().unwrap_or_default();
            if let Some(found) = inspected? {
                details.insert(id.clone(), found.clone());
                self.lock().inspected.insert(id, (list::state_word(own), found));
            }
        }
        self.lock().inspected.retain(|id, _| details.contains_key(id));
        Ok(details)
    }

    async fn inspect(&self, own: &ContainerSummary) -> Result<Option<list::Details>, RuntimeError> {
        let id = own.id.as_deref().unwrap_or_default();
        let inspected = match self.docker.inspect_container(id, None).await {
            Ok(inspected) => inspected,
            Err(error) if code(&error) == Some(404) => return Ok(None),
            Err(error) => return Err(to_runtime(error)),
        };
        let mut details = list::details(&inspected);
        if let ContainerState::Exited(exit) = &mut details.state {
            let pod = labels::pod(own);
            let name = labels::get(own, labels::CONTAINER);
            let message = self.volumes.message(&pod.uid, name, labels::attempt(own));
            if !message.is_empty() {
                exit.message = message;
            } else if exit.code != 0
                // Of one that could not be started Docker says why, and it has no log.
                && exit.message.is_empty()
                && labels::get(own, labels::MESSAGE_FROM_LOGS) == "true"
            {
                exit.message = self.last_words(id).await;
            }
        }
        Ok(Some(details))
    }

    /// The end of a container's log.
    async fn last_words(&self, id: &str) -> String {
        let options = LogsOptions {
            stdout: true,
            stderr: true,
            tail: MESSAGE_LINES.to_owned(),
            ..LogsOptions::default()
        };
        let mut all = Vec::new();
        let mut frames = std::pin::pin!(self.docker.logs(id, Some(options)));
        while let Some(Ok(frame)) = frames.next().await {
            all.extend_from_slice(&frame.into_bytes());
        }
        let from = all.len().saturating_sub(MESSAGE_LIMIT);
        String::from_utf8_lossy(&all[from..]).into_owned()
    }
}

fn has_ended(details: &list::Details) -> bool {
    matches!(details.state, ContainerState::Exited(_))
}
