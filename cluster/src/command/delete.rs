//! `orrery delete`: nothing of the cluster is left.

use std::path::Path;
use std::process::ExitCode;

use orrery_kubelet::docker::{DockerError, DockerRuntime};
use orrery_proxy::PacketFilter as _;

use super::{executor, stop, tell_of_other};
use crate::daemon::{Failure, docker_options, fail, packet_filter};
use crate::kubeconfig;
use crate::lock;
use crate::place::{self, Place};
use crate::progress::{Progress, say};
use crate::room::{self, Room};

/// Deletes the cluster.
pub fn delete(place: &Place) -> Result<ExitCode, Failure> {
    if !place.is_used() {
        say("There is no cluster; nothing to delete.");
        tell_of_other(place);
        return Ok(ExitCode::SUCCESS);
    }
    let progress = Progress::default();
    // Held until all is gone, so that nobody starts it meanwhile.
    let _held = loop {
        if let Some(process) = stop::running(place)? {
            stop::end(place, process)?;
            progress.done("the cluster is stopped");
        }
        if let Some(held) = lock::take(&place.lock()).map_err(fail("the lock"))? {
            break held;
        }
    };
    // What Docker does not let go must not keep us from removing the rest; it is said in the end.
    let stuck = executor()?.block_on(clear_machine(place, &progress))?;
    let user = kubeconfig::path_of_environment();
    if let Some(path) = user.filter(|path| !speaks_of_other(path, place)) {
        kubeconfig::remove(&path, place::NAME).map_err(|error| Failure(error.to_string()))?;
    }
    place.remove().map_err(|error| Failure(error.to_string()))?;
    progress.done("its files and its kubeconfig context are removed");
    tell_of_other(place);
    match stuck {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => Err(Failure(error.to_string())),
    }
}

/// Removes what the cluster has on the machine, unless another one is there. What Docker does not let go is returned.
async fn clear_machine(place: &Place, progress: &Progress) -> Result<Option<DockerError>, Failure> {
    let _held = match room::take(place).await? {
        Room::Ours(held) => held,
        Room::Others(other) => {
            let folder = other.folder().display();
            progress.done(&format!("the machine is left as it is: the cluster in {folder} has it"));
            return Ok(None);
        }
    };
    let stuck = match DockerRuntime::remove_everything(&docker_options(place)).await {
        Err(error @ DockerError::StuckNetwork(_)) => Some(error),
        outcome => outcome.map(|()| None).map_err(|error| Failure(error.to_string()))?,
    };
    DockerRuntime::remove_stand_ins()
        .await
        .map_err(|error| Failure(error.to_string()))?;
    packet_filter()
        .clear()
        .await
        .map_err(|error| Failure(error.to_string()))?;
    progress.done(match stuck {
        None => "its containers, network and rules are removed",
        Some(_) => "its containers and rules are removed",
    });
    Ok(stuck)
}

/// Whether the kubeconfig at `path` speaks of another cluster by our name: one that was started later. What speaks of
/// ours was copied from our own.
fn speaks_of_other(path: &Path, place: &Place) -> bool {
    let found = kubeconfig::access(path, place::NAME);
    let own = kubeconfig::access(&place.kubeconfig(), place::NAME);
    found.is_ok_and(|found| !own.is_ok_and(|own| own.authority == found.authority))
}
