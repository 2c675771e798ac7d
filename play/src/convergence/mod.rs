//! Convergence: after the chaos the cluster reaches what was asked for. Judged here is what its store holds.
//!
//! Machines that stay broken are left out: their pods may linger as terminating for as long as their nodes are there.
//! What statuses say must be what is ([`statuses`]), and what a service's endpoints say, too ([`backends`]); every
//! namespace, and the cluster, have what they have by themselves ([`defaults`]). What runs on a machine is each world's
//! own to look at; whether it is what should, [`containers`] says. Not judged: informers' caches (no component shows
//! them), and events.

mod backends;
mod defaults;
mod statuses;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::{Cluster, Item, sidecars};
use crate::scenario::Expect;
use crate::triggers;

pub use statuses::{HISTORY, bare, closed_gate, template, unready_container};

/// What is known of the world that the store is of.
#[derive(Debug, Clone, Copy)]
pub struct Rest<'a> {
    /// The nodes that must be there and ready.
    pub nodes: &'a [String],
    /// The machines that stay broken.
    pub left: &'a [String],
    /// The machines that are broken now.
    pub broken: &'a BTreeSet<String>,
    /// The certificate of the cluster's authority.
    pub authority: &'a str,
    /// What the scenario expects.
    pub expect: &'a Expect,
}

/// What is still missing by what the store holds; nothing when all that was asked for is there.
pub fn missing(cluster: &Cluster, rest: &Rest<'_>) -> Vec<String> {
    let mut missing = Vec::new();
    nodes(cluster, rest.nodes, &mut missing);
    workloads(cluster, &mut missing);
    pods(cluster, rest, &mut missing);
    orphans(cluster, &mut missing);
    endpoints(cluster, &mut missing);
    statuses::missing(cluster, rest.left, &mut missing);
    backends::missing(cluster, &mut missing);
    defaults::missing(cluster, rest.authority, &mut missing);
    defaults::kept(cluster, &mut missing);
    expected(cluster, rest.expect, &mut missing);
    missing
}

fn nodes(cluster: &Cluster, names: &[String], missing: &mut Vec<String>) {
    for name in names {
        match cluster.find("nodes", "", name) {
            None => missing.push(format!("node {name} is not registered")),
            Some(node) if !node.condition("Ready") => missing.push(format!("node {name} is not ready")),
            Some(_) => {}
        }
    }
}

