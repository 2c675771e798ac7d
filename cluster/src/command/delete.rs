//! `orrery delete`: nothing of the cluster is left.

use std::fs;
use std::process::ExitCode;

use orrery_kubelet::docker::{DockerError, DockerRuntime};
use orrery_proxy::PacketFilter as _;

use super::{executor, stop};
use crate::daemon::{Failure, docker_options, fail, packet_filter};
use crate::kubeconfig;
use crate::lock;
use crate::place::{self, Place};
use crate::progress::{Progress, say};

/// Deletes the cluster.
pub fn delete(place: &Place) -> Result<ExitCode, Failure> {
    if !place.folder().exists() {
        say("There is no cluster; nothing to delete.");
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
    let stuck = executor()?.block_on(async {
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
        Ok::<_, Failure>(stuck)
    })?;
    progress.done(match stuck {
        None => "its containers, network and rules are removed",
        Some(_) => "its containers and rules are removed",
    });
    if let Some(path) = kubeconfig::path_of_environment() {
        kubeconfig::remove(&path, place::NAME).map_err(|error| Failure(error.to_string()))?;
    }
    fs::remove_dir_all(place.folder())
        .map_err(|error| Failure(format!("cannot remove {}: {error}", place.folder().display())))?;
    progress.done("its files and its kubeconfig context are removed");
    match stuck {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => Err(Failure(error.to_string())),
    }
}
