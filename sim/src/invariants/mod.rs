//! What must hold at every moment. All invariants have one shape; a new one has a file and a line in [`house`] and in
//! `orrery_play::INVARIANTS`. What several share has a file as well, such as [`specified`].
//!
//! An invariant is told of everything that happens, in order, and looks at the store's true history, not at what a
//! status claims. It must be right: an alarm over correct components is worse than none, so each says which
//! unlucky but lawful histories it lets pass.

mod acknowledged;
mod addresses;
mod admitted;
mod affinity;
mod availability;
mod available;
pub(crate) mod backends;
mod binding;
mod bounds;
mod calls;
mod capacity;
mod collector;
mod companions;
mod company;
mod connections;
mod containers;
mod deletion;
mod dependents;
mod durability;
mod endings;
mod endpoint_conditions;
mod endpoints;
mod events;
mod eviction_rate;
mod evictions;
mod flows;
mod foreign_conditions;
mod generations;
mod halves;
mod hooks;
mod identity;
mod informers;
mod init_order;
mod kubelets;
mod leadership;
mod linearizable;
mod lost_pods;
mod min_ready;
mod orphans;
mod ownership;
mod pages;
mod paused;
mod phases;
mod placement;
mod pod_addresses;
mod probing;
mod readiness;
mod readiness_gates;
mod replicas;
mod requests;
mod restarts;
mod revisions;
mod rollouts;
mod sandboxes;
mod shrinking;
mod sidecars;
mod silence;
mod silent_containers;
mod slices;
mod specified;
mod stale_acts;
mod statuses;
mod stops;
mod strays;
mod target_node;
mod transitions;
mod unschedulable;
mod updates;
mod watches;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use crate::features::Features;
use crate::model::{Answered, Asked, Change, Cluster, ObjectId, Path, Seen};
use crate::scenario::Role;

/// A broken invariant: which, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The invariant's id.
    pub invariant: &'static str,
    /// What is wrong, with uids and revisions.
    pub message: String,
    /// Whose last events explain it: the beginnings of actors' names.
    pub actors: Vec<String>,
}

/// Something that must always hold.
pub trait Invariant: Send {
    /// Its id in the contract, for example `S3`.
    fn id(&self) -> &'static str;

    /// What it says, in a sentence.
    fn statement(&self) -> &'static str;

    /// Takes in what happened; `cluster` already has it. What is wrong goes to `report`.
    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report);

    /// What is still missing of it in the end, when the cluster has been healed; asked again until it is nothing.
    fn missing(&self, _cluster: &Cluster, _missing: &mut Missing) {}
}

/// Where invariants write what is wrong.
#[derive(Debug, Default)]
pub struct Report {
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Something is wrong.
    pub fn broken(&mut self, invariant: &'static str, message: String, actors: &[&str]) {
        let actors = actors.iter().map(|actor| (*actor).to_owned()).collect();
        self.findings.push(Finding {
            invariant,
            message,
            actors,
        });
    }
}

/// Where invariants write what is still missing in the end.
#[derive(Debug, Default)]
pub struct Missing {
    /// What is missing, and the machine or process that it is missing on.
    all: Vec<(String, Option<String>)>,
}

impl Missing {
    /// Something is missing.
    pub fn push(&mut self, what: String) {
        self.all.push((what, None));
    }

    /// Something is missing on a machine, or in a process: nobody asks for it while that stays broken.
    pub fn push_on(&mut self, place: &str, what: String) {
        self.all.push((what, Some(place.to_owned())));
    }

    /// All that is missing but what is so on the machines and in the processes `left`, which stay broken.
    pub fn without(self, left: &[String]) -> Vec<String> {
        let asked_for = |place: &Option<String>| place.as_ref().is_none_or(|place| !left.contains(place));
        let all = self.all.into_iter().filter(|(_, machine)| asked_for(machine));
        all.map(|(what, _)| what).collect()
    }
}

/// The process of a machine's kubelet.
fn kubelet_of(machine: &str) -> String {
    format!("{}/{machine}", Role::Kubelet)
}

/// What a server says it has carried out: where, and the write of the revision that it names. None if that is of another
/// object, too old to be known, or somebody else's from before the request left: what changes nothing is answered with
/// the last write there was. That one may also have come while the request was on its way.
fn carried_out<'a>(asked: &'a Asked, answered: &Answered, cluster: &'a Cluster) -> Option<(&'a Path, &'a Change)> {
    let (path, revision) = (asked.path.as_ref()?, answered.revision?);
    let change = cluster
        .history(&path.resource)?
        .at(revision, &path.namespace, &path.name)?;
    (change.revision == revision && revision > asked.floor).then_some((path, change))
}

/// Every invariant, freshly made, users' own last.
pub fn all() -> Vec<Box<dyn Invariant>> {
    let mut all = house();
    all.extend(crate::simulator::parts().invariants());
    all
}

