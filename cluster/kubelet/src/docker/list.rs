//! From Docker's containers to pods. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum,
};
use jiff::Timestamp;

use super::labels;
use crate::runtime::{Container, ContainerState, Exit, PodSandbox, SandboxState};

/// What only inspecting a container tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Details {
    pub(super) state: ContainerState,
}

/// Reads one of Docker's times.
fn time(text: Option<&str>) -> Timestamp {
    text.and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// What inspecting a container told.
pub(super) fn details(inspected: &ContainerInspectResponse) -> Details {
    let Some(state) = &inspected.state else {
        return Details {
            state: ContainerState::Created,
        };
    };
    let code = state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
    let error = state.error.clone().unwrap_or_default();
    let started_at = time(state.started_at.as_deref());
    let state = match state.status {
        Some(ContainerStateStatusEnum::CREATED) if code == 0 && error.is_empty() => ContainerState::Created,
        Some(ContainerStateStatusEnum::CREATED) => {
            // It never ran: Docker could not start it.
            let at = time(inspected.created.as_deref());
            let reason = "ContainerCannotRun".to_owned();
            ContainerState::Exited(Exit {
                code,
                reason,
                message: error,
                started_at: at,
                finished_at: at,
            })
        }
        Some(
            ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::PAUSED | ContainerStateStatusEnum::RESTARTING,
        ) => ContainerState::Running { started_at },
        _ => {
            let finished_at = time(state.finished_at.as_deref());
            let reason = if state.oom_killed == Some(true) {
                "OOMKilled"
            } else {
                ""
            };
            ContainerState::Exited(Exit {
                code,
                reason: reason.to_owned(),
                message: error,
                started_at,
                finished_at,
            })
        }
    };
    Details { state }
}

/// The state in a list, as a key for what inspecting told.
pub(super) fn state_word(container: &ContainerSummary) -> String {
    container.state.map(|state| state.to_string()).unwrap_or_default()
}

fn is_up(container: &ContainerSummary) -> bool {
    container.state == Some(ContainerSummaryStateEnum::RUNNING)
}

fn created(container: &ContainerSummary) -> Timestamp {
    container
        .created
        .and_then(|second| Timestamp::from_second(second).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The address that a running sandbox has.
fn address(container: &ContainerSummary) -> Option<IpAddr> {
    let networks = container.network_settings.as_ref()?.networks.as_ref()?;
    networks
        .values()
        .find_map(|endpoint| endpoint.ip_address.as_ref()?.parse().ok())
}

/// The pods that `summaries` and the `details` of their containers make.
pub(super) fn pods(summaries: &[ContainerSummary], details: &BTreeMap<String, Details>) -> Vec<PodSandbox> {
    let mut pods: BTreeMap<String, PodSandbox> = BTreeMap::new();
    for own in summaries.iter().filter(|own| labels::is_sandbox(own)) {
        let id = own.id.clone().unwrap_or_default();
        let up = is_up(own);
        let host_network = labels::address(own).is_none();
        let sandbox = PodSandbox {
            id: id.clone(),
            pod: labels::pod(own),
            attempt: labels::attempt(own),
            state: if up {
                SandboxState::Ready
            } else {
                SandboxState::NotReady
            },
            ip: if up { address(own) } else { None },
            host_network,
            grace: labels::grace(own),
            created_at: created(own),
            containers: Vec::new(),
        };
        pods.insert(id, sandbox);
    }
    for own in summaries.iter().filter(|own| !labels::is_sandbox(own)) {
        let id = own.id.clone().unwrap_or_default();
        // It went while we looked.
        let Some(details) = details.get(&id) else { continue };
        let sandbox = labels::get(own, labels::SANDBOX).to_owned();
        let container = Container {
            id,
            name: labels::get(own, labels::CONTAINER).to_owned(),
            attempt: labels::attempt(own),
            image: labels::get(own, labels::IMAGE).to_owned(),
            image_id: own.image_id.clone().unwrap_or_default(),
            spec_hash: labels::get(own, labels::HASH).to_owned(),
            state: details.state.clone(),
            created_at: created(own),
        };
        let entry = pods.entry(sandbox.clone()).or_insert_with(|| PodSandbox {
            id: sandbox,
            pod: labels::pod(own),
            attempt: 0,
            state: SandboxState::NotReady,
            ip: None,
            host_network: false,
            grace: labels::grace(own),
            created_at: created(own),
            containers: Vec::new(),
        });
        entry.containers.push(container);
    }
    pods.into_values().collect()
}
