//! Pods as rows of a table: above all the one word that says how a pod is.
//!
//! The words and their order are those that `kubectl get pods` has always shown; people and scripts look for them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodSpec, PodStatus};
use serde_json::{Value, json};

use super::super::cells::{AGE, NAME, age, column, elapsed, or_none, wide};
use super::super::check::{items, text};
use crate::resource::Column;

/// The columns of pods.
pub(super) static COLUMNS: &[Column] = &[
    NAME,
    column("Ready", "string", "Ready containers of all."),
    column("Status", "string", "How the pod is, in a word."),
    column(
        "Restarts",
        "string",
        "How often containers were restarted, and when last.",
    ),
    AGE,
    wide("IP", "string", "The pod's address."),
    wide("Node", "string", "The node it runs on."),
    wide(
        "Nominated Node",
        "string",
        "The node it is to run on when others have made room.",
    ),
    wide(
        "Readiness Gates",
        "string",
        "Conditions met of those it needs to be ready.",
    ),
];

/// The cells of a pod.
pub(super) fn cells(name: &str, pod: &Pod, now: Timestamp) -> Vec<Value> {
    let (no_spec, no_status) = (PodSpec::default(), PodStatus::default());
    let spec = pod.spec.as_ref().unwrap_or(&no_spec);
    let status = pod.status.as_ref().unwrap_or(&no_status);
    let view = view(spec, status, pod.metadata.deletion_timestamp.is_some());
    let ip = match items(&status.pod_ips) {
        [first, ..] => first.ip.clone(),
        [] => text(&status.pod_ip).to_owned(),
    };
    vec![
        json!(name),
        json!(format!("{}/{}", view.ready, view.total)),
        json!(view.reason),
        json!(restarts(view.restarts, view.last_restart, now)),
        json!(age(&pod.metadata, now)),
        json!(or_none(ip)),
        json!(or_none(text(&spec.node_name).to_owned())),
        json!(or_none(text(&status.nominated_node_name).to_owned())),
        json!(gates(spec, status)),
    ]
}

/// What a row says of the containers together.
#[derive(Default)]
struct View {
    ready: usize,
    total: usize,
    restarts: i32,
    last_restart: Option<Timestamp>,
    reason: String,
}

impl View {
    fn count(&mut self, container: &ContainerStatus) {
        self.restarts += container.restart_count;
        let ended = container
            .last_state
            .as_ref()
            .and_then(|state| state.terminated.as_ref());
        let at = ended.and_then(|ended| ended.finished_at.as_ref()).map(|time| time.0);
        self.last_restart = self.last_restart.max(at);
    }
}

fn view(spec: &PodSpec, status: &PodStatus, deleted: bool) -> View {
    let phase = text(&status.phase);
    let mut view = View::default();
    let sidecars: Vec<&str> = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| text(&container.restart_policy) == "Always")
        .map(|container| container.name.as_str())
        .collect();
    view.total = spec.containers.len() + sidecars.len();
    view.reason = match text(&status.reason) {
        "" => phase.to_owned(),
        reason => reason.to_owned(),
    };
    if condition(status, "PodScheduled").is_some_and(|(_, reason)| reason == "SchedulingGated") {
        view.reason = "SchedulingGated".to_owned();
    }
    let mut sidecar_restarts = View::default();
    let initializing = initialize(&mut view, &mut sidecar_restarts, spec, status, &sidecars);
    if !initializing || is_true(status, "Initialized") {
        view.restarts = sidecar_restarts.restarts;
        view.last_restart = sidecar_restarts.last_restart;
        run(&mut view, status);
    }
    if deleted && text(&status.reason) == "NodeLost" {
        view.reason = "Unknown".to_owned();
    } else if deleted && !matches!(phase, "Succeeded" | "Failed") {
        view.reason = "Terminating".to_owned();
    }
    view
}

/// Looks at the init containers in order, up to the first that is not done; tells whether there is one.
fn initialize(
    view: &mut View,
    sidecar_restarts: &mut View,
    spec: &PodSpec,
    status: &PodStatus,
    sidecars: &[&str],
) -> bool {
    let all = items(&spec.init_containers).len();
    for (index, container) in items(&status.init_container_statuses).iter().enumerate() {
        view.count(container);
        let sidecar = sidecars.contains(&container.name.as_str());
        if sidecar {
            sidecar_restarts.count(container);
        }
        let state = container.state.clone().unwrap_or_default();
        let waits = state.waiting.as_ref().map_or("", |waiting| text(&waiting.reason));
        match &state.terminated {
            Some(ended) if ended.exit_code == 0 => continue,
            _ if sidecar && container.started == Some(true) => {
                view.ready += usize::from(container.ready);
                continue;
            }
            Some(ended) => view.reason = format!("Init:{}", end_reason(ended)),
            None if !matches!(waits, "" | "PodInitializing") => view.reason = format!("Init:{waits}"),
            None => view.reason = format!("Init:{index}/{all}"),
        }
        return true;
    }
    false
}

/// Looks at the containers, the first of which has the last word.
fn run(view: &mut View, status: &PodStatus) {
    let mut running = false;
    for container in items(&status.container_statuses).iter().rev() {
        view.count(container);
        match container.state.as_ref() {
            Some(ContainerState {
                waiting: Some(waiting), ..
            }) if !text(&waiting.reason).is_empty() => {
                view.reason = text(&waiting.reason).to_owned();
            }
            Some(ContainerState {
                terminated: Some(ended),
                ..
            }) => view.reason = end_reason(ended),
            Some(ContainerState { running: Some(_), .. }) if container.ready => {
                running = true;
                view.ready += 1;
            }
            _ => {}
        }
    }
    if view.reason == "Completed" && running {
        view.reason = if is_true(status, "Ready") {
            "Running"
        } else {
            "NotReady"
        }
        .to_owned();
    }
}

/// Why a container ended: what was told, or else the signal, or the code.
fn end_reason(ended: &ContainerStateTerminated) -> String {
    match (text(&ended.reason), ended.signal.unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", ended.exit_code),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn restarts(count: i32, last: Option<Timestamp>, now: Timestamp) -> String {
    match last {
        Some(last) if count != 0 => format!("{count} ({} ago)", elapsed(last, now)),
        _ => count.to_string(),
    }
}

fn gates(spec: &PodSpec, status: &PodStatus) -> String {
    let gates = items(&spec.readiness_gates);
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let met = gates
        .iter()
        .filter(|gate| is_true(status, &gate.condition_type))
        .count();
    format!("{met}/{}", gates.len())
}

/// Status and reason of a condition.
fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<(&'a str, &'a str)> {
    let found = items(&status.conditions)
        .iter()
        .find(|condition| condition.type_ == kind)?;
    Some((&found.status, text(&found.reason)))
}

fn is_true(status: &PodStatus, kind: &str) -> bool {
    condition(status, kind).is_some_and(|(status, _)| status == "True")
}
