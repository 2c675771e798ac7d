//! Mutant B31 alone: decisions over a snapshot that is brought up to date by generations, as in Kubernetes
//! (kubernetes#63262).
//!
//! A node's generation counts its changes, and a re-created node starts over. If the snapshot has the old node at a
//! higher generation, it keeps it: what the new one has and forbids is not seen until it has changed often enough.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use orrery_api::meta::Object;
use orrery_api::mutant;
use orrery_api::random::Random;

use crate::decide::{Unschedulable, decide};
use crate::state::{NodeInfo, PodInfo, State};

/// See the module.
#[derive(Default)]
pub struct Snapshot(Mutex<BTreeMap<String, Copied>>);

struct Copied {
    /// The node's generation now, and when it was copied.
    generation: u64,
    taken: u64,
    /// The node as it is known, to tell changes.
    newest: NodeInfo,
    /// The node as decisions see it.
    copy: NodeInfo,
}

impl Snapshot {
    /// Decides as [`decide`] does; with the mutant on, over the snapshot.
    pub fn decide(&self, pod: &PodInfo, state: &State, random: &Random) -> Result<String, Unschedulable> {
        if !mutant::is_on("B31") {
            return decide(pod, state, random);
        }
        let mut copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        copies.retain(|name, _| state.nodes.contains_key(name));
        for (name, info) in &state.nodes {
            let copied = copies.entry(name.clone()).or_insert_with(|| Copied {
                generation: 0,
                taken: 0,
                newest: info.clone(),
                copy: info.clone(),
            });
            copied.refresh(info);
        }
        let nodes = copies.iter().map(|(name, copied)| (name.clone(), copied.copy.clone()));
        decide(pod, &state.picture(nodes.collect()), random)
    }
}

impl Copied {
    fn refresh(&mut self, info: &NodeInfo) {
        let uid = |info: &NodeInfo| info.node.as_ref().map(|node| node.uid().to_owned());
        let version = |info: &NodeInfo| {
            info.node
                .as_ref()
                .and_then(|node| node.metadata.resource_version.clone())
        };
        if uid(info) != uid(&self.newest) && info.node.is_some() {
            self.generation = 0;
        }
        if version(info) != version(&self.newest) || !info.pods.keys().eq(self.newest.pods.keys()) {
            self.generation += 1;
        }
        self.newest = info.clone();
        if self.generation > self.taken || info.node.is_none() {
            (self.taken, self.copy) = (self.generation, info.clone());
        } else if uid(info) != uid(&self.copy) {
            // Counts as reached: the snapshot shows a node that is no more.
            mutant::active("B31");
        }
    }
}
