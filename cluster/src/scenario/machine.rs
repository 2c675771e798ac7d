//! The cluster that a scenario is played on, and this machine as far as a fault may touch it. The cluster is driven by
//! the command `orrery`, as its users do.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use orrery_client::Client;
use orrery_kubelet::docker::DockerRuntime;
use orrery_kubelet::runtime::{Container, ContainerRuntime, ContainerState, PodSandbox};
use orrery_proxy::PacketFilter as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::daemon::{Failure, docker_options, fail, packet_filter};
use crate::kubeconfig;
use crate::lock;
use crate::place::{self, Place, TemporaryFolder};
use crate::progress::say;
use crate::room;

/// What a command may take.
const COMMAND: Duration = Duration::from_secs(120);
/// So long a killed process may still be there.
const DEATH: Duration = Duration::from_secs(10);
/// What a container gets that is asked to end.
const GRACE: Duration = Duration::from_secs(30);

/// See the module. Its folder is deleted with it, unless it is kept.
pub struct Machine {
    place: Place,
    port: u16,
    program: PathBuf,
    docker: Arc<DockerRuntime>,
    folder: TemporaryFolder,
    _barred: Barred,
}

impl Machine {
    /// A place for a cluster; nothing is started. `user` is where the user's own cluster lives, which can neither be
    /// there nor begin before this is dropped.
    pub async fn new(user: &Place) -> Result<Self, Failure> {
        let barred = Barred::take(user)?;
        let folder = TemporaryFolder::new("orrery-scenario").map_err(fail("the cluster's folder"))?;
        let place = Place::new(folder.path());
        place.make().map_err(fail("the cluster's folder"))?;
        room::take(&place).await?.ours().map(drop)?;
        let docker = DockerRuntime::connect(docker_options(&place))
            .await
            .map_err(fail("Docker"))?;
        let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(fail("no port is free"))?;
        let port = any.local_addr().map_err(fail("no port is free"))?.port();
        Ok(Machine {
            place,
            port,
            program: std::env::current_exe().map_err(fail("cannot find this program"))?,
            docker,
            folder,
            _barred: barred,
        })
    }

    /// Docker, as the cluster's kubelet uses it.
    pub fn docker(&self) -> &Arc<DockerRuntime> {
        &self.docker
    }

    /// The certificate of the cluster's authority.
    pub fn authority(&self) -> String {
        std::fs::read_to_string(self.place.authority_certificate()).unwrap_or_default()
    }

    /// The administrator's way to the API server.
    pub fn client(&self) -> Result<Client, Failure> {
        let access = kubeconfig::access(&self.place.kubeconfig(), place::NAME).map_err(fail("the kubeconfig"))?;
        access.client("kubectl").map_err(fail("the certificates"))
    }

