//! The seam between the kubelet and what runs containers: [`ContainerRuntime`] and [`PodNetwork`], with plain data.
//!
//! The words are those of Kubernetes' Container Runtime Interface: a pod is a *sandbox* (its network and address) and
//! *containers* in it; a sandbox or container made anew for the same pod gets the next *attempt*. For real, Docker
//! stands behind it (`docker`), simulated a scripted runtime. No decision is made here.
//!
//! Rules that every implementation keeps:
//!
//! * A call may be repeated: what is already stopped or removed is success, never an error.
//! * A call that fails or is cut off may have happened; the kubelet looks again with [`ContainerRuntime::list_pods`].
//! * Nothing is restarted by the runtime itself: an exited container stays, with its code, until it is removed.
//! * A sandbox's address is its own for as long as it is [`SandboxState::Ready`].

mod network;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use jiff::Timestamp;

pub use network::{CONNECT_LIMIT, HttpGet, PodNetwork, ServingStatus};

/// Runs sandboxes, containers and images of one node.
#[async_trait]
pub trait ContainerRuntime: Send + Sync {
    /// Who answers; an error means that the node cannot run pods now.
    async fn version(&self) -> Result<RuntimeVersion, RuntimeError>;

    /// Everything this runtime has for this node, running or not, in no certain order.
    ///
    /// A container whose sandbox is gone is listed under a sandbox that is [`SandboxState::NotReady`].
    async fn list_pods(&self) -> Result<Vec<PodSandbox>, RuntimeError>;

    /// Tells of pods whose sandbox or containers changed. The stream may lose, repeat and delay events, and may end;
    /// then it is asked for again.
    async fn events(&self) -> Result<EventStream, RuntimeError>;

    /// The image that `reference` names, if it is present.
    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, RuntimeError>;

    /// Pulls `reference` from its registry, for as long as that makes progress. Fails with
    /// [`ErrorKind::ImageNotFound`] when there is none, and with [`ErrorKind::Timeout`] when it stands still.
    async fn pull_image(&self, reference: &str) -> Result<ImageInfo, RuntimeError>;

    /// Makes and starts a sandbox: when it returns, the address is set up (but for a pod in the host's network).
    async fn run_sandbox(&self, config: &SandboxConfig) -> Result<Sandbox, RuntimeError>;

    /// Kills the sandbox and whatever still runs in it, and gives its address back.
    async fn stop_sandbox(&self, sandbox_id: &str) -> Result<(), RuntimeError>;

    /// Removes a sandbox with its containers, stopping them first if need be.
    async fn remove_sandbox(&self, sandbox_id: &str) -> Result<(), RuntimeError>;

    /// Makes a container in a ready sandbox, without starting it; returns its id.
    async fn create_container(&self, sandbox_id: &str, config: &ContainerConfig) -> Result<String, RuntimeError>;

    /// Starts a created container.
    async fn start_container(&self, container_id: &str) -> Result<(), RuntimeError>;

    /// Asks the container to end (SIGTERM), and kills it after `grace`; returns when it has ended. A grace of zero
    /// kills at once.
    async fn stop_container(&self, container_id: &str, grace: Duration) -> Result<(), RuntimeError>;

    /// Removes a container, with its log.
    async fn remove_container(&self, container_id: &str) -> Result<(), RuntimeError>;

    /// Runs `command` in a running container to its end; kills it after `timeout`, and fails with
    /// [`ErrorKind::Timeout`]. [`ErrorKind::Unavailable`] says nothing about the container.
    async fn exec(
        &self,
        container_id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutcome, RuntimeError>;

    /// The container's output from its beginning, as `options` cut it. The stream ends with the log, or with the
    /// container when following.
    async fn logs(&self, container_id: &str, options: &LogOptions) -> Result<LogStream, RuntimeError>;

    /// Makes a pod's volume, or replaces the files of one made before. Volumes outlive sandboxes.
    async fn write_volume(&self, pod: &PodIdentity, volume: &Volume) -> Result<(), RuntimeError>;

    /// Removes the volumes of a pod, but not what lies on the host.
    async fn remove_volumes(&self, pod_uid: &str) -> Result<(), RuntimeError>;

    /// What the machine is short of now; nothing where nobody measures.
    async fn pressure(&self) -> Result<Pressure, RuntimeError> {
        Ok(Pressure::default())
    }

    /// What the running containers use now; empty where nobody measures.
    async fn stats(&self) -> Result<Vec<ContainerStats>, RuntimeError> {
        Ok(Vec::new())
    }
}

/// A stream of uids of pods that changed.
pub type EventStream = Pin<Box<dyn Stream<Item = String> + Send>>;

/// A stream of log lines.
pub type LogStream = Pin<Box<dyn Stream<Item = Result<LogLine, RuntimeError>> + Send>>;

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// No sandbox or container of that id.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The registry has no such image.
    ImageNotFound,
    /// The reference of an image cannot be read.
    InvalidImageName,
    /// The runtime does not answer.
    Unavailable,
    /// It took too long; it may still happen.
    Timeout,
    /// Anything else.
    Other,
}

