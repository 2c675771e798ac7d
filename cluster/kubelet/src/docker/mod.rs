//! The real world's container runtime: Docker, spoken to over its socket (API 1.41).
//!
//! A pod is a pause container on a bridge network of ours plus containers in its network and IPC namespaces. There is
//! no database: labels on the containers say all that has to be known, so that any kubelet can take over what another
//! left. Addresses are chosen here, round robin, because Docker would give a freed one away again at once.
//!
//! Not here: pulling with credentials, user namespaces, storage limits.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the real half of ContainerRuntime and PodNetwork"
)]

mod body;
mod error;
mod labels;
mod list;
mod logs;
mod net;
mod network;
mod pause;
mod runtime;
mod stop;
mod tar;
#[cfg(test)]
mod tests;
mod tls;
mod volumes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::models::ContainerSummary;
use bollard::query_parameters::{ListContainersOptions, ListImagesOptions, RemoveContainerOptions, RemoveImageOptions};
use bollard::{ClientVersion, Docker};

pub use error::DockerError;
pub use net::HostNetwork;
pub use pause::PAUSE_IMAGE;

use self::error::Context as _;
use self::network::{Pool, Subnet};
use self::volumes::VolumeStore;

/// The oldest API that has all we use; Debian 12's Docker speaks it.
const API: ClientVersion = ClientVersion {
    major_version: 1,
    minor_version: 41,
};
/// Docker's socket, unless `DOCKER_HOST` names another.
const SOCKET: &str = "/var/run/docker.sock";
/// Requests may take as long as a container's grace period; shorter limits are the caller's.
const REQUEST_SECONDS: u64 = 4 * 3600;
/// How often the removal of everything is tried, and the pause in between.
const REMOVAL_TRIES: u32 = 10;
const REMOVAL_PAUSE: Duration = Duration::from_millis(500);
/// How long Docker may take to answer at all.
const PING_LIMIT: Duration = Duration::from_secs(5);

/// How to use Docker.
#[derive(Debug, Clone)]
pub struct DockerOptions {
    /// The cluster's name: things of other clusters are never touched.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// The name of the network of the node's pods.
    pub network: String,
    /// The name of that network's bridge on the host, at most 15 letters.
    pub bridge: String,
    /// The addresses of that network: an IPv4 network like `10.244.0.0/24`. Its first address is the bridge's.
    pub subnet: String,
    /// The image that holds a pod's namespaces; made here when it is absent.
    pub pause_image: String,
    /// Where the pods' volumes are kept.
    pub data: PathBuf,
}

impl Default for DockerOptions {
    fn default() -> Self {
        DockerOptions {
            cluster: "orrery".to_owned(),
            node: "orrery".to_owned(),
            network: "orrery".to_owned(),
            bridge: "orrery0".to_owned(),
            subnet: "10.244.0.0/24".to_owned(),
            pause_image: PAUSE_IMAGE.to_owned(),
            data: PathBuf::from("/var/lib/orrery/pods"),
        }
    }
}

/// Runs pods on Docker.
pub struct DockerRuntime {
    docker: Docker,
    options: DockerOptions,
    volumes: VolumeStore,
    least_oom_score: i64,
    state: Mutex<State>,
}

/// What would have to be asked again and again.
struct State {
    pool: Pool,
    /// What inspecting containers that have ended told, by id, with the state it was told in.
    inspected: BTreeMap<String, (String, list::Details)>,
}

impl DockerRuntime {
    /// Whether Docker answers; the error says the way out.
    pub async fn check() -> Result<(), DockerError> {
        reach().await.map(drop)
    }

