//! Q3: the requests of the pods on a node never exceed what it has.
//!
//! Checked at the write that binds: cpu, memory and the number of pods, summed over the pods bound there that have not
//! finished, against the node's allocatable. Init containers count by their largest, sidecars beside what follows them,
//! as in Kubernetes (KEP-753). What the node does not have at all is nothing. Not judged: a binding by a scheduler that a
//! fault held up shortly before, whose picture may be old without its fault; bindings while several schedulers run for
//! the lead. Within the scheduler's lag it may not have heard yet that a node has less than before, nor of a pod that
//! somebody else has put there.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use orrery_api::quantity::Quantity;

use super::{Invariant, Report};
use crate::model::{Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// See the module.
#[derive(Default)]
pub struct Capacity {
    /// When what nodes have last changed, by name.
    changed: BTreeMap<String, Duration>,
    /// When pods were made that had a node from the beginning, by uid.
    placed: BTreeMap<String, Duration>,
}

/// What a node has for pods.
fn allocatable(node: &Item) -> Option<&BTreeMap<String, Amount>> {
    node.node()?.status.as_ref()?.allocatable.as_ref()
}

impl Capacity {
    /// Takes in what the scheduler has no part in.
    fn note(&mut self, change: &Change, now: Duration) {
        let (before, after) = (change.before.as_deref(), change.after.as_deref());
        match &*change.id.resource {
            "nodes"
                if before
                    .and_then(allocatable)
                    .is_some_and(|had| after.and_then(allocatable) != Some(had)) =>
            {
                self.changed.insert(change.id.name.clone(), now);
            }
            "pods" => match (before, after) {
                (None, Some(pod)) if !pod.node_name().is_empty() => {
                    self.placed.insert(pod.uid().to_owned(), now);
                }
                (Some(pod), None) => {
                    self.placed.remove(pod.uid());
                }
                _ => {}
            },
            _ => {}
        }
    }
}

fn add(total: &mut BTreeMap<String, i128>, more: BTreeMap<String, i128>) {
    for (name, amount) in more {
        *total.entry(name).or_default() += amount;
    }
}

/// Thousandths of a unit of what a pod requests.
fn requests(pod: &Pod) -> BTreeMap<String, i128> {
    let Some(spec) = &pod.spec else { return BTreeMap::new() };
    let of = |container: &k8s_openapi::api::core::v1::Container| -> BTreeMap<String, i128> {
        let requests = container
            .resources
            .iter()
            .flat_map(|resources| resources.requests.iter().flatten());
        requests
            .filter_map(|(name, amount)| Some((name.clone(), millis(&amount.0)?)))
            .collect()
    };
    let mut total: BTreeMap<String, i128> = BTreeMap::new();
    for container in &spec.containers {
        add(&mut total, of(container));
    }
    // Sidecars run on, beside whatever follows; other init containers run alone with the sidecars before them.
    let (mut sidecars, mut starting) = (BTreeMap::new(), BTreeMap::new());
    for container in spec.init_containers.iter().flatten() {
        let own = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, own);
            continue;
        }
        for (name, amount) in own {
            let beside = sidecars.get(&name).copied().unwrap_or_default();
            let known: &mut i128 = starting.entry(name).or_default();
            *known = (*known).max(amount + beside);
        }
    }
    add(&mut total, sidecars);
    for (name, amount) in starting {
        let known = total.entry(name).or_default();
        *known = (*known).max(amount);
    }
    total.insert("pods".to_owned(), 1000);
    total
}

fn millis(text: &str) -> Option<i128> {
    Quantity::parse(text)
        .ok()
        .map(|quantity| i128::from(quantity.milli_value()))
}

impl Invariant for Capacity {
    fn id(&self) -> &'static str {
        "Q3"
    }

    fn statement(&self) -> &'static str {
        "The requests of the pods on a node never exceed what it has."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        self.note(change, cluster.now);
        let (Some(before), Some(after)) = (&change.before, &change.after) else {
            return;
        };
        let name = after.node_name();
        if after.pod().is_none() || !before.node_name().is_empty() || name.is_empty() {
            return;
        }
        if cluster.was_stalled(Role::Scheduler) {
            return;
        }
        let Some(allocatable) = cluster.find("nodes", "", name).and_then(|node| allocatable(node)) else {
            return;
        };
        let lag = cluster.lag(Role::Scheduler);
        let is_unheard = |at: Option<&Duration>| at.is_some_and(|at| *at + lag >= cluster.now);
        if is_unheard(self.changed.get(name)) {
            return;
        }
        let mut used: BTreeMap<String, i128> = BTreeMap::new();
        let counted = cluster.pods_on(name).filter(|item| !item.is_finished());
        for item in counted.filter(|item| !is_unheard(self.placed.get(item.uid()))) {
            for (resource, amount) in item.pod().map(requests).unwrap_or_default() {
                *used.entry(resource).or_default() += amount;
            }
        }
        for (resource, used) in used {
            let has = allocatable.get(&resource).map(|quantity| millis(&quantity.0));
            let Some(has) = has.unwrap_or(Some(0)) else { continue };
            if used > has {
                report.broken(
                    self.id(),
                    format!(
                        "{} (uid {}) was bound to {name} at revision {}, which makes {used}m of {resource} where there are {has}m",
                        change.id,
                        after.uid(),
                        change.revision
                    ),
                    &["scheduler"],
                );
            }
        }
    }
}
