//! What a machine's runtime has: images, sandboxes, containers and their addresses. Plain data, no time passes here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use jiff::Timestamp;
use orrery_api::clock;
use orrery_api::random::Random;
use orrery_kubelet::runtime::{
    Container, ContainerConfig, ContainerState, ErrorKind, Exit, ImageInfo, PodSandbox, RuntimeError, SandboxConfig,
    SandboxState, VolumeContent,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::draws::Draws;

/// What a machine's runtime has.
pub struct State {
    network: (u8, u8),
    next_host: u8,
    pub images: BTreeSet<String>,
    pub sandboxes: BTreeMap<String, SimSandbox>,
    pub containers: BTreeMap<String, SimContainer>,
    /// By the pod's uid and the volume's name.
    pub volumes: BTreeMap<String, BTreeMap<String, VolumeContent>>,
    pub followers: Vec<mpsc::UnboundedSender<String>>,
    pub draws: Draws,
    starts: u64,
}

/// A sandbox.
pub struct SimSandbox {
    pub config: SandboxConfig,
    pub ready: bool,
    pub ip: Option<IpAddr>,
    created_at: Timestamp,
}

/// A container.
pub struct SimContainer {
    pub sandbox: String,
    pub config: ContainerConfig,
    pub started_at: Option<Timestamp>,
    /// From when on it answers.
    pub ready_at: Option<Instant>,
    pub exit: Option<Exit>,
    /// The ports it answers on; if empty, all that none beside it names.
    pub listen: Vec<u16>,
    /// How long it takes to end when asked to.
    pub stop: Duration,
    /// The how manieth container of the machine that was started it is.
    pub started: u64,
    /// How many faults keep it from answering.
    pub silences: u32,
    /// Turns true when it ends.
    pub ended: watch::Sender<bool>,
    created_at: Timestamp,
}

impl SimContainer {
    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.running_since().is_some()
    }

    /// Since when it runs, if it does.
    pub fn running_since(&self) -> Option<Timestamp> {
        if self.exit.is_some() { None } else { self.started_at }
    }

    /// How long it takes until it has come so far that it answers; none if it answers, or never will.
    pub fn ready_in(&self) -> Option<Duration> {
        let left = self.ready_at?.saturating_duration_since(Instant::now());
        (self.is_running() && !left.is_zero()).then_some(left)
    }

    /// Whether it runs, has come so far that it answers, and no fault keeps it from that.
    pub fn answers(&self) -> bool {
        self.is_running() && self.silences == 0 && self.ready_at.is_some_and(|at| at <= Instant::now())
    }
}

/// What is known of an image that is present.
pub fn image(reference: &str) -> ImageInfo {
    let hash = orrery_api::random::fnv1a(reference.as_bytes());
    ImageInfo {
        id: format!("sha256:{}", format!("{hash:016x}").repeat(4)),
        size: 10_000_000,
        user: None,
    }
}

impl State {
    /// An empty runtime with addresses of `10.<second>.<third>.0/24`, whose images draw from `random`.
    pub fn new(network: (u8, u8), random: Random) -> Self {
        State {
            network,
            next_host: 2,
            images: BTreeSet::new(),
            sandboxes: BTreeMap::new(),
            containers: BTreeMap::new(),
            volumes: BTreeMap::new(),
            followers: Vec::new(),
            draws: Draws::new(random),
            starts: 0,
        }
    }

    /// Nothing is left: no image, sandbox, container or volume.
    pub fn wipe(&mut self) {
        self.next_host = 2;
        self.images.clear();
        self.sandboxes.clear();
        self.containers.clear();
        self.volumes.clear();
    }

    /// The number of the next container that starts.
    pub fn next_start(&mut self) -> u64 {
        self.starts += 1;
        self.starts
    }

    /// The next free address; addresses go round, so that one is not used again at once.
    fn address(&mut self) -> Option<IpAddr> {
        for _ in 2..=254 {
            let ip = IpAddr::V4(Ipv4Addr::new(10, self.network.0, self.network.1, self.next_host));
            self.next_host = if self.next_host == 254 { 2 } else { self.next_host + 1 };
            if !self.sandboxes.values().any(|sandbox| sandbox.ip == Some(ip)) {
                return Some(ip);
            }
        }
        None
    }

    /// Adds a ready sandbox; its address.
    pub fn add_sandbox(&mut self, id: &str, config: &SandboxConfig) -> Result<Option<IpAddr>, RuntimeError> {
        let taken = self
            .sandboxes
            .values()
            .any(|other| other.config.pod.uid == config.pod.uid && other.config.attempt == config.attempt);
        if taken {
            let message = format!("sandbox {} of {} is there already", config.attempt, config.pod);
            return Err(RuntimeError::new(ErrorKind::AlreadyExists, message));
        }
        let ip = match config.host_network {
            true => None,
            false => Some(
                self.address()
                    .ok_or_else(|| RuntimeError::other("no address is free"))?,
            ),
        };
        let sandbox = SimSandbox {
            config: config.clone(),
            ready: true,
            ip,
            created_at: clock::now(),
        };
        self.sandboxes.insert(id.to_owned(), sandbox);
        Ok(ip)
    }