    /// Connects to Docker and makes what pods need: the network and the pause image.
    pub async fn connect(options: DockerOptions) -> Result<Arc<DockerRuntime>, DockerError> {
        let subnet: Subnet = options.subnet.parse().map_err(DockerError::Options)?;
        let docker = reach().await?;
        let runtime = DockerRuntime {
            volumes: VolumeStore::new(&options),
            least_oom_score: body::least_oom_score(),
            state: Mutex::new(State {
                pool: Pool::new(subnet),
                inspected: BTreeMap::new(),
            }),
            docker,
            options,
        };
        pause::ensure(&runtime.docker, &runtime.options.pause_image).await?;
        network::ensure(&runtime.docker, &runtime.options, subnet).await?;
        runtime.learn_addresses().await?;
        Ok(Arc::new(runtime))
    }

    /// Where the clusters that are called `cluster` and have containers here keep the pods' volumes: there may be more
    /// than one that is called so, each with its own place.
    pub async fn data(cluster: &str) -> Result<BTreeSet<PathBuf>, DockerError> {
        let docker = reach().await?;
        let all = everything(&docker, cluster, true).await?;
        Ok(all.iter().filter_map(labels::data).collect())
    }

    /// Stops everything of a cluster, on all its nodes; what is stopped stays. A container gets what its pod grants it
    /// to end, but no more than `grace`.
    pub async fn stop_everything(cluster: &str, grace: Duration) -> Result<(), DockerError> {
        let docker = reach().await?;
        stop::everything(&docker, cluster, grace).await
    }

    /// Removes everything of a cluster: containers, the network, volumes in `options.data`. A network that Docker does
    /// not let go is an error after all else is removed.
    pub async fn remove_everything(options: &DockerOptions) -> Result<(), DockerError> {
        let docker = reach().await?;
        // Docker may still be at work on what a process asked for before it ended: what comes late is removed, too.
        let mut outcome = remove_containers_and_network(&docker, options).await;
        for _ in 1..REMOVAL_TRIES {
            if outcome.is_ok() {
                break;
            }
            tokio::time::sleep(REMOVAL_PAUSE).await;
            outcome = remove_containers_and_network(&docker, options).await;
        }
        if matches!(outcome, Ok(()) | Err(DockerError::StuckNetwork(_))) {
            VolumeStore::new(options).remove_all().map_err(DockerError::Volumes)?;
        }
        outcome
    }

    /// Removes an image; absent is as good. For tests, which bring their own images.
    pub async fn remove_image(&self, reference: &str) -> Result<(), DockerError> {
        let options = RemoveImageOptions {
            force: true,
            ..RemoveImageOptions::default()
        };
        error::settled(self.docker.remove_image(reference, Some(options), None).await.map(drop))
            .context("cannot remove an image")
    }

    /// Makes the image `reference` of files: path, content, permission bits. For tests and for what comes with the
    /// product.
    pub async fn import_image(&self, reference: &str, files: &[(&str, &[u8], u32)]) -> Result<(), DockerError> {
        pause::import(&self.docker, reference, tar::archive(files), Vec::new()).await
    }

    /// Makes the image `reference` of files, as [`import_image`](Self::import_image) does, to stand in for one that
    /// nobody has. `entrypoint` is what is started.
    pub async fn make_stand_in(
        &self,
        reference: &str,
        files: &[(&str, &[u8], u32)],
        entrypoint: &[String],
    ) -> Result<(), DockerError> {
        let changes = vec![
            format!("ENTRYPOINT {}", serde_json::json!(entrypoint)),
            format!("LABEL {}=true", labels::STAND_IN),
        ];
        pause::import(&self.docker, reference, tar::archive(files), changes).await
    }

    /// Whether the image `reference` stands in for one that nobody has; none if there is no such image.
    pub async fn is_stand_in(&self, reference: &str) -> Result<Option<bool>, DockerError> {
        let image = match self.docker.inspect_image(reference).await {
            Ok(image) => image,
            Err(error) if error::code(&error) == Some(404) => return Ok(None),
            Err(error) => return Err(error).context("cannot look at an image"),
        };
        let labels = image.config.and_then(|config| config.labels).unwrap_or_default();
        Ok(Some(labels.contains_key(labels::STAND_IN)))
    }

