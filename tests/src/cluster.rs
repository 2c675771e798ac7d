//! The one cluster of this machine, driven as its users do: by the command `orrery`.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::kubectl::Kubectl;
use crate::machine;
use crate::process::{self, Outcome};

/// What `orrery start` may take; it is much more than it needs.
const STARTING: Duration = Duration::from_secs(180);
const KUBECTL: Duration = Duration::from_secs(120);
const BUILDING: Duration = Duration::from_secs(1200);

/// A cluster in a folder of the tests' own. It is deleted when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    binary: PathBuf,
    folder: PathBuf,
    port: u16,
    traces: BTreeSet<String>,
}

impl Cluster {
    /// A cluster in `folder` that `binary` is to make; nothing is started. What an earlier run left in `folder` is
    /// deleted.
    pub fn new(binary: &Path, folder: &Path) -> io::Result<Self> {
        let (binary, folder) = (binary.to_owned(), folder.to_owned());
        let mut cluster = Cluster {
            binary,
            folder,
            port: free_port()?,
            traces: BTreeSet::new(),
        };
        if cluster.home().exists() {
            cluster.orrery("delete");
        }
        if cluster.folder.exists() {
            fs::remove_dir_all(&cluster.folder)?;
        }
        fs::create_dir_all(&cluster.folder)?;
        cluster.traces = machine::traces();
        Ok(cluster)
    }

    /// What is on the machine now and was not before this cluster was thought of.
    ///
    /// # Panics
    ///
    /// When Docker or iptables cannot be asked.
    #[track_caller]
    pub fn traces(&self) -> Vec<String> {
        machine::traces().difference(&self.traces).cloned().collect()
    }

    /// `$ORRERY_HOME`
    pub fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// `$KUBECONFIG`
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The port of its API server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process that runs it, while it does.
    pub fn process(&self) -> Option<u32> {
        fs::read_to_string(self.home().join("orrery.pid"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// Runs `orrery LINE`.
    ///
    /// # Panics
    ///
    /// When it cannot be run at all.
    pub fn orrery(&self, line: &str) -> Outcome {
        self.orrery_with(line, &[])
    }

    /// A command that runs `orrery LINE`.
    pub fn orrery_command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(process::words(line))
            .env("ORRERY_HOME", self.home())
            .env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// Runs `orrery LINE` with more environment.
    ///
    /// # Panics
    ///
    /// When it cannot be run at all.
    pub fn orrery_with(&self, line: &str, environment: &[(&str, &str)]) -> Outcome {
        let mut command = self.orrery_command(line);
        command.envs(environment.iter().copied());
        process::run(command, b"", STARTING).expect("orrery can be run")
    }

    /// Starts the cluster on its port.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[track_caller]
    pub fn start(&self) -> Outcome {
        let outcome = self.orrery(&format!("start --port {}", self.port));
        assert!(
            outcome.is_success(),
            "orrery start: {outcome}\n--- its log:\n{}",
            self.log_end()
        );
        outcome
    }

    /// The end of what the cluster's process said.
    pub fn log_end(&self) -> String {
        let log = fs::read_to_string(self.home().join("orrery.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// A command that runs `kubectl` against this cluster.
    pub fn kubectl_command(&self, kubectl: &Kubectl) -> Command {
        let mut command = Command::new(&kubectl.path);
        // kubectl caches discovery in its home: each version has its own.
        command.env("HOME", self.folder.join(format!("kubectl-{}", kubectl.version)));
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// Runs `kubectl LINE` with `input` and more environment.
    ///
    /// # Panics
    ///
    /// When it cannot be run at all.
    pub fn kubectl(&self, kubectl: &Kubectl, line: &str, input: &str, environment: &[(&str, &str)]) -> Outcome {
        let mut command = self.kubectl_command(kubectl);
        command.args(process::words(line)).envs(environment.iter().copied());
        process::run(command, input.as_bytes(), KUBECTL).expect("kubectl can be run")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.home().exists() {
            let outcome = self.orrery("delete");
            if !outcome.is_success() {
                eprintln!("orrery delete: {outcome}");
                // What is still there is found and deleted by the next run.
                return;
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A port that nobody has now: not 6443, so that a test never meets somebody's cluster, and none of those that the
/// system hands out to connections, so that it is still free after a stop.
fn free_port() -> io::Result<u16> {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (16443..16543)
        .find(is_free)
        .ok_or_else(|| io::Error::other("the ports 16443 to 16542 are all taken"))
}

/// The command `orrery`: what `ORRERY_BINARY` names, else what lies beside these tests, freshly built.
pub fn binary() -> Result<PathBuf, String> {
    if let Some(named) = env::var_os("ORRERY_BINARY") {
        return Ok(PathBuf::from(named));
    }
    // target/PROFILE/deps/real-HASH
    let own = env::current_exe().map_err(|error| error.to_string())?;
    let profile = own.ancestors().nth(2).ok_or("the tests are in no target folder")?;
    let target = profile.parent().ok_or("the tests are in no target folder")?;
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .args([
            "build",
            "--quiet",
            "--package",
            "orrery",
            "--bin",
            "orrery",
            "--target-dir",
        ])
        .arg(target);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let outcome = process::run(build, b"", BUILDING).map_err(|error| format!("cannot run cargo: {error}"))?;
    if !outcome.is_success() {
        return Err(format!("cannot build orrery: {outcome}"));
    }
    Ok(profile.join("orrery"))
}