/// A failure of the runtime or of the pod network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuntimeError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// What happened, in words for events and statuses.
    pub message: String,
}

impl RuntimeError {
    /// A failure of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        RuntimeError {
            kind,
            message: message.into(),
        }
    }

    /// A failure of no certain kind.
    pub fn other(message: impl Into<String>) -> Self {
        RuntimeError::new(ErrorKind::Other, message)
    }

    /// Whether the thing asked for is not there.
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }
}

/// The runtime's name and version, as `kubectl get nodes -o wide` shows them: `docker` and `20.10.24`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeVersion {
    /// For example `docker`.
    pub name: String,
    /// For example `20.10.24`.
    pub version: String,
}

impl fmt::Display for RuntimeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.name, self.version)
    }
}

/// What a machine is short of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pressure {
    /// Memory.
    pub memory: bool,
    /// Room on its disk.
    pub disk: bool,
}

/// Which pod a sandbox, container or volume is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct PodIdentity {
    /// The pod's uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for PodIdentity {
    /// As Kubernetes writes it in messages: `name_namespace(uid)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}({})", self.name, self.namespace, self.uid)
    }
}

/// A sandbox as the runtime sees it, with its containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSandbox {
    /// The sandbox's id.
    pub id: String,
    /// Its pod.
    pub pod: PodIdentity,
    /// Which sandbox of the pod this is, from 0.
    pub attempt: u32,
    /// Whether containers can run in it.
    pub state: SandboxState,
    /// Its address; none in the host's network, and none when it has been stopped.
    pub ip: Option<IpAddr>,
    /// Whether it uses the host's network.
    pub host_network: bool,
    /// How long the pod's containers may take to end, if nobody else knows: the pod may be gone from the API.
    pub grace: Duration,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its containers, in no certain order.
    pub containers: Vec<Container>,
}

/// Whether containers can run in a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxState {
    /// It is up.
    Ready,
    /// It has been stopped, or has died.
    NotReady,
}

/// A container as the runtime sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The container's id, without the runtime's name.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// How often a container of that name had run in the pod before: the restart count.
    pub attempt: u32,
    /// The image as the pod names it.
    pub image: String,
    /// The id of the image it runs.
    pub image_id: String,
    /// [`ContainerConfig::spec_hash`] it was made with.
    pub spec_hash: String,
    /// What it does now.
    pub state: ContainerState,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, but not started.
    Created,
    /// It runs.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// It has ended, or could not be started.
    Exited(Exit),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; 128 + n after signal n.
    pub code: i32,
    /// `OOMKilled`, `ContainerCannotRun`; empty for the usual `Completed` and `Error`.
    pub reason: String,
    /// What it left as its last words, if anything.
    pub message: String,
    /// When it had been started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// An image that is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Its id, as container statuses show it.
    pub id: String,
    /// Its size in bytes.
    pub size: u64,
    /// The user it runs as if the pod does not say; none for root.
    pub user: Option<String>,
}

/// What a sandbox shall be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SandboxConfig {
    /// Its pod.
    pub pod: PodIdentity,
    /// Which sandbox of the pod this is, from 0.
    pub attempt: u32,
    /// The host name that the pod's containers see.
    pub hostname: String,
    /// Use the host's network.
    pub host_network: bool,
    /// See the host's processes.
    pub host_pid: bool,
    /// Use the host's shared memory, semaphores and message queues.
    pub host_ipc: bool,
    /// The containers of the pod see each other's processes.
    pub share_processes: bool,
    /// Given back by [`PodSandbox::grace`].
    pub grace: Duration,
    /// Name servers, search domains and options; all empty: as the host has them.
    pub dns: DnsConfig,
    /// Lines for the pod's hosts file.
    pub host_aliases: Vec<(IpAddr, Vec<String>)>,
    /// Kernel settings of the sandbox.
    pub sysctls: BTreeMap<String, String>,
}

/// How names are resolved in a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DnsConfig {
    /// Addresses of name servers.
    pub servers: Vec<String>,
    /// Domains to search.
    pub searches: Vec<String>,
    /// Options of the resolver, like `ndots:5`.
    pub options: Vec<String>,
}

/// A sandbox that was just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Its id.
    pub id: String,
    /// Its address; none in the host's network.
    pub ip: Option<IpAddr>,
}

/// What a container shall be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerConfig {
    /// Its pod.
    pub pod: PodIdentity,
    /// Its name in the pod.
    pub name: String,
    /// Its restart count.
    pub attempt: u32,
    /// The image, as the pod names it.
    pub image: String,
    /// Replaces the image's entrypoint, unless empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments, unless empty.
    pub args: Vec<String>,
    /// The working folder; the image's if none.
    pub working_dir: Option<String>,
    /// The environment, in the order of the pod's spec.
    pub env: Vec<(String, String)>,
    /// Which volumes it sees, and where.
    pub mounts: Vec<Mount>,
    /// How much it may use.
    pub resources: Resources,
    /// As whom and with which powers it runs.
    pub security: Security,
    /// Keep its standard input open.
    pub stdin: bool,
    /// Give it a terminal.
    pub tty: bool,
    /// The file whose content becomes [`Exit::message`].
    pub termination_message_path: String,
    /// Take the end of the log for [`Exit::message`] when that file is empty and the exit code is not 0.
    pub termination_message_from_logs: bool,
    /// A hash of the part of the pod's spec that the container was made from; given back by [`Container::spec_hash`].
    pub spec_hash: String,
}

