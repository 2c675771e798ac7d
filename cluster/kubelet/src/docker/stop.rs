//! Stops everything of a cluster: the containers, each in its pod's own time, and then the sandboxes.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerSummary;
use bollard::query_parameters::StopContainerOptions;
use futures_util::future::join_all;

use super::error::{Context as _, DockerError, settled};
use super::labels;

/// How often it is looked whether more has come up, and the pause before each look.
const LOOKS: u32 = 2;
const PAUSE: Duration = Duration::from_millis(500);

/// Stops everything of `cluster`. A container gets what its pod grants it to end, but no more than `most`.
pub(super) async fn everything(docker: &Docker, cluster: &str, most: Duration) -> Result<(), DockerError> {
    let running = super::everything(docker, cluster, false).await?;
    let mut outcome = stop(docker, &running, most).await;
    for _ in 0..LOOKS {
        // Docker may still be at work on what a kubelet asked for before it ended: what comes late is stopped, too.
        tokio::time::sleep(PAUSE).await;
        let late = super::everything(docker, cluster, false).await?;
        if late.is_empty() {
            return Ok(());
        }
        outcome = stop(docker, &late, most).await;
    }
    outcome?;
    match super::everything(docker, cluster, false).await?.len() {
        0 => Ok(()),
        left => Err(DockerError::StillRunning(left)),
    }
}

/// Stops what runs. A container that does not stop keeps no sandbox.
async fn stop(docker: &Docker, running: &[ContainerSummary], most: Duration) -> Result<(), DockerError> {
    let stops = graces(running, most).into_iter().map(|(id, grace)| async move {
        let options = StopContainerOptions {
            t: Some(i32::try_from(grace.as_secs()).unwrap_or(i32::MAX)),
            ..StopContainerOptions::default()
        };
        settled(docker.stop_container(id, Some(options)).await)
    });
    let stopped: Result<(), _> = join_all(stops).await.into_iter().collect();
    let sandboxes = running.iter().filter(|own| labels::is_sandbox(own));
    let kills = sandboxes
        .filter_map(|own| own.id.as_deref())
        .map(|id| async move { settled(docker.kill_container(id, None).await) });
    let killed: Result<(), _> = join_all(kills).await.into_iter().collect();
    stopped.context("cannot stop a container")?;
    killed.context("cannot stop a sandbox")
}

/// The containers among those that run, each with what it gets to end.
fn graces(running: &[ContainerSummary], most: Duration) -> Vec<(&str, Duration)> {
    let (sandboxes, containers): (Vec<_>, Vec<_>) = running.iter().partition(|own| labels::is_sandbox(own));
    let granted: BTreeMap<&str, Duration> = sandboxes
        .into_iter()
        .filter_map(|own| Some((own.id.as_deref()?, labels::grace(own))))
        .collect();
    containers
        .into_iter()
        .filter_map(|own| {
            // What a pod grants stands on its sandbox, which may have ended before.
            let grace = granted.get(labels::get(own, labels::SANDBOX)).copied();
            Some((own.id.as_deref()?, grace.map_or(most, |grace| grace.min(most))))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(id: &str, labels: &[(&str, &str)]) -> ContainerSummary {
        let label = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        ContainerSummary {
            id: Some(id.to_owned()),
            labels: Some(labels.iter().map(label).collect()),
            ..ContainerSummary::default()
        }
    }

    #[test]
    fn a_container_gets_what_its_pod_grants_and_no_more_than_there_is() {
        let sandbox = |id, grace| summary(id, &[(labels::KIND, "sandbox"), (labels::GRACE, grace)]);
        let container = |id, sandbox| summary(id, &[(labels::KIND, "container"), (labels::SANDBOX, sandbox)]);
        let running = [
            container("web", "short"),
            sandbox("short", "1"),
            sandbox("long", "60"),
            container("database", "long"),
            container("orphan", "ended"),
        ];
        let seconds = Duration::from_secs;
        assert_eq!(
            graces(&running, seconds(10)),
            [("web", seconds(1)), ("database", seconds(10)), ("orphan", seconds(10))]
        );
    }
}
