//! Steps of state machines: from which state to which an object went by one write.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::discovery::v1::{EndpointConditions, EndpointSlice};

use super::{Found, bucket};
use crate::model::{Change, Item, Typed};

/// Why containers wait that nothing is wrong with.
const ORDINARY: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// Notes the step that a write makes: the whole state of small machines, of rollouts only what has changed.
pub fn step(change: &Change, found: &mut Found) {
    let resource = &*change.id.resource;
    if matches!(resource, "leases.coordination.k8s.io" | "events") {
        return;
    }
    let whole = |item: Option<&Arc<Item>>| item.map_or_else(|| "none".to_owned(), |item| state(item));
    let (before, after) = (whole(change.before.as_ref()), whole(change.after.as_ref()));
    let mut steps = String::new();
    if before != after {
        let _ = write!(steps, " {before} > {after}");
    }
    if let (Some(before), Some(after)) = (&change.before, &change.after) {
        for ((part, before), (_, after)) in parts(before).into_iter().zip(parts(after)) {
            if before != after {
                let _ = write!(steps, " {part} {before} > {after}");
            }
        }
    }
    if !steps.is_empty() {
        found.add(format_args!("{resource}:{steps}"));
    }
}

/// The state of a machine with few states, in a few words.
fn state(item: &Item) -> String {
    let mut state = match &item.typed {
        Typed::Pod(pod) => pod_state(pod),
        Typed::Node(node) => node_state(node),
        _ => "there".to_owned(),
    };
    if item.is_terminating() {
        state.push_str(" terminating");
    }
    for finalizer in item.meta.finalizers.iter().flatten() {
        let _ = write!(state, " {finalizer}");
    }
    state
}

/// What a rollout's state is made of. All combinations would be too many to mean something.
fn parts(item: &Item) -> Vec<(&'static str, &'static str)> {
    match &item.typed {
        Typed::ReplicaSet(set) => replica_set_parts(set),
        Typed::Deployment(deployment) => deployment_parts(deployment),
        Typed::EndpointSlice(slice) => slice_parts(slice),
        _ => Vec::new(),
    }
}

fn pod_state(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    let mut state = status
        .and_then(|status| status.phase.clone())
        .unwrap_or_else(|| "Pending".to_owned());
    if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
        state.push_str(" bound");
    }
    let Some(status) = status else { return state };
    for condition in status.conditions.iter().flatten() {
        let told = match (condition.type_.as_str(), condition.status.as_str()) {
            ("Ready", "True") => " ready",
            ("DisruptionTarget", "True") => " disrupted",
            ("PodScheduled", "False") => " unschedulable",
            _ => "",
        };
        state.push_str(told);
    }
    if let Some(reason) = &status.reason {
        let _ = write!(state, " {reason}");
    }
    let containers = || status.container_statuses.iter().flatten();
    let waits = containers().filter_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    if let Some(reason) = waits.filter(|reason| !ORDINARY.contains(reason)).min() {
        let _ = write!(state, " {reason}");
    }
    let restarts: i32 = containers().map(|container| container.restart_count).sum();
    if restarts > 0 {
        let _ = write!(state, " restarts {}", bucket(restarts as usize));
    }
    state
}

fn node_state(node: &Node) -> String {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions
        .filter(|condition| condition.type_ == "Ready")
        .map(|condition| match condition.status.as_str() {
            "True" => "Ready",
            "False" => "NotReady",
            _ => "Unknown",
        });
    let mut state = ready.next_back().unwrap_or("new").to_owned();
    let Some(spec) = &node.spec else { return state };
    if spec.unschedulable == Some(true) {
        state.push_str(" cordoned");
    }
    let mut taints: Vec<String> = spec
        .taints
        .iter()
        .flatten()
        .map(|taint| format!(" {}:{}", taint.key.rsplit('/').next().unwrap_or_default(), taint.effect))
        .collect();
    taints.sort_unstable();
    state.extend(taints);
    state
}