/// Limits of a container. Nothing set means no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources {
    /// The weight against other containers when processors are short (1024 for one processor).
    pub cpu_shares: Option<u64>,
    /// Thousandths of a processor that it may use.
    pub cpu_limit_millis: Option<u64>,
    /// Bytes of memory that it may use.
    pub memory_limit_bytes: Option<u64>,
    /// How eagerly the kernel kills it when memory is short, from -1000 to 1000.
    pub oom_score_adj: i32,
}

/// As whom and with which powers a container runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// The user's number or name; the image's user and group if none.
    pub user: Option<String>,
    /// The group's number, where a user is given; the user's own if none.
    pub group: Option<i64>,
    /// Further groups.
    pub supplemental_groups: Vec<i64>,
    /// All powers of the host.
    pub privileged: bool,
    /// The root file system cannot be written.
    pub read_only_root: bool,
    /// Forbid gaining powers by executing files.
    pub no_new_privileges: bool,
    /// Capabilities beyond the usual, without `CAP_`.
    pub add_capabilities: Vec<String>,
    /// Capabilities to take away, without `CAP_`.
    pub drop_capabilities: Vec<String>,
    /// Which system calls it may make.
    pub seccomp: SecurityProfile,
    /// What AppArmor lets it do, where the node has that.
    pub app_armor: SecurityProfile,
}

/// A profile by which the kernel confines a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SecurityProfile {
    /// The runtime's own.
    #[default]
    RuntimeDefault,
    /// None.
    Unconfined,
    /// One that the node has, by its name.
    Localhost(String),
}

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name in the pod.
    pub name: String,
    /// What is in it.
    pub content: VolumeContent,
    /// The group that its files belong to, and whose members may use them; a path of the host stays as it is.
    pub fs_group: Option<u32>,
}

/// What is in a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeContent {
    /// Empty at first; lives as long as the pod.
    EmptyDir {
        /// In memory rather than on disk.
        memory: bool,
        /// The most bytes it may hold, where that can be enforced.
        size_limit: Option<u64>,
    },
    /// A path of the host.
    HostPath {
        /// The path.
        path: String,
        /// What must or shall be there.
        kind: HostPathKind,
    },
    /// Files with given content, by path within the volume; replaced as a whole.
    Files(BTreeMap<String, VolumeFile>),
}

/// What a host path must be, after `hostPath.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostPathKind {
    /// No check.
    #[default]
    Any,
    /// A folder, made if absent.
    DirectoryOrCreate,
    /// A folder that is there.
    Directory,
    /// A file, made if absent.
    FileOrCreate,
    /// A file that is there.
    File,
    /// A socket that is there.
    Socket,
    /// A character device that is there.
    CharDevice,
    /// A block device that is there.
    BlockDevice,
}

/// A file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeFile {
    /// Its content.
    pub content: Bytes,
    /// Its permission bits, for example `0o644`.
    pub mode: u32,
}

/// A volume as a container sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// The volume's name in the pod.
    pub volume: String,
    /// Where it stands in the container.
    pub container_path: String,
    /// A path within the volume, instead of its root.
    pub sub_path: Option<String>,
    /// It cannot be written.
    pub read_only: bool,
    /// Whether what is mounted within it later is seen on the other side.
    pub propagation: MountPropagation,
}

/// Whether mounts made later within a volume are seen beyond where they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MountPropagation {
    /// No.
    #[default]
    None,
    /// The container sees the host's.
    HostToContainer,
    /// The container sees the host's, and the host the container's.
    Bidirectional,
}

/// What a command run in a container said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutcome {
    /// Its exit code.
    pub exit_code: i32,
    /// Its output and error output, as they came; the runtime may cut it after 10 KiB.
    pub output: Bytes,
}

/// Which part of a log is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogOptions {
    /// Go on as the container writes.
    pub follow: bool,
    /// Only so many lines before the end of what is there.
    pub tail: Option<usize>,
    /// Only lines from then on.
    pub since: Option<Timestamp>,
}

/// A line that a container wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub time: Timestamp,
    /// Where.
    pub stream: LogSource,
    /// The line as written, with its newline if it had one.
    pub bytes: Bytes,
}

/// Which stream a container wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a container uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerStats {
    /// Its pod.
    pub pod: PodIdentity,
    /// Its name in the pod.
    pub container: String,
    /// Processor time since it started, in nanoseconds.
    pub cpu_nanoseconds: u64,
    /// Memory that cannot be reclaimed at once, in bytes.
    pub memory_working_set_bytes: u64,
}