/// Those of the house, freshly made.
pub(crate) fn house() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(linearizable::Linearizable::default()),
        Box::new(durability::Durability),
        Box::new(revisions::Revisions::default()),
        Box::new(updates::Updates::default()),
        Box::new(watches::Watches::default()),
        Box::new(binding::BoundOnce),
        Box::new(target_node::TargetNode),
        Box::<capacity::Capacity>::default(),
        Box::new(replicas::Replicas::default()),
        Box::new(phases::Phases::default()),
        Box::new(containers::Containers::default()),
        Box::new(sandboxes::Sandboxes::default()),
        Box::new(pod_addresses::PodAddresses::default()),
        Box::new(addresses::ServiceAddresses),
        Box::new(addresses::Claims::default()),
        Box::new(endpoints::Endpoints::default()),
        Box::new(collector::Collector::default()),
        Box::new(acknowledged::Acknowledged),
        Box::new(acknowledged::Lists),
        Box::new(pages::Pages::default()),
        Box::new(identity::Identity::default()),
        Box::new(deletion::Deletion::default()),
        Box::new(deletion::Namespaces),
        Box::new(generations::Generations),
        Box::new(halves::Halves),
        Box::new(placement::Placement::default()),
        Box::new(company::Company::default()),
        Box::new(companions::Companions::default()),
        Box::new(unschedulable::WhyUnschedulable::default()),
        Box::new(availability::Availability::default()),
        Box::new(rollouts::Rollouts::default()),
        Box::new(ownership::Ownership::default()),
        Box::new(dependents::Dependents::default()),
        Box::new(slices::Slices),
        Box::new(readiness::Readiness::default()),
        Box::new(readiness::Grace::default()),
        Box::new(init_order::InitOrder::default()),
        Box::new(restarts::Restarts::default()),
        Box::new(statuses::Statuses::default()),
        Box::new(readiness_gates::ReadinessGates::default()),
        Box::new(min_ready::MinReady::default()),
        Box::new(endpoint_conditions::EndpointConditions::default()),
        Box::new(affinity::Affinity::default()),
        Box::new(silence::Silence::default()),
        Box::new(eviction_rate::EvictionRate::default()),
        Box::new(evictions::Evictions::default()),
        Box::new(orphans::Orphans::default()),
        Box::new(lost_pods::LostPods::default()),
        Box::new(leadership::Leadership::default()),
        Box::new(informers::Informers::default()),
        Box::new(stale_acts::StaleActs::default()),
        Box::new(admitted::Admitted::default()),
        Box::new(flows::Flows::default()),
        Box::new(connections::Connections::default()),
        Box::new(calls::Calls::default()),
        Box::new(shrinking::Shrinking::default()),
        Box::new(endings::Endings::default()),
        Box::new(events::Events::default()),
        Box::new(available::Available),
        Box::new(paused::Paused::default()),
        Box::new(transitions::Transitions::default()),
        Box::new(sidecars::Sidecars::default()),
        Box::new(silent_containers::SilentContainers::default()),
        Box::new(stops::Stops::default()),
        Box::new(foreign_conditions::ForeignConditions),
        Box::new(hooks::Hooks::default()),
        Box::new(requests::Requests),
    ]
}

/// The ids of every invariant, in the order of the list. `W` stands for W1 to W6.
pub fn ids() -> Vec<&'static str> {
    // Some statements are checked in two places.
    let mut ids: Vec<&'static str> = Vec::new();
    for invariant in all() {
        if !ids.contains(&invariant.id()) {
            ids.push(invariant.id());
        }
    }
    ids
}

/// The invariants of one run, with what they look at.
pub struct Monitor {
    /// What is known to be true.
    pub cluster: Cluster,
    /// What the run has done.
    pub features: Features,
    invariants: Vec<Box<dyn Invariant>>,
    report: Report,
}

impl Monitor {
    /// A monitor of the invariants that `wanted` accepts.
    pub fn new(wanted: impl Fn(&str) -> bool) -> Self {
        let mut invariants = all();
        invariants.retain(|invariant| wanted(invariant.id()));
        Monitor {
            cluster: Cluster::default(),
            features: Features::default(),
            invariants,
            report: Report::default(),
        }
    }

    /// Takes in a write of the store.
    pub fn write(&mut self, id: ObjectId, revision: u64, bytes: Option<bytes::Bytes>) -> Arc<crate::model::Change> {
        let change = self.cluster.apply(id, revision, bytes);
        self.observe(&Seen::Change(&change));
        change
    }

    /// Takes in what happened.
    pub fn observe(&mut self, seen: &Seen<'_>) {
        self.features.observe(seen, &self.cluster);
        for invariant in &mut self.invariants {
            invariant.observe(seen, &self.cluster, &mut self.report);
        }
    }

    /// What is still missing in the end.
    pub fn missing(&self) -> Missing {
        let mut missing = Missing::default();
        for invariant in &self.invariants {
            invariant.missing(&self.cluster, &mut missing);
        }
        missing
    }

    /// What was found since the last call.
    pub fn findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.report.findings)
    }
}

/// How long invariants remember what was, for controllers that act on an old picture.
const MEMORY: Duration = Duration::from_secs(300);

/// So long after its server died a write may still come to light: a store that stands still may have had it in hand.
const AFTERLIFE: Duration = Duration::from_secs(300);

/// How long after a fault a proxy may still be without news: what it watches is resumed and read again.
const CALM: Duration = Duration::from_secs(60);

/// A proxy's sync that follows another, and one that follows a failure.
const SYNC: Duration = Duration::from_secs(5);
/// So long a request waits for its answer: what is written after one that was lost rests on what was seen before it.
const UNANSWERED: Duration = Duration::from_secs(30);

#[cfg(test)]
mod actor_tests;
#[cfg(test)]
mod availability_tests;
#[cfg(test)]
mod contract_tests;
#[cfg(test)]
mod hooks_tests;
#[cfg(test)]
mod kubelet_tests;
#[cfg(test)]
mod node_tests;
#[cfg(test)]
mod sandbox_tests;
#[cfg(test)]
mod service_tests;
#[cfg(test)]
mod status_tests;
#[cfg(test)]
pub(crate) mod tests;
