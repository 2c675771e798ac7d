//! What was written: each write with what it says of its object and what it changed, and the objects by what they are.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Index;
use crate::model::ObjectId;
use crate::recording::{Difference, Facts, Verb, What, Written, differences};

/// What is known of a write.
pub(super) struct Write {
    facts: Facts,
    changes: Vec<Difference>,
    weight: u32,
}

impl<'a> Index<'a> {
    /// An object is written. `states` are those that all objects have before.
    pub(super) fn take_write(&mut self, place: usize, written: &Written, states: &mut BTreeMap<ObjectId, Value>) {
        let now: Value = serde_json::from_str(&written.value).unwrap_or_default();
        let facts = Facts::of(&written.value);
        let changes = match (written.verb, states.get(&written.object)) {
            (Verb::Update, Some(then)) => differences(then, &now, false),
            _ => Vec::new(),
        };
        if written.verb == Verb::Delete {
            states.remove(&written.object);
        } else {
            states.insert(written.object.clone(), now);
        }
        self.uids.insert(facts.uid.clone(), written.object.clone());
        for owner in &facts.owners {
            self.owned
                .entry(owner.clone())
                .or_default()
                .insert(written.object.clone());
        }
        self.objects.entry(written.object.clone()).or_default().push(place);
        let weight = weight(written, &changes);
        self.writes.insert(place, Write { facts, changes, weight });
    }

    /// The write at a place.
    pub fn written(&self, place: usize) -> Option<&'a Written> {
        match &self.recording.events.get(place)?.what {
            What::Written(written) => Some(written),
            _ => None,
        }
    }

    /// What a write says of its object.
    pub fn facts(&self, write: usize) -> Option<&Facts> {
        self.writes.get(&write).map(|write| &write.facts)
    }

    /// What a write changed.
    pub fn changes(&self, write: usize) -> &[Difference] {
        self.writes.get(&write).map_or(&[], |write| &write.changes)
    }

    /// How much a write says: 0 a sign of life, 1 a status, 2 a phase or readiness, 3 a wish or an existence.
    pub fn weight(&self, write: usize) -> u32 {
        self.writes.get(&write).map_or(0, |write| write.weight)
    }

    /// All writes.
    pub fn all_writes(&self) -> impl Iterator<Item = usize> + '_ {
        self.writes.keys().copied()
    }

    /// The writes of an object.
    pub fn writes_of(&self, id: &ObjectId) -> &[usize] {
        self.objects.get(id).map_or(&[], Vec::as_slice)
    }

    /// Every object that was ever written.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectId> {
        self.objects.keys()
    }

    /// The last write of an object before a place.
    pub fn last_write(&self, id: &ObjectId, before: usize) -> Option<usize> {
        self.writes_of(id).iter().rev().find(|place| **place < before).copied()
    }

    /// The write that made the state of `id` that was shown at `revision`.
    pub fn write_shown(&self, id: &ObjectId, revision: u64) -> Option<usize> {
        let writes = self.writes_of(id).iter().rev();
        writes
            .copied()
            .find(|place| self.written(*place).is_some_and(|written| written.revision <= revision))
    }

    /// The writes of a revision.
    pub fn writes_at(&self, revision: u64) -> impl Iterator<Item = usize> + '_ {
        self.all_writes()
            .filter(move |place| self.written(*place).is_some_and(|written| written.revision == revision))
    }

    /// The object that has or had a uid.
    pub fn by_uid(&self, uid: &str) -> Option<&ObjectId> {
        self.uids.get(uid).filter(|_| !uid.is_empty())
    }

    /// The pods whose last known address is `ip`, and that were not removed.
    pub fn pods_at(&self, ip: &str) -> impl Iterator<Item = &ObjectId> {
        let pods = self.objects.iter().filter(|(id, _)| &*id.resource == "pods");
        pods.filter(move |(_, writes)| {
            let last = writes.last().copied();
            last.is_some_and(|last| {
                self.facts(last).is_some_and(|facts| facts.ip == ip)
                    && self.written(last).is_some_and(|written| written.verb != Verb::Delete)
            })
        })
        .map(|(id, _)| id)
    }

    /// The endpoint slices of a service.
    pub fn slices_of(&self, service: &ObjectId) -> impl Iterator<Item = &ObjectId> {
        let slices = self
            .objects
            .iter()
            .filter(|(id, _)| &*id.resource == "endpointslices.discovery.k8s.io");
        slices
            .filter(move |(id, writes)| {
                let facts = writes.last().and_then(|last| self.facts(*last));
                id.namespace == service.namespace && facts.is_some_and(|facts| facts.service == service.name)
            })
            .map(|(id, _)| id)
    }

    /// The objects that belong, or belonged, to the owner with `uid`.
    pub fn owned(&self, uid: &str) -> impl Iterator<Item = &ObjectId> {
        self.owned.get(uid).into_iter().flatten()
    }
}

/// How much a write says, see [`Index::weight`].
fn weight(written: &Written, changes: &[Difference]) -> u32 {
    if matches!(&*written.object.resource, "events" | "events.events.k8s.io") {
        return 0;
    }
    if written.verb != Verb::Update {
        return 3;
    }
    let telling = |change: &Difference| {
        let path = change.path.as_str();
        match path {
            "metadata.generation" | "status.observedGeneration" => 1,
            _ if path.starts_with("metadata.annotations") => 2,
            "status.phase" | "status.podIP" => 2,
            _ if path.starts_with("status.conditions[Ready]") && path.ends_with("status") => 2,
            _ if path.starts_with("status.images") => 0,
            _ if path.starts_with("status") => 1,
            _ => 3,
        }
    };
    changes.iter().map(telling).max().unwrap_or(0)
}