fn workloads(cluster: &Cluster, missing: &mut Vec<String>) {
    for item in cluster
        .everything()
        .filter(|item| item.is_terminating() && item.pod().is_none())
    {
        missing.push(still_there(item));
    }
    // What is being deleted is collected already; whether it may still be there is judged elsewhere.
    for item in cluster.everything().filter(|item| !item.is_terminating()) {
        let owners = item.meta.owner_references.as_deref().unwrap_or_default();
        let may_own = |owner: &Item| owner.id.namespace.is_empty() || owner.id.namespace == item.id.namespace;
        let is_there = |uid: &str| cluster.by_uid(uid).is_some_and(|owner| may_own(owner));
        if !owners.is_empty() && !owners.iter().any(|owner| is_there(&owner.uid)) {
            missing.push(format!("{} belongs to nobody any more", item.id));
        }
    }
    for item in cluster.all("deployments.apps") {
        let Some(deployment) = item.deployment() else { continue };
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let status = deployment.status.clone().unwrap_or_default();
        let seen = status.observed_generation.unwrap_or(0);
        let counts = [
            ("replicas", status.replicas),
            ("updatedReplicas", status.updated_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
        ];
        if Some(seen) != deployment.metadata.generation {
            missing.push(format!(
                "{} is observed at generation {seen}, not {}",
                item.id,
                deployment.metadata.generation.unwrap_or(0)
            ));
        }
        // One that is paused keeps the pods that it has.
        let is_paused = deployment.spec.as_ref().and_then(|spec| spec.paused) == Some(true);
        let asked_for = counts
            .into_iter()
            .filter(|(name, _)| !(is_paused && *name == "updatedReplicas"));
        for (name, count) in asked_for.filter(|(_, count)| count.unwrap_or(0) != wanted) {
            missing.push(format!("{} has {} {name}, not {wanted}", item.id, count.unwrap_or(0)));
        }
    }
    for item in cluster.all("replicasets.apps") {
        let Some(set) = item.replica_set() else { continue };
        let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let status = set.status.clone().unwrap_or_default();
        let live = cluster.owned(item.uid()).filter(|pod| pod.is_live_pod()).count() as i32;
        if status.observed_generation != set.metadata.generation || status.replicas != wanted || live != wanted {
            missing.push(format!(
                "{} wants {wanted}, says {} and has {live}",
                item.id, status.replicas
            ));
        }
    }
}

/// That an object is still being deleted, and for which finalizers it waits; a namespace has its own in its spec.
fn still_there(item: &Item) -> String {
    let inside = item.as_namespace().and_then(|namespace| namespace.spec.as_ref());
    let inside = inside.into_iter().flat_map(|spec| spec.finalizers.iter().flatten());
    let finalizers: Vec<&str> = item
        .meta
        .finalizers
        .iter()
        .flatten()
        .chain(inside)
        .map(String::as_str)
        .collect();
    let waits = match finalizers.as_slice() {
        [] => String::new(),
        [one] => format!(", and waits for the finalizer {one}"),
        all => format!(", and waits for the finalizers {}", all.join(", ")),
    };
    format!("{} is still being deleted{waits}", item.id)
}

fn pods(cluster: &Cluster, rest: &Rest<'_>, missing: &mut Vec<String>) {
    for pod in cluster.all("pods") {
        let node = pod.node_name();
        if pod.is_terminating() {
            if !may_linger(cluster, node, rest.left) {
                missing.push(still_there(pod));
            }
        } else if pod.is_finished() {
            continue;
        } else if node.is_empty() {
            missing.push(format!("{} is bound to no node", pod.id));
        } else if rest.broken.contains(node) {
            missing.push(format!("{} is bound to {node}, which is broken", pod.id));
        } else if pod.phase() != "Running" || !pod.condition("Ready") {
            missing.push(format!("{} on {node} is {} and not ready", pod.id, pod.phase()));
        } else if pod.address().is_none() {
            missing.push(format!("{} on {node} shows no address", pod.id));
        }
    }
}

/// Nothing is left of nodes that are gone, not even pods that have finished there.
fn orphans(cluster: &Cluster, missing: &mut Vec<String>) {
    let is_gone = |node: &str| !node.is_empty() && cluster.find("nodes", "", node).is_none();
    for pod in cluster.all("pods").filter(|pod| is_gone(pod.node_name())) {
        missing.push(format!("{} is of node {}, which is gone", pod.id, pod.node_name()));
    }
}

/// Whether pods on `node` may be on their way out for ever: nobody confirms their end, and nobody else may say that
/// they have ended while the node is there.
fn may_linger(cluster: &Cluster, node: &str, left: &[String]) -> bool {
    left.iter().any(|name| name == node) && cluster.find("nodes", "", node).is_some()
}

/// The addresses of a service's ready pods, as its selector says.
fn ready_pods(cluster: &Cluster, service: &Item) -> Option<BTreeSet<String>> {
    let spec = service.service()?.spec.as_ref()?;
    spec.selector.as_ref().filter(|selector| !selector.is_empty())?;
    let selected = cluster.all("pods").filter(|pod| pod.is_selected_by(service));
    let ready = selected.filter(|pod| pod.is_live_pod() && pod.condition("Ready"));
    Some(
        ready
            .filter_map(|pod| pod.pod()?.status.as_ref()?.pod_ip.clone())
            .collect(),
    )
}

/// The addresses of a slice's ready endpoints.
pub fn ready_endpoints(slice: &Item) -> Vec<String> {
    let ready = slice.ready_endpoints();
    ready.flat_map(|endpoint| endpoint.addresses.iter().cloned()).collect()
}

/// E2 and E3 at rest: every ready pod is in exactly one slice that the controller keeps, and nothing else is.
fn endpoints(cluster: &Cluster, missing: &mut Vec<String>) {
    for service in cluster.all("services") {
        let Some(wanted) = ready_pods(cluster, service) else {
            continue;
        };
        let kept = cluster.slices_of(service).filter(|slice| slice.is_kept_slice());
        let mut there: Vec<String> = kept.flat_map(ready_endpoints).collect();
        there.sort();
        let unique: BTreeSet<String> = there.iter().cloned().collect();
        if unique != wanted {
            let list = |ips: &BTreeSet<String>| ips.iter().cloned().collect::<Vec<_>>().join(" ");
            missing.push(format!(
                "the endpoints of {} are [{}], its ready pods [{}]",
                service.id,
                list(&unique),
                list(&wanted)
            ));
        } else if unique.len() != there.len() {
            missing.push(format!("a pod is in two slices of {}", service.id));
        }
    }
}

/// What runs on a node is what its pods are of. `running` are the containers that really run there: their pods' uids
/// and their names.
pub fn containers(cluster: &Cluster, node: &str, running: &[(String, String)], missing: &mut Vec<String>) {
    let mut there: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (uid, container) in running {
        *there.entry((uid, container)).or_default() += 1;
    }
    for pod in cluster.pods_on(node).filter(|pod| pod.is_live_pod()) {
        let spec = pod.pod().and_then(|pod| pod.spec.as_ref());
        for container in spec
            .iter()
            .flat_map(|spec| spec.containers.iter().chain(sidecars(spec)))
        {
            match there.remove(&(pod.uid(), container.name.as_str())) {
                Some(1) => {}
                count => missing.push(format!(
                    "container {} of {} runs {} times on {node}",
                    container.name,
                    pod.id,
                    count.unwrap_or(0),
                )),
            }
        }
    }
    for (uid, container) in there.keys() {
        missing.push(format!(
            "container {container} of a pod with uid {uid} runs on {node} for nobody"
        ));
    }
}

/// The scenario's own expectations.
fn expected(cluster: &Cluster, expect: &Expect, missing: &mut Vec<String>) {
    for (object, fields) in expect.state.iter().flatten() {
        let parts: Vec<&str> = object.split('/').collect();
        let (kind, namespace, name) = match parts.as_slice() {
            [kind, namespace, name] => (*kind, *namespace, *name),
            [kind, name] => (*kind, "default", *name),
            _ => continue,
        };
        let plural = crate::workload::plural(kind);
        let found = cluster.everything().find(|item| {
            item.id.resource.split('.').next() == Some(plural.as_str())
                && item.id.name == name
                && (item.id.namespace.is_empty() || item.id.namespace == namespace)
        });
        let Some(fields) = fields else {
            missing.extend(found.map(|_| format!("{object} is there, and is not to be")));
            continue;
        };
        let Some(value) = found.and_then(|item| serde_json::from_slice::<Value>(&item.bytes).ok()) else {
            missing.push(format!("{object} does not exist"));
            continue;
        };
        for (path, wanted) in fields {
            let is = triggers::field(&value, path);
            if is != wanted && !(is.is_null() && *wanted == 0) {
                missing.push(format!("{path} of {object} is {is}, not {wanted}"));
            }
        }
    }
}

#[cfg(test)]
mod backends_tests;
#[cfg(test)]
mod tests;
