//! What statuses say at rest is what is: of ReplicaSets, Deployments, pods, nodes and namespaces.
//!
//! Judged are only fields that Kubernetes documents and our components keep. Not judged: times, messages, and what
//! concerns machines that stay broken.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use k8s_openapi::api::core::v1::{Node, PodTemplateSpec};

use crate::model::{Cluster, Item, sidecars};

const HASH: &str = "pod-template-hash";
/// The condition of ReplicaSets and Deployments that could not make or delete a pod.
const FAILURE: &str = "ReplicaFailure";
/// How many old sets are kept when the Deployment does not say.
pub const HISTORY: i32 = 10;
/// The taints that follow from a node's conditions, by the condition's status.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", "node.kubernetes.io/not-ready"),
    ("Ready", "Unknown", "node.kubernetes.io/unreachable"),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
/// The conditions that say of a ready pod how it came to be so.
const WAY: [&str; 3] = ["PodReadyToStartContainers", "Initialized", "ContainersReady"];
/// The taint of nodes that are cordoned.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// What statuses say that is not so. `left` are the machines that stay broken.
pub(super) fn missing(cluster: &Cluster, left: &[String], missing: &mut Vec<String>) {
    for item in cluster.all("replicasets.apps").filter(|item| !item.is_terminating()) {
        replica_set(cluster, item, missing);
    }
    for item in cluster.all("deployments.apps").filter(|item| !item.is_terminating()) {
        let Some(deployment) = item.deployment() else { continue };
        counts(cluster, item, deployment, missing);
        conditions(item, deployment, missing);
        history(cluster, item, deployment, missing);
        handed_on(cluster, item, deployment, missing);
    }
    for pod in cluster
        .all("pods")
        .filter(|pod| pod.is_live_pod() && pod.condition("Ready"))
    {
        if let Some(why) = hindrance(pod) {
            missing.push(format!("{} is shown ready, but {why}", pod.id));
        }
        if !pod.condition("PodScheduled") {
            missing.push(format!("{} is shown ready, and not scheduled", pod.id));
        }
        if !left.iter().any(|name| name == pod.node_name()) {
            way(pod, missing);
        }
    }
    for item in cluster.all("nodes").filter(|item| !left.contains(&item.id.name)) {
        if let Some(node) = item.node() {
            taints(item, node, missing);
        }
    }
    for item in cluster.all("namespaces").filter(|item| !item.is_terminating()) {
        let status = item.as_namespace().and_then(|namespace| namespace.status.as_ref());
        if status.and_then(|status| status.phase.as_deref()) == Some("Terminating") {
            missing.push(format!("{} is Terminating, though nobody deletes it", item.id));
        }
    }
}

/// What a ready pod's kubelet says besides.
fn way(item: &Item, missing: &mut Vec<String>) {
    for kind in WAY.into_iter().filter(|kind| !item.condition(kind)) {
        missing.push(format!(
            "{} is shown ready, but its condition {kind} is not True",
            item.id
        ));
    }
    let Some(pod) = item.pod() else { return };
    let seen = pod.status.as_ref().and_then(|status| status.observed_generation);
    if seen != pod.metadata.generation {
        missing.push(format!(
            "{} is of generation {:?}, but its status of {seen:?}",
            item.id, pod.metadata.generation
        ));
    }
}

fn replica_set(cluster: &Cluster, item: &Item, missing: &mut Vec<String>) {
    let Some(set) = item.replica_set() else { return };
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    let labels = template.and_then(|template| template.metadata.as_ref()?.labels.as_ref());
    let (mut ready, mut labelled) = (0, 0);
    for pod in cluster.owned(item.uid()).filter(|pod| pod.is_live_pod()) {
        let own = pod.meta.labels.as_ref();
        ready += i32::from(pod.condition("Ready"));
        let mut wanted = labels.into_iter().flatten();
        labelled += i32::from(wanted.all(|(name, value)| own.and_then(|own| own.get(name)) == Some(value)));
    }
    let status = set.status.clone().unwrap_or_default();
    // Who is ready at rest has been so for as long as it takes, or will be.
    let counts = [
        ("readyReplicas", status.ready_replicas, ready),
        ("availableReplicas", status.available_replicas, ready),
        ("fullyLabeledReplicas", status.fully_labeled_replicas, labelled),
    ];
    for (name, count, is) in counts.into_iter().filter(|(_, count, is)| count.unwrap_or(0) != *is) {
        missing.push(format!("{} says {} {name}, but has {is}", item.id, count.unwrap_or(0)));
    }
    let complete = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1) == status.replicas;
    let mut conditions = status.conditions.iter().flatten();
    if complete && conditions.any(|condition| condition.type_ == FAILURE && condition.status == "True") {
        missing.push(format!(
            "{} has all its pods, but its condition {FAILURE} is True",
            item.id
        ));
    }
}

