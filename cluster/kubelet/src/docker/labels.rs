//! The labels on our containers: all that is remembered of them.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use bollard::models::ContainerSummary;

use super::DockerOptions;
use crate::runtime::{ContainerConfig, PodIdentity, SandboxConfig};

pub(super) const CLUSTER: &str = "io.orrery.cluster";
/// Where the cluster keeps its pods' volumes: clusters of one name are told apart by it.
pub(super) const DATA: &str = "io.orrery.data";
pub(super) const NODE: &str = "io.orrery.node";
pub(super) const KIND: &str = "io.orrery.kind";
pub(super) const POD_UID: &str = "io.orrery.pod.uid";
pub(super) const POD_NAMESPACE: &str = "io.orrery.pod.namespace";
pub(super) const POD_NAME: &str = "io.orrery.pod.name";
pub(super) const ATTEMPT: &str = "io.orrery.attempt";
pub(super) const ADDRESS: &str = "io.orrery.address";
pub(super) const GRACE: &str = "io.orrery.grace";
pub(super) const CONTAINER: &str = "io.orrery.container";
pub(super) const SANDBOX: &str = "io.orrery.sandbox";
pub(super) const IMAGE: &str = "io.orrery.image";
pub(super) const HASH: &str = "io.orrery.hash";
/// On sandboxes whose containers see each other's processes.
pub(super) const SHARED: &str = "io.orrery.shared-processes";
pub(super) const MESSAGE_FROM_LOGS: &str = "io.orrery.message-from-logs";

/// On images that stand in for others.
pub(super) const STAND_IN: &str = "io.orrery.stand-in";

const KIND_SANDBOX: &str = "sandbox";
const KIND_CONTAINER: &str = "container";

/// The labels of a container: Docker's own order is of no account.
pub(super) type Labels = HashMap<String, String>;

fn common(options: &DockerOptions, pod: &PodIdentity, kind: &str, attempt: u32) -> Labels {
    let all = [
        (CLUSTER, options.cluster.clone()),
        (DATA, options.data.display().to_string()),
        (NODE, options.node.clone()),
        (KIND, kind.to_owned()),
        (POD_UID, pod.uid.clone()),
        (POD_NAMESPACE, pod.namespace.clone()),
        (POD_NAME, pod.name.clone()),
        (ATTEMPT, attempt.to_string()),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The labels of a sandbox.
pub(super) fn of_sandbox(options: &DockerOptions, config: &SandboxConfig, address: Option<Ipv4Addr>) -> Labels {
    let mut labels = common(options, &config.pod, KIND_SANDBOX, config.attempt);
    labels.insert(GRACE.to_owned(), config.grace.as_secs().to_string());
    if config.share_processes {
        labels.insert(SHARED.to_owned(), "true".to_owned());
    }
    labels.extend(address.map(|address| (ADDRESS.to_owned(), address.to_string())));
    labels
}

/// The labels of a container in the sandbox `sandbox`.
pub(super) fn of_container(options: &DockerOptions, config: &ContainerConfig, sandbox: &str) -> Labels {
    let mut labels = common(options, &config.pod, KIND_CONTAINER, config.attempt);
    let own = [
        (CONTAINER, config.name.clone()),
        (SANDBOX, sandbox.to_owned()),
        (IMAGE, config.image.clone()),
        (HASH, config.spec_hash.clone()),
        (MESSAGE_FROM_LOGS, config.termination_message_from_logs.to_string()),
    ];
    labels.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value)));
    labels
}

/// The name of a container, in the manner that people know from Kubernetes on Docker.
pub(super) fn name(container: &str, pod: &PodIdentity, attempt: u32) -> String {
    format!("k8s_{container}_{}_{}_{}_{attempt}", pod.name, pod.namespace, pod.uid)
}

/// Whether a container is a sandbox.
pub(super) fn is_sandbox(container: &ContainerSummary) -> bool {
    get(container, KIND) == KIND_SANDBOX
}

/// The value of a label; empty if there is none.
pub(super) fn get<'a>(container: &'a ContainerSummary, name: &str) -> &'a str {
    container
        .labels
        .as_ref()
        .and_then(|labels| labels.get(name))
        .map(String::as_str)
        .unwrap_or_default()
}

/// Where the cluster that a container belongs to keeps its pods' volumes.
pub(super) fn data(container: &ContainerSummary) -> Option<PathBuf> {
    let data = get(container, DATA);
    (!data.is_empty()).then(|| PathBuf::from(data))
}

/// The pod that a container belongs to.
pub(super) fn pod(container: &ContainerSummary) -> PodIdentity {
    PodIdentity {
        uid: get(container, POD_UID).to_owned(),
        namespace: get(container, POD_NAMESPACE).to_owned(),
        name: get(container, POD_NAME).to_owned(),
    }
}

/// Which one of its name a container is.
pub(super) fn attempt(container: &ContainerSummary) -> u32 {
    get(container, ATTEMPT).parse().unwrap_or(0)
}

/// The address that a sandbox was given.
pub(super) fn address(container: &ContainerSummary) -> Option<Ipv4Addr> {
    get(container, ADDRESS).parse().ok()
}

/// How long the containers of a sandbox may take to end.
pub(super) fn grace(container: &ContainerSummary) -> Duration {
    Duration::from_secs(get(container, GRACE).parse().unwrap_or(30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_tells_whose_it_is() {
        let options = DockerOptions {
            data: PathBuf::from("/home/jane/.orrery/volumes"),
            ..DockerOptions::default()
        };
        let labels = [
            of_sandbox(&options, &SandboxConfig::default(), None),
            of_container(&options, &ContainerConfig::default(), "sandbox"),
        ];
        for labels in labels {
            let own = ContainerSummary {
                labels: Some(labels),
                ..ContainerSummary::default()
            };
            assert_eq!(data(&own).as_ref(), Some(&options.data));
        }
        assert_eq!(data(&ContainerSummary::default()), None);
    }
}
