//! `orrery stop`: everything stops, nothing is lost.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use orrery_kubelet::docker::DockerRuntime;
use orrery_proxy::PacketFilter as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;

use super::executor;
use crate::daemon::{Failure, STOP_GRACE, STOP_LIMIT, packet_filter};
use crate::lock;
use crate::place::{self, Place};
use crate::progress::{Progress, say};
use crate::room::{self, Room};

/// The background process has so long to stop in order.
const LIMIT: Duration = Duration::from_secs(60);

/// Stops the cluster.
pub fn stop(place: &Place) -> Result<ExitCode, Failure> {
    let progress = Progress::default();
    match running(place)? {
        Some(process) => {
            say("Stopping the cluster …");
            end(place, process)?;
        }
        None if !place.exists() => {
            say("There is no cluster; `orrery start` makes one.");
            return Ok(ExitCode::SUCCESS);
        }
        None => executor()?.block_on(stop_rest(place))?,
    }
    progress.done("the cluster is stopped; `orrery start` brings everything back");
    Ok(ExitCode::SUCCESS)
}

/// Stops what a process that was killed leaves behind: containers and rules.
async fn stop_rest(place: &Place) -> Result<(), Failure> {
    let Room::Ours(_held) = room::take(place).await? else {
        // Another cluster could not be on this machine if there were anything of this one.
        return Ok(());
    };
    let stopped = timeout(STOP_LIMIT, DockerRuntime::stop_everything(place::NAME, STOP_GRACE))
        .await
        .map_err(|_| Failure("stopping took too long".to_owned()))?;
    stopped.map_err(|error| Failure(error.to_string()))?;
    packet_filter()
        .clear()
        .await
        .map_err(|error| Failure(error.to_string()))
}

/// The process that runs the cluster.
pub fn running(place: &Place) -> Result<Option<Pid>, Failure> {
    lock::holder(&place.lock()).map_err(|error| Failure(format!("cannot read {}: {error}", place.lock().display())))
}

/// Ends the background process in order.
pub fn end(place: &Place, process: Pid) -> Result<(), Failure> {
    kill_process(process, Signal::TERM)
        .map_err(|error| Failure(format!("cannot signal the background process: {error}")))?;
    let until = Instant::now() + LIMIT;
    while running(place)? == Some(process) {
        if Instant::now() >= until {
            let pid = process.as_raw_nonzero();
            return Err(Failure(format!(
                "the background process {pid} does not stop; {} says more",
                place.log().display()
            )));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