/// The sets of a Deployment, each with whether it is of the newest template.
fn sets<'a>(
    cluster: &'a Cluster,
    item: &'a Item,
    deployment: &'a Deployment,
) -> impl Iterator<Item = (&'a Item, bool)> {
    let newest = deployment.spec.as_ref().map(|spec| bare(spec.template.clone()));
    let sets = cluster.owned(item.uid()).filter(|own| !own.is_terminating());
    sets.filter_map(move |own| {
        own.replica_set()?;
        Some((&**own, template(own) == newest))
    })
}

fn counts(cluster: &Cluster, item: &Item, deployment: &Deployment, missing: &mut Vec<String>) {
    let status = deployment.status.clone().unwrap_or_default();
    let updated = sets(cluster, item, deployment).filter(|(_, newest)| *newest);
    let updated: usize = updated.map(|(set, _)| cluster.live_pods_of(set.uid())).sum();
    let said = status.updated_replicas.unwrap_or(0);
    if i64::from(said) != updated as i64 {
        missing.push(format!("{} says {said} updatedReplicas, but has {updated}", item.id));
    }
    let wanted = sets(cluster, item, deployment).filter_map(|(set, _)| set.replica_set()?.spec.as_ref()?.replicas);
    let unavailable = wanted.fold(0, i32::saturating_add) - status.available_replicas.unwrap_or(0);
    let said = status.unavailable_replicas.unwrap_or(0);
    if said != unavailable.max(0) {
        missing.push(format!(
            "{} says {said} unavailableReplicas, not {unavailable}",
            item.id
        ));
    }
}

fn conditions(item: &Item, deployment: &Deployment, missing: &mut Vec<String>) {
    let spec = deployment.spec.as_ref();
    let status = deployment.status.clone().unwrap_or_default();
    let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let complete = [status.replicas, status.updated_replicas, status.available_replicas];
    if complete.iter().any(|count| count.unwrap_or(0) != wanted) {
        // Missing already.
        return;
    }
    let find = |status: &DeploymentStatus, kind: &str| {
        let mut conditions = status.conditions.iter().flatten();
        let found = conditions.find(|condition| condition.type_ == kind);
        found.map(|condition| (condition.status.clone(), condition.reason.clone().unwrap_or_default()))
    };
    match find(&status, "Available") {
        Some((value, _)) if value == "True" => {}
        other => missing.push(format!(
            "{} is complete, but its condition Available is {other:?}",
            item.id
        )),
    }
    if let Some((value, reason)) = find(&status, FAILURE)
        && value == "True"
    {
        missing.push(format!(
            "{} is complete, but its condition {FAILURE} says {reason}",
            item.id
        ));
    }
    let paused = spec.and_then(|spec| spec.paused).unwrap_or(false);
    let deadline = spec.and_then(|spec| spec.progress_deadline_seconds);
    if deadline.is_none_or(|deadline| deadline == i32::MAX) {
        return;
    }
    if paused {
        // A rollout that was given up before says that instead.
        let reason = find(&status, "Progressing")
            .map(|(_, reason)| reason)
            .unwrap_or_default();
        if !["DeploymentPaused", "ProgressDeadlineExceeded"].contains(&reason.as_str()) {
            missing.push(format!(
                "{} is paused, but its condition Progressing says {reason:?}",
                item.id
            ));
        }
        return;
    }
    match find(&status, "Progressing") {
        Some((value, reason)) if value == "True" && reason == "NewReplicaSetAvailable" => {}
        other => missing.push(format!(
            "{} is complete, but its condition Progressing is {other:?}",
            item.id
        )),
    }
}

/// What a set that is there takes over from its Deployment besides the size.
fn handed_on(cluster: &Cluster, item: &Item, deployment: &Deployment, missing: &mut Vec<String>) {
    let spec = deployment.spec.as_ref();
    let wanted = spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let newest = sets(cluster, item, deployment).filter(|(_, newest)| *newest);
    let seconds = |set: &Item| set.replica_set()?.spec.as_ref()?.min_ready_seconds;
    let mut taken: Vec<i32> = newest.map(|(set, _)| seconds(set).unwrap_or(0)).collect();
    taken.dedup();
    // Of two with the template one is the Deployment's.
    if !taken.is_empty() && !taken.contains(&wanted) {
        missing.push(format!(
            "{} wants minReadySeconds {wanted}, but its set has {taken:?}",
            item.id
        ));
    }
}