    /// Removes a sandbox and its containers; which these were.
    pub fn remove_sandbox(&mut self, id: &str) -> Vec<String> {
        self.sandboxes.remove(id);
        let own = |container: &SimContainer| container.sandbox == id;
        let removed = self.containers.iter().filter(|(_, container)| own(container));
        let removed = removed.map(|(id, _)| id.clone()).collect();
        self.containers.retain(|_, container| !own(container));
        removed
    }

    /// Adds a container to a ready sandbox.
    pub fn add_container(&mut self, id: &str, sandbox: &str, config: &ContainerConfig) -> Result<(), RuntimeError> {
        if !self.sandboxes.get(sandbox).is_some_and(|sandbox| sandbox.ready) {
            return Err(RuntimeError::new(
                ErrorKind::NotFound,
                format!("no ready sandbox {sandbox}"),
            ));
        }
        if !self.images.contains(&config.image) {
            let message = format!("the image {:?} is not present", config.image);
            return Err(RuntimeError::new(ErrorKind::ImageNotFound, message));
        }
        let written = self.volumes.get(&config.pod.uid);
        let is_there = |volume: &str| written.is_some_and(|volumes| volumes.contains_key(volume));
        if let Some(mount) = config.mounts.iter().find(|mount| !is_there(&mount.volume)) {
            let message = format!("the volume {:?} of {} is not there", mount.volume, config.pod);
            return Err(RuntimeError::new(ErrorKind::NotFound, message));
        }
        let taken = self.containers.values().any(|other| {
            other.sandbox == sandbox && other.config.name == config.name && other.config.attempt == config.attempt
        });
        if taken {
            let message = format!(
                "container {} {} of {} is there already",
                config.name, config.attempt, config.pod
            );
            return Err(RuntimeError::new(ErrorKind::AlreadyExists, message));
        }
        let container = SimContainer {
            sandbox: sandbox.to_owned(),
            config: config.clone(),
            started_at: None,
            ready_at: None,
            exit: None,
            listen: Vec::new(),
            stop: Duration::ZERO,
            started: 0,
            silences: 0,
            ended: watch::channel(false).0,
            created_at: clock::now(),
        };
        self.containers.insert(id.to_owned(), container);
        Ok(())
    }

    /// Whether a connection to the port of an address that these sandboxes have is answered. The port is that of the
    /// containers that name it. One that nobody names may be that of any whose image names none: then all of these must
    /// have come so far, since none shall answer for its neighbour.
    pub fn is_answered(&self, sandboxes: &BTreeSet<&str>, port: u16) -> bool {
        let running = || {
            let containers = self.containers.values();
            containers.filter(|own| own.is_running() && sandboxes.contains(own.sandbox.as_str()))
        };
        let mut named = running().filter(|own| own.listen.contains(&port)).peekable();
        if named.peek().is_some() {
            return named.any(SimContainer::answers);
        }
        let mut open = running().filter(|own| own.listen.is_empty()).peekable();
        open.peek().is_some() && open.all(SimContainer::answers)
    }

    /// Everything there is, as the kubelet sees it.
    pub fn list(&self) -> Vec<PodSandbox> {
        let mut pods: BTreeMap<&str, PodSandbox> = BTreeMap::new();
        for (id, sandbox) in &self.sandboxes {
            pods.insert(
                id,
                PodSandbox {
                    id: id.clone(),
                    pod: sandbox.config.pod.clone(),
                    attempt: sandbox.config.attempt,
                    state: if sandbox.ready {
                        SandboxState::Ready
                    } else {
                        SandboxState::NotReady
                    },
                    ip: sandbox.ip,
                    host_network: sandbox.config.host_network,
                    grace: sandbox.config.grace,
                    created_at: sandbox.created_at,
                    containers: Vec::new(),
                },
            );
        }
        for (id, container) in &self.containers {
            let Some(pod) = pods.get_mut(container.sandbox.as_str()) else {
                continue;
            };
            let state = match (&container.exit, container.started_at) {
                (Some(exit), _) => ContainerState::Exited(exit.clone()),
                (None, Some(started_at)) => ContainerState::Running { started_at },
                (None, None) => ContainerState::Created,
            };
            pod.containers.push(Container {
                id: id.clone(),
                name: container.config.name.clone(),
                attempt: container.config.attempt,
                image: container.config.image.clone(),
                image_id: image(&container.config.image).id,
                spec_hash: container.config.spec_hash.clone(),
                state,
                created_at: container.created_at,
            });
        }
        pods.into_values().collect()
    }
}