    /// Removes all images that stand in for others.
    pub async fn remove_stand_ins() -> Result<(), DockerError> {
        let docker = reach().await?;
        let options = ListImagesOptions {
            filters: Some(HashMap::from([("label".to_owned(), vec![labels::STAND_IN.to_owned()])])),
            ..ListImagesOptions::default()
        };
        let images = docker.list_images(Some(options)).await.context("cannot list images")?;
        for image in images {
            let options = RemoveImageOptions {
                force: true,
                ..RemoveImageOptions::default()
            };
            let removed = docker.remove_image(&image.id, Some(options), None).await;
            error::settled(removed.map(drop)).context("cannot remove an image")?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The containers of this node, sandboxes too.
    async fn own_containers(&self, all: bool) -> Result<Vec<ContainerSummary>, bollard::errors::Error> {
        let filters = vec![
            format!("{}={}", labels::CLUSTER, self.options.cluster),
            format!("{}={}", labels::NODE, self.options.node),
        ];
        list_containers(&self.docker, filters, all).await
    }

    /// Goes on with the address after the last one given out, so that a restart reuses none at once.
    async fn learn_addresses(&self) -> Result<(), DockerError> {
        let containers = self.own_containers(true).await.context("cannot list containers")?;
        let newest = containers
            .iter()
            .filter(|own| labels::is_sandbox(own))
            .max_by_key(|own| own.created);
        if let Some(last) = newest.and_then(labels::address) {
            self.lock().pool.go_on_after(last);
        }
        Ok(())
    }
}

async fn remove_containers_and_network(docker: &Docker, options: &DockerOptions) -> Result<(), DockerError> {
    let removal = RemoveContainerOptions {
        force: true,
        v: true,
        link: false,
    };
    for id in everything(docker, &options.cluster, true)
        .await?
        .iter()
        .filter_map(|own| own.id.as_deref())
    {
        let removed = docker.remove_container(id, Some(removal.clone())).await;
        error::settled(removed).context("cannot remove a container")?;
    }
    network::remove(docker, options).await
}

/// Connects to Docker, or says in plain words why not.
async fn reach() -> Result<Docker, DockerError> {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let docker = Docker::connect_with_unix(socket(&host)?, REQUEST_SECONDS, &API)
        .map_err(|error| DockerError::NotRunning(error.to_string()))?;
    match tokio::time::timeout(PING_LIMIT, docker.ping()).await {
        Ok(Ok(_)) => Ok(docker),
        Ok(Err(error)) => Err(DockerError::NotRunning(error.to_string())),
        Err(_) => Err(DockerError::NotRunning("no answer".to_owned())),
    }
}

/// The socket that a `DOCKER_HOST` names. Pods need the network and the files of this machine, so it is a local one.
fn socket(host: &str) -> Result<&str, DockerError> {
    match host.strip_prefix("unix://") {
        Some(path) => Ok(path),
        None if host.is_empty() => Ok(SOCKET),
        None => Err(DockerError::Options(format!(
            "DOCKER_HOST is {host:?}; pods need a Docker on this machine: unix:///PATH, or nothing"
        ))),
    }
}

async fn everything(docker: &Docker, cluster: &str, all: bool) -> Result<Vec<ContainerSummary>, DockerError> {
    let filters = vec![format!("{}={cluster}", labels::CLUSTER)];
    list_containers(docker, filters, all)
        .await
        .context("cannot list containers")
}

async fn list_containers(
    docker: &Docker,
    labels: Vec<String>,
    all: bool,
) -> Result<Vec<ContainerSummary>, bollard::errors::Error> {
    let filters = HashMap::from([("label".to_owned(), labels)]);
    let options = ListContainersOptions {
        all,
        filters: Some(filters),
        ..ListContainersOptions::default()
    };
    docker.list_containers(Some(options)).await
}
