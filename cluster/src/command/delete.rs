//! `orrery delete`: nothing of the cluster is left.

use std::fs;
use std::process::ExitCode;

use orrery_kubelet::docker::DockerRuntime;
use orrery_proxy::PacketFilter as _;

use super::{executor, stop};
use crate::daemon::{Failure, docker_options, packet_filter};
use crate::kubeconfig;
use crate::place::{self, Place};
use crate::progress::{Progress, say};

/// Deletes the cluster.
pub fn delete(place: &Place) -> Result<ExitCode, Failure> {
    if !place.folder().exists() {
        say("There is no cluster; nothing to delete.");
        return Ok(ExitCode::SUCCESS);
    }
    let progress = Progress::default();
    if let Some(process) = stop::running(place)? {
        stop::end(place, process)?;
        progress.done("the cluster is stopped");
    }
    executor()?.block_on(async {
        DockerRuntime::remove_everything(&docker_options(place))
            .await
            .map_err(|error| Failure(error.to_string()))?;
        packet_filter()
            .clear()
            .await
            .map_err(|error| Failure(error.to_string()))
    })?;
    progress.done("its containers, network and rules are removed");
    if let Some(path) = kubeconfig::path_of_environment() {
        kubeconfig::remove(&path, place::NAME).map_err(|error| Failure(error.to_string()))?;
    }
    fs::remove_dir_all(place.folder())
        .map_err(|error| Failure(format!("cannot remove {}: {error}", place.folder().display())))?;
    progress.done("its files and its kubeconfig context are removed");
    Ok(ExitCode::SUCCESS)
}
