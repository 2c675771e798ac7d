//! `orrery start`: the background process is started, watched until it is ready, and left alone.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, ExitCode, Stdio};

use orrery_kubelet::docker::DockerRuntime;

use super::executor;
use crate::daemon::{Failure, packet_filter};
use crate::kubeconfig;
use crate::lock;
use crate::place::{self, Place};
use crate::progress::say;
use crate::room;

/// The line by which the background process says that it is ready.
pub const READY: &str = "ready";
/// The beginning of the line by which it says why it cannot be.
pub const FAILED: &str = "failed: ";

/// Starts the cluster.
pub fn start(place: &Place, port: u16) -> Result<ExitCode, Failure> {
    if lock::holder(&place.lock())
        .map_err(|error| Failure(error.to_string()))?
        .is_some()
    {
        merge_kubeconfig(place)?;
        say("The cluster is already running; `orrery status` says how it is.");
        return Ok(ExitCode::SUCCESS);
    }
    check(place, port)?;
    let is_new = !place.exists();
    place.make().map_err(|error| Failure(error.to_string()))?;
    say(if is_new {
        "Starting a new cluster …"
    } else {
        "Starting the cluster …"
    });
    let outcome = launch(place, port).and_then(|()| merge_kubeconfig(place));
    match outcome {
        Ok(path) => {
            say(&format!(
                "The cluster is ready. kubectl uses it now: context {:?} in {path}.",
                place::NAME
            ));
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => Err(failure),
    }
}

/// Whether everything is there that a cluster needs, before anything is made.
fn check(place: &Place, port: u16) -> Result<(), Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
        Failure(format!(
            "port {port} cannot be used ({error}); stop what uses it, or choose another: `orrery start --port N`"
        ))
    })?;
    executor()?.block_on(async {
        DockerRuntime::check()
            .await
            .map_err(|error| Failure(error.to_string()))?;
        // It is let go of at once: the background process takes it for itself.
        room::take(place).await?.ours().map(drop)?;
        packet_filter()
            .check()
            .await
            .map_err(|error| Failure(error.to_string()))
    })
}

/// Starts the background process and repeats what it says until it is ready or has failed.
fn launch(place: &Place, port: u16) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure(format!("cannot start the background process: {error}"));
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(place.log())
        .map_err(failed)?;
    let program = std::env::current_exe().map_err(failed)?;
    let mut child = Command::new(program)
        .args(["serve", "--port", &port.to_string()])
        .env("ORRERY_HOME", place.folder())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(failed)?;
    let said = child.stdout.take().map(BufReader::new);
    for line in said.into_iter().flat_map(BufReader::lines) {
        let line = line.map_err(failed)?;
        if line == READY {
            return Ok(());
        }
        match line.strip_prefix(FAILED) {
            Some(why) => {
                let _ = child.wait();
                return Err(Failure(why.to_owned()));
            }
            None => say(&line),
        }
    }
    Err(died(place, &mut child))
}

fn died(place: &Place, child: &mut Child) -> Failure {
    let status = child
        .wait()
        .map_or_else(|error| error.to_string(), |status| status.to_string());
    Failure(format!(
        "the background process ended ({status}); {} says more",
        place.log().display()
    ))
}

/// Puts the cluster's context into the user's kubeconfig; returns the file's path for people.
fn merge_kubeconfig(place: &Place) -> Result<String, Failure> {
    let path = kubeconfig::path_of_environment()
        .ok_or_else(|| Failure("there is no kubeconfig to write: set HOME or KUBECONFIG".to_owned()))?;
    kubeconfig::copy(&place.kubeconfig(), &path, place::NAME).map_err(|error| Failure(error.to_string()))?;
    Ok(path.display().to_string())
}
