//! The state of the store and its history, as far back as anybody may still ask.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::item::{Item, ObjectId, resource_of};
use super::seen::Change;
use crate::scenario::Role;

/// So many changes of a resource are kept; a watch that lags further is no longer checked.
const KEPT: usize = 20_000;

/// Where the API server keeps what services hold.
const CLAIMS: &str = "/ranges/";

/// An informer's lag without faults, generously.
const LAG: Duration = Duration::from_secs(10);
/// How long after a fault an informer may still wait before it tries again.
const BACKOFF: Duration = Duration::from_secs(20);
/// So long after its end a fault may excuse an old picture.
const MEMORY: Duration = Duration::from_secs(60);

/// The changes of one resource, oldest first.
#[derive(Debug, Default)]
pub struct History {
    dropped: u64,
    changes: VecDeque<Arc<Change>>,
}

impl History {
    /// The number of the first change after `revision`.
    pub fn after(&self, revision: u64) -> u64 {
        self.dropped + self.changes.partition_point(|change| change.revision <= revision) as u64
    }

    /// The change of a number; an error if it has been forgotten, none if it is yet to come.
    pub fn get(&self, number: u64) -> Result<Option<&Arc<Change>>, Forgotten> {
        let index = number.checked_sub(self.dropped).ok_or(Forgotten)?;
        Ok(self.changes.get(index as usize))
    }

    /// The change at `revision` of the object `name` in `namespace`, if it is remembered.
    pub fn at(&self, revision: u64, namespace: &str, name: &str) -> Option<&Arc<Change>> {
        let start = self.changes.partition_point(|change| change.revision < revision);
        self.changes
            .range(start..)
            .take_while(|change| change.revision == revision)
            .find(|change| change.id.name == name && change.id.namespace == namespace)
    }

    /// The oldest revision that is remembered; 0 when nothing was forgotten.
    pub fn oldest(&self) -> u64 {
        if self.dropped == 0 {
            0
        } else {
            self.changes.front().map_or(u64::MAX, |change| change.revision)
        }
    }
}

/// A change that is no longer remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten;

/// The objects of one resource, by namespace and name.
type Objects = BTreeMap<(String, String), Arc<Item>>;

/// How many objects of a resource were made and removed in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Creates.
    pub creates: u64,
    /// Deletes.
    pub deletes: u64,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} created and {} deleted", self.creates, self.deletes)
    }
}

/// Everything that is known to be true.
#[derive(Debug, Default)]
pub struct Cluster {
    /// Simulated time.
    pub now: Duration,
    /// The last revision seen.
    pub revision: u64,
    objects: BTreeMap<Arc<str>, Objects>,
    histories: BTreeMap<Arc<str>, History>,
    made: BTreeMap<Arc<str>, Made>,
    claims: BTreeSet<String>,
    owned: FxHashMap<String, BTreeSet<ObjectId>>,
    live: FxHashMap<String, ObjectId>,
    bound: BTreeMap<String, String>,
    stalled: BTreeMap<Role, Vec<(Duration, Duration)>>,
    /// Until when processes of a role last stood still.
    paused: BTreeMap<Role, Duration>,
    /// How many faults are in force, and when the last one began or ended.
    in_force: u32,
    disturbed: Option<Duration>,
    healed: bool,
}

impl Cluster {
    /// Takes a write in. `bytes` are the object's, none for a delete.
    pub fn apply(&mut self, id: ObjectId, revision: u64, bytes: Option<bytes::Bytes>) -> Arc<Change> {
        self.revision = self.revision.max(revision);
        let slot = (id.namespace.clone(), id.name.clone());
        let objects = self.objects.entry(id.resource.clone()).or_default();
        let after = bytes.map(|bytes| {
            let mut item = Item::decode(id.clone(), revision, bytes);
            if let Some(before) = objects.get(&slot).filter(|before| before.uid() == item.uid()) {
                item.created = before.created;
            }
            Arc::new(item)
        });
        let before = match &after {
            Some(item) => objects.insert(slot, item.clone()),
            None => objects.remove(&slot),
        };
        let made = self.made.entry(id.resource.clone()).or_default();
        made.creates += u64::from(before.is_none() && after.is_some());
        made.deletes += u64::from(before.is_some() && after.is_none());
        let change = Arc::new(Change {
            revision,
            id,
            before,
            after,
        });
        self.index(&change);
        let history = self.histories.entry(change.id.resource.clone()).or_default();
        history.changes.push_back(change.clone());
        if history.changes.len() > KEPT {
            history.changes.pop_front();
            history.dropped += 1;
        }
        change
    }

    /// Takes in a write of a key that is no object's: whether it is there now.
    pub fn take_other(&mut self, key: &str, there: bool, revision: u64) {
        self.revision = self.revision.max(revision);
        if !key.starts_with(CLAIMS) {
            return;
        }
        if there {
            self.claims.insert(key.to_owned());
        } else {
            self.claims.remove(key);
        }
    }

    /// The keys by which services hold their addresses and ports.
    pub fn claims(&self) -> &BTreeSet<String> {
        &self.claims
    }