    async fn orrery(&self, arguments: &[&str]) -> Result<(), Failure> {
        let what = format!("orrery {}", arguments.join(" "));
        let child = Command::new(&self.program)
            .args(arguments)
            .env("ORRERY_HOME", self.place.folder())
            .env("KUBECONFIG", self.place.kubeconfig())
            .stdin(Stdio::null())
            // What is typed into the terminal (control-C) is for the scenario, which then tidies up.
            .process_group(0)
            .kill_on_drop(true)
            .output();
        let output = timeout(COMMAND, child)
            .await
            .map_err(|_| Failure(format!("{what} takes too long")))?;
        let output = output.map_err(fail(&what))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr)
            .trim()
            .trim_start_matches("orrery: ")
            .to_owned();
        Err(Failure(format!("{what}: {said}")))
    }

    /// Starts the cluster, and waits until its node is Ready.
    pub async fn start(&self) -> Result<(), Failure> {
        self.orrery(&["start", "--port", &self.port.to_string()]).await
    }

    fn process(&self) -> Result<Option<Pid>, Failure> {
        lock::holder(&self.place.lock()).map_err(fail("cannot read the lock"))
    }

    /// Kills the cluster's process and waits until it is gone; a failure if it was gone before.
    pub async fn kill(&self) -> Result<(), Failure> {
        self.signal(Signal::KILL)?;
        let gone = async {
            while self.process()?.is_some() {
                sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        };
        timeout(DEATH, gone)
            .await
            .map_err(|_| Failure("the killed process does not go".to_owned()))?
    }

    /// Signals the cluster's process; a failure if it is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let process = self.process()?.ok_or_else(|| {
            let said = self.log().lines().next_back().unwrap_or_default().to_owned();
            Failure(format!(
                "the cluster's process has ended by itself; the last that it said: {said}"
            ))
        })?;
        kill_process(process, signal).map_err(fail("cannot signal the cluster's process"))
    }

    /// What the cluster's process has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.place.log()).unwrap_or_default()
    }

    /// Ends all that a power loss ends: the process, all containers, and the packet rules.
    pub async fn lose_power(&self) -> Result<(), Failure> {
        self.kill().await?;
        for pod in self.pods().await? {
            self.docker.stop_sandbox(&pod.id).await.map_err(fail("Docker"))?;
        }
        self.flush_rules().await
    }

    /// Removes what a machine loses that is set up anew, beyond what a power loss costs it: containers and volumes.
    pub async fn wipe(&self) -> Result<(), Failure> {
        self.lose_power().await?;
        for pod in self.pods().await? {
            self.docker.remove_sandbox(&pod.id).await.map_err(fail("Docker"))?;
            self.docker.remove_volumes(&pod.pod.uid).await.map_err(fail("Docker"))?;
        }
        Ok(())
    }

    /// Removes the cluster's packet rules.
    pub async fn flush_rules(&self) -> Result<(), Failure> {
        packet_filter().clear().await.map_err(fail("iptables"))
    }

    /// What Docker has of pods.
    pub async fn pods(&self) -> Result<Vec<PodSandbox>, Failure> {
        self.docker.list_pods().await.map_err(fail("Docker"))
    }

    /// Kills a container, or asks it to end.
    pub async fn end_container(&self, container: &Container, gently: bool) -> Result<(), Failure> {
        let grace = if gently { GRACE } else { Duration::ZERO };
        let ended = self.docker.stop_container(&container.id, grace).await;
        ended.map_err(fail("Docker"))
    }

    /// Whether the cluster's process runs, as it should; a failure if it has ended by itself.
    pub fn is_alive(&self) -> Result<(), Failure> {
        self.signal(Signal::CONT)
    }

    /// Deletes the cluster and all that it made. If that fails its folder stays, and the error says where.
    pub async fn delete(&self) -> Result<(), Failure> {
        // One that stands still could not end; one that is gone need not.
        let _ = self.signal(Signal::CONT);
        let Err(failure) = self.orrery(&["delete"]).await else {
            return Ok(());
        };
        if !self.place.exists() {
            // Docker may keep a network that nothing uses: all else is gone, and the next cluster takes it.
            say(&failure.to_string());
            return Ok(());
        }
        self.folder.keep();
        Err(Failure(format!("{failure}; what is left: {}", self.reached())))
    }

    /// Leaves the cluster as it is. Says how it is reached, and how it goes.
    pub fn keep(&self) -> String {
        self.folder.keep();
        self.reached()
    }

    fn reached(&self) -> String {
        let (folder, kubeconfig) = (self.place.folder(), self.place.kubeconfig());
        format!(
            "export ORRERY_HOME={} KUBECONFIG={}; `orrery delete` removes it",
            folder.display(),
            kubeconfig.display()
        )
    }
}

/// The containers of `pods` that run, the one that runs longest first, with the uids of their pods.
pub fn running(pods: &[PodSandbox]) -> Vec<(&str, &Container)> {
    let containers = pods
        .iter()
        .flat_map(|pod| pod.containers.iter().map(|own| (pod.pod.uid.as_str(), own)));
    let mut running: Vec<_> = containers
        .filter_map(|(uid, own)| match own.state {
            ContainerState::Running { started_at } => Some((started_at, uid, own)),
            _ => None,
        })
        .collect();
    running.sort_by(|one, other| (one.0, &one.2.id).cmp(&(other.0, &other.2.id)));
    running.into_iter().map(|(_, uid, own)| (uid, own)).collect()
}

/// The user's own cluster, held off: as if it ran.
struct Barred {
    _held: lock::Held,
    /// Folder and lock, if they were made for this.
    made: Option<(PathBuf, PathBuf)>,
}

impl Barred {
    fn take(user: &Place) -> Result<Self, Failure> {
        if user.exists() {
            return Err(Failure(format!(
                "there is a cluster in {}, and a machine can have but one: `orrery delete` makes room",
                user.folder().display()
            )));
        }
        let is_new = !user.folder().exists();
        std::fs::create_dir_all(user.folder()).map_err(fail("the folder of clusters"))?;
        let held = lock::take(&user.lock()).map_err(fail("the lock"))?;
        let held = held.ok_or_else(|| Failure("another scenario is played on this machine".to_owned()))?;
        Ok(Barred {
            _held: held,
            made: is_new.then(|| (user.lock(), user.folder().to_owned())),
        })
    }
}

impl Drop for Barred {
    fn drop(&mut self) {
        if let Some((lock, folder)) = &self.made {
            // Whoever has put something there meanwhile keeps it.
            let _ = std::fs::remove_file(lock);
            let _ = std::fs::remove_dir(folder);
        }
    }
}