/// A number of replicas against how many there should be.
fn against(number: Option<i32>, wanted: i32) -> &'static str {
    match number.unwrap_or(0) {
        0 => "none",
        number if number < wanted => "few",
        number if number == wanted => "all",
        _ => "too many",
    }
}

/// Whether a status is of an older spec.
fn observed(generation: Option<i64>, observed: Option<i64>) -> &'static str {
    if observed.unwrap_or(0) < generation.unwrap_or(0) {
        "no"
    } else {
        "yes"
    }
}

fn replica_set_parts(set: &ReplicaSet) -> Vec<(&'static str, &'static str)> {
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = set.status.clone().unwrap_or_default();
    vec![
        ("wanted", bucket(wanted.max(0) as usize)),
        ("there", against(Some(status.replicas), wanted)),
        ("ready", against(status.ready_replicas, wanted)),
        (
            "observed",
            observed(set.metadata.generation, status.observed_generation),
        ),
    ]
}

fn deployment_parts(deployment: &Deployment) -> Vec<(&'static str, &'static str)> {
    let spec = deployment.spec.as_ref();
    let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let paused = spec.and_then(|spec| spec.paused).unwrap_or(false);
    let status = deployment.status.clone().unwrap_or_default();
    let stuck = status.conditions.iter().flatten().any(|condition| {
        condition.type_ == "Progressing" && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
    });
    let generation = deployment.metadata.generation;
    vec![
        ("wanted", bucket(wanted.max(0) as usize)),
        ("there", against(status.replicas, wanted)),
        ("updated", against(status.updated_replicas, wanted)),
        ("available", against(status.available_replicas, wanted)),
        ("paused", if paused { "yes" } else { "no" }),
        ("stuck", if stuck { "yes" } else { "no" }),
        ("observed", observed(generation, status.observed_generation)),
    ]
}

fn slice_parts(slice: &EndpointSlice) -> Vec<(&'static str, &'static str)> {
    let with = |wanted: fn(&EndpointConditions) -> Option<bool>| {
        let conditions = slice
            .endpoints
            .iter()
            .filter_map(|endpoint| endpoint.conditions.as_ref());
        bucket(conditions.filter(|conditions| wanted(conditions) == Some(true)).count())
    };
    vec![
        ("endpoints", bucket(slice.endpoints.len())),
        ("ready", with(|conditions| conditions.ready)),
        ("terminating", with(|conditions| conditions.terminating)),
    ]
}

/// When each lease was last written.
#[derive(Debug, Default)]
pub struct Leases {
    written: BTreeMap<(String, String), Duration>,
}

impl Leases {
    /// Notes who takes a leader's lease from whom, and how long a node's sign of life was missing.
    pub fn step(&mut self, change: &Change, now: Duration, found: &mut Found) {
        if &*change.id.resource != "leases.coordination.k8s.io" {
            return;
        }
        let slot = (change.id.namespace.clone(), change.id.name.clone());
        let silence = self.written.insert(slot, now).map(|before| now.saturating_sub(before));
        let silence = match silence.map(|silence| silence.as_secs()) {
            None => "never written before",
            Some(0..15) => "fresh",
            Some(15..50) => "late",
            Some(_) => "long silent",
        };
        let name = match change.id.namespace.as_str() {
            "kube-node-lease" => "of a node",
            _ => change.id.name.as_str(),
        };
        let before = change.before.as_ref().and_then(|lease| lease.lease_holder());
        let after = change.after.as_ref().and_then(|lease| lease.lease_holder());
        let who = match (before, after) {
            (_, None) => "given up",
            (None, _) => "taken",
            (Some(before), Some(after)) if before == after => "renewed",
            (Some(before), Some(after)) if instance(before) == instance(after) => "taken by its next life",
            _ => "taken by another",
        };
        found.add(format_args!("lease {name}: {who}, {silence}"));
    }
}

/// The process of a holder `scheduler/1_2`, whose second life it is.
fn instance(holder: &str) -> &str {
    holder.rsplit_once('_').map_or(holder, |(instance, _)| instance)
}