    fn index(&mut self, change: &Change) {
        if let Some(before) = &change.before {
            if let Some(owner) = before.controller_uid()
                && let Some(owned) = self.owned.get_mut(owner)
            {
                owned.remove(&change.id);
                if owned.is_empty() {
                    self.owned.remove(owner);
                }
            }
            self.live.remove(before.uid());
        }
        if let Some(after) = &change.after {
            if let Some(owner) = after.controller_uid() {
                self.owned
                    .entry(owner.to_owned())
                    .or_default()
                    .insert(change.id.clone());
            }
            self.live.insert(after.uid().to_owned(), change.id.clone());
            let node = after.node_name();
            if !node.is_empty() && !self.bound.contains_key(after.uid()) {
                self.bound.insert(after.uid().to_owned(), node.to_owned());
            }
        }
    }

    /// The object `id`.
    pub fn get(&self, id: &ObjectId) -> Option<&Arc<Item>> {
        self.objects
            .get(&id.resource)?
            .get(&(id.namespace.clone(), id.name.clone()))
    }

    /// The object of a resource by namespace and name.
    pub fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<&Arc<Item>> {
        self.objects
            .get(resource)?
            .get(&(namespace.to_owned(), name.to_owned()))
    }

    /// All objects of a resource, in the order of their keys.
    pub fn all(&self, resource: &str) -> impl Iterator<Item = &Arc<Item>> + use<'_> {
        self.objects
            .get(resource)
            .into_iter()
            .flat_map(|objects| objects.values())
    }

    /// All objects of the kind of `K`, in the order of their keys.
    pub fn all_of<K: k8s_openapi::Resource>(&self) -> impl Iterator<Item = &Arc<Item>> {
        self.all(&resource_of::<K>())
    }

    /// How many objects of each resource have been made and removed.
    pub fn made(&self) -> impl Iterator<Item = (&str, Made)> {
        self.made.iter().map(|(resource, made)| (&**resource, *made))
    }

    /// All objects of all resources.
    pub fn everything(&self) -> impl Iterator<Item = &Arc<Item>> {
        self.objects.values().flat_map(|objects| objects.values())
    }

    /// The object with `uid`, if it still is.
    pub fn by_uid(&self, uid: &str) -> Option<&Arc<Item>> {
        self.get(self.live.get(uid)?)
    }

    /// What the owner with `uid` controls.
    pub fn owned(&self, uid: &str) -> impl Iterator<Item = &Arc<Item>> {
        self.owned.get(uid).into_iter().flatten().filter_map(|id| self.get(id))
    }

    /// The node that the pod with `uid` is or was bound to.
    pub fn node_of(&self, uid: &str) -> Option<&str> {
        self.bound.get(uid).map(String::as_str)
    }

    /// The changes of a resource.
    pub fn history(&self, resource: &str) -> Option<&History> {
        self.histories.get(resource)
    }

    /// A fault keeps processes of `role` from seeing or acting, between these moments.
    pub fn stall(&mut self, role: Role, from: Duration, until: Duration) {
        let stalls = self.stalled.entry(role).or_default();
        stalls.retain(|(_, until)| *until + MEMORY > from);
        stalls.push((from, until));
    }

    /// Whether a fault kept processes of `role` from acting lately: what they do now may rest on an old picture.
    pub fn was_stalled(&self, role: Role) -> bool {
        self.recent_stalls(role).next().is_some()
    }

    /// How old the picture may lawfully be that processes of `role` act on: an informer's lag without faults,
    /// generously, and for a while after faults as long as they held it up.
    pub fn lag(&self, role: Role) -> Duration {
        let held: Duration = self
            .recent_stalls(role)
            .map(|(from, until)| until.saturating_sub(*from))
            .sum();
        let backoff = if held.is_zero() { Duration::ZERO } else { BACKOFF };
        LAG + held + backoff
    }

    fn recent_stalls(&self, role: Role) -> impl Iterator<Item = &(Duration, Duration)> {
        let stalls = self.stalled.get(&role).into_iter().flatten();
        stalls.filter(|(from, until)| *until + MEMORY > self.now && *from <= self.now)
    }

    /// Processes of `role` stand still until then.
    pub fn pause(&mut self, role: Role, until: Duration) {
        let last = self.paused.entry(role).or_default();
        *last = until.max(*last);
    }

    /// Whether processes of `role` stood still lately: what reached them meanwhile they may have lost with its connection.
    pub fn was_paused(&self, role: Role) -> bool {
        self.paused.get(&role).is_some_and(|until| *until + MEMORY > self.now)
    }

    /// A fault begins to strike.
    pub fn fault_begins(&mut self) {
        self.in_force += 1;
        self.disturbed = Some(self.now);
    }

    /// A fault is over.
    pub fn fault_ends(&mut self) {
        self.in_force = self.in_force.saturating_sub(1);
        self.disturbed = Some(self.now);
    }

    /// Whether a fault is in force, or was within `memory`.
    pub fn is_disturbed(&self, memory: Duration) -> bool {
        self.in_force > 0 || self.disturbed.is_some_and(|at| at + memory > self.now)
    }

    /// The chaos is over.
    pub fn heal(&mut self) {
        self.healed = true;
        self.in_force = 0;
        self.disturbed = Some(self.now);
    }

    /// Whether the chaos is over.
    pub fn is_healed(&self) -> bool {
        self.healed
    }
}