fn history(cluster: &Cluster, item: &Item, deployment: &Deployment, missing: &mut Vec<String>) {
    let spec = deployment.spec.as_ref();
    let limit = spec.and_then(|spec| spec.revision_history_limit).unwrap_or(HISTORY);
    let is_empty = |set: &Item| {
        let set = set.replica_set();
        let wanted = set.and_then(|set| set.spec.as_ref()?.replicas).unwrap_or(1);
        wanted == 0
            && set
                .and_then(|set| set.status.as_ref())
                .map_or(0, |status| status.replicas)
                == 0
    };
    let old = sets(cluster, item, deployment)
        .filter(|(set, newest)| !newest && is_empty(set))
        .count();
    if old as i64 > i64::from(limit) {
        missing.push(format!("{} keeps a history of {old} old sets, not of {limit}", item.id));
    }
}

fn taints(item: &Item, node: &Node, missing: &mut Vec<String>) {
    let conditions = || node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    // A node that never said how it is keeps what it was registered with.
    if !conditions().any(|condition| condition.type_ == "Ready") {
        return;
    }
    let spec = node.spec.as_ref();
    let has = |key: &str, effect: &str| {
        let mut taints = spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        taints.any(|taint| taint.key == key && taint.effect == effect)
    };
    for (kind, value, key) in TAINTS {
        let holds = conditions().any(|condition| condition.type_ == kind && condition.status == value);
        if holds != has(key, "NoSchedule") {
            let (is, has) = if holds { ("is", "lacks") } else { ("is not", "has") };
            missing.push(format!("{} {is} {kind}={value}, but {has} the taint {key}", item.id));
        }
        if !holds && has(key, "NoExecute") {
            missing.push(format!(
                "{} is not {kind}={value}, but its taint {key} drives pods out",
                item.id
            ));
        }
    }
    let cordoned = spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
    if cordoned != has(UNSCHEDULABLE, "NoSchedule") {
        missing.push(format!(
            "{} is cordoned: {cordoned}, but of the taint {UNSCHEDULABLE} the contrary is so",
            item.id
        ));
    }
}

/// A set's template, bare.
pub fn template(item: &Item) -> Option<PodTemplateSpec> {
    Some(bare(item.replica_set()?.spec.as_ref()?.template.clone()?))
}

/// A template without what a set adds to it, so that a set's can be compared with its Deployment's.
pub fn bare(mut template: PodTemplateSpec) -> PodTemplateSpec {
    let metadata = template.metadata.get_or_insert_default();
    if let Some(labels) = &mut metadata.labels {
        labels.remove(HASH);
    }
    metadata.labels = metadata.labels.take().filter(|labels| !labels.is_empty());
    let annotations = metadata.annotations.take();
    metadata.annotations = annotations.filter(|annotations| !annotations.is_empty());
    metadata.creation_timestamp = None;
    template
}

/// Why a pod may not be ready, by its own status; none if it may.
pub fn hindrance(item: &Item) -> Option<String> {
    unready_container(item).or_else(|| closed_gate(item))
}

/// Which of a pod's containers is not ready, by its own status; none if none is known to be. Sidecars count, as in
/// Kubernetes: init containers that run on.
pub fn unready_container(item: &Item) -> Option<String> {
    let pod = item.pod()?;
    let status = pod.status.as_ref()?;
    let is_sidecar = |name: &str| pod.spec.iter().flat_map(sidecars).any(|own| own.name == name);
    let starting = status.init_container_statuses.iter().flatten();
    let runs_on = starting.filter(|status| is_sidecar(&status.name));
    let mut containers = status.container_statuses.iter().flatten().chain(runs_on);
    if let Some(container) = containers.find(|container| !container.ready) {
        return Some(format!("container {} is not", container.name));
    }
    let mut conditions = status.conditions.iter().flatten();
    let unready = conditions.any(|own| own.type_ == "ContainersReady" && own.status == "False");
    unready.then(|| "its containers are not".to_owned())
}

/// Which of a pod's readiness gates is not open, by its own status; none if all are.
pub fn closed_gate(item: &Item) -> Option<String> {
    let pod = item.pod()?;
    let conditions = || pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let closed = gates.map(|gate| &gate.condition_type).find(|gate| {
        let mut own = conditions().filter(|own| own.type_ == **gate);
        !own.any(|own| own.status == "True")
    });
    closed.map(|gate| format!("its readiness gate {gate} is not open"))
}
