//! The state of the store and its history, as far back as anybody may still ask.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::jiff::Timestamp;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::disturbance::{Disturbances, Reach};
use super::holdups::Holdups;
use super::item::{Item, ObjectId, resource_of};
use super::seen::{Change, Selection};
use crate::scenario::Role;

/// So many changes of a resource are kept; a watch that lags further is no longer checked.
const KEPT: usize = 20_000;

const PODS: &str = "pods";
const NODES: &str = "nodes";
const SERVICES: &str = "services";

/// Where the API server keeps what services hold.
const CLAIMS: &str = "/ranges/";

/// An informer's lag without faults, generously.
const LAG: Duration = Duration::from_secs(10);
/// So many messages lie between a change and the last of what is done about it.
const MESSAGES: u32 = 6;
/// How long after a fault an informer may still wait before it tries again.
const BACKOFF: Duration = Duration::from_secs(20);
/// So long a request waits for its answer, though the fault that lost it is over.
const DEADLINE: Duration = Duration::from_secs(30);

/// The changes of one resource, oldest first.
#[derive(Debug, Default)]
pub struct History {
    dropped: u64,
    changes: VecDeque<Arc<Change>>,
    /// The numbers of the changes by what watches of one value select: there are many such watches, and each is about
    /// few of the changes.
    routes: FxHashMap<Route, VecDeque<u64>>,
}

impl History {
    fn push(&mut self, change: Arc<Change>) {
        let number = self.dropped + self.changes.len() as u64;
        for route in routes(&change) {
            self.routes.entry(route).or_default().push_back(number);
        }
        self.changes.push_back(change);
        if self.changes.len() <= KEPT {
            return;
        }
        if let Some(oldest) = self.changes.pop_front() {
            self.dropped += 1;
            for route in routes(&oldest) {
                if let Some(numbers) = self.routes.get_mut(&route) {
                    numbers.pop_front();
                    if numbers.is_empty() {
                        self.routes.remove(&route);
                    }
                }
            }
        }
    }

    /// The number of the first change from `number` on that may concern `selection`; of one that is yet to come if
    /// there is none. An error if what lies between may have been forgotten.
    pub fn next(&self, selection: &Selection, number: u64) -> Result<u64, Forgotten> {
        if number < self.dropped {
            return Err(Forgotten);
        }
        let end = self.dropped + self.changes.len() as u64;
        let Some(route) = Route::of(selection) else {
            return Ok(number.min(end));
        };
        let numbers = self.routes.get(&route);
        let next = numbers.and_then(|numbers| numbers.get(numbers.partition_point(|own| *own < number)));
        Ok(next.copied().unwrap_or(end))
    }

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

/// One value of a field that watches select by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Route {
    /// Pods of a node.
    Node(String),
    /// Objects of a name.
    Name(String),
}

impl Route {
    /// What all changes have that `selection` selects, if it is one of these.
    fn of(selection: &Selection) -> Option<Route> {
        let fields = selection.fields.as_ref()?;
        match &*selection.resource {
            PODS => Some(Route::Node(fields.exact_value("spec.nodeName")?.to_owned())),
            NODES => Some(Route::Name(fields.exact_value("metadata.name")?.to_owned())),
            _ => None,
        }
    }
}

/// The routes that a change is on: that of before and that of after.
fn routes(change: &Change) -> Vec<Route> {
    match &*change.id.resource {
        NODES => vec![Route::Name(change.id.name.clone())],
        PODS => {
            let nodes = [&change.before, &change.after].map(|item| item.as_ref().map(|item| item.node_name()));
            let mut routes: Vec<Route> = Vec::new();
            for node in nodes.into_iter().flatten() {
                let route = Route::Node(node.to_owned());
                if !routes.contains(&route) {
                    routes.push(route);
                }
            }
            routes
        }
        _ => Vec::new(),
    }
}

/// A change that is no longer remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten;

fn owner_of(item: Option<&Item>) -> &str {
    item.and_then(Item::controller_uid).unwrap_or_default()
}

fn join(index: &mut FxHashMap<String, BTreeSet<ObjectId>>, value: &str, id: &ObjectId) {
    if value.is_empty() {
        return;
    }
    match index.get_mut(value) {
        Some(ids) => {
            ids.insert(id.clone());
        }
        None => {
            index.insert(value.to_owned(), BTreeSet::from([id.clone()]));
        }
    }
}

fn leave(index: &mut FxHashMap<String, BTreeSet<ObjectId>>, value: &str, id: &ObjectId) {
    if let Some(ids) = index.get_mut(value) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(value);
        }
    }
}

/// The objects of one resource, by namespace and name.
#[derive(Debug, Default)]
struct Objects(BTreeMap<String, BTreeMap<String, Arc<Item>>>);

impl Objects {
    fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Item>> {
        self.0.get(namespace)?.get(name)
    }

    fn insert(&mut self, item: Arc<Item>) -> Option<Arc<Item>> {
        let name = item.id.name.clone();
        match self.0.get_mut(&item.id.namespace) {
            Some(objects) => objects.insert(name, item),
            None => {
                let namespace = item.id.namespace.clone();
                self.0.insert(namespace, BTreeMap::from([(name, item)]));
                None
            }
        }
    }

    fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<Item>> {
        let objects = self.0.get_mut(namespace)?;
        let removed = objects.remove(name);
        if objects.is_empty() {
            self.0.remove(namespace);
        }
        removed
    }

    /// All of them, by namespace and name.
    fn values(&self) -> impl Iterator<Item = &Arc<Item>> {
        self.0.values().flat_map(BTreeMap::values)
    }
}

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
    /// What right clocks show at the beginning.
    pub epoch: Timestamp,
    /// How long any message may take in this run, as long as no fault holds it up.
    pub lateness: Duration,
    /// The last revision seen.
    pub revision: u64,
    objects: BTreeMap<Arc<str>, Objects>,
    histories: BTreeMap<Arc<str>, History>,
    made: BTreeMap<Arc<str>, Made>,
    claims: BTreeSet<String>,
    owned: FxHashMap<String, BTreeSet<ObjectId>>,
    /// How many live pods an owner controls.
    live_pods: FxHashMap<String, usize>,
    /// Which pods are bound to a node now.
    on_node: FxHashMap<String, BTreeSet<ObjectId>>,
    /// When a service, or a key that one holds, was last written.
    claimed: u64,
    live: FxHashMap<String, ObjectId>,
    bound: BTreeMap<String, String>,
    stalled: BTreeMap<Role, Holdups>,
    /// When processes stood still, by their names.
    paused: BTreeMap<String, Holdups>,
    disturbances: Disturbances,
    /// How many clocks are wrong, and when the last one became wrong or right.
    wrong_clocks: u32,
    clocks_erred: Option<Duration>,
    /// How far a fault has compacted the history.
    compacted: u64,
    healed: bool,
}

impl Cluster {
    /// Takes a write in. `bytes` are the object's, none for a delete.
    pub fn apply(&mut self, id: ObjectId, revision: u64, bytes: Option<bytes::Bytes>) -> Arc<Change> {
        self.revision = self.revision.max(revision);
        let objects = self.objects.entry(id.resource.clone()).or_default();
        let after = bytes.map(|bytes| {
            let mut item = Item::decode(id.clone(), revision, bytes);
            let before = objects.get(&id.namespace, &id.name);
            if let Some(before) = before.filter(|before| before.uid() == item.uid()) {
                item.created = before.created;
            }
            Arc::new(item)
        });
        let before = match &after {
            Some(item) => objects.insert(item.clone()),
            None => objects.remove(&id.namespace, &id.name),
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
        history.push(change.clone());
        change
    }

    /// Takes in a write of a key that is no object's: whether it is there now.
    pub fn take_other(&mut self, key: &str, there: bool, revision: u64) {
        self.revision = self.revision.max(revision);
        if !key.starts_with(CLAIMS) {
            return;
        }
        self.claimed = revision;
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
        if &*change.id.resource == SERVICES {
            self.claimed = change.revision;
        }
        let (before, after) = (change.before.as_deref(), change.after.as_deref());
        let (old, new) = (owner_of(before), owner_of(after));
        if old != new {
            leave(&mut self.owned, old, &change.id);
            join(&mut self.owned, new, &change.id);
        }
        let is_live = |item: Option<&Item>| item.is_some_and(Item::is_live_pod);
        if (is_live(before), old) != (is_live(after), new) {
            if is_live(before)
                && let Some(count) = self.live_pods.get_mut(old)
            {
                *count -= 1;
                if *count == 0 {
                    self.live_pods.remove(old);
                }
            }
            if is_live(after) && !new.is_empty() {
                *self.live_pods.entry(new.to_owned()).or_default() += 1;
            }
        }
        let same = before.is_some() && after.is_some() && before.map(Item::uid) == after.map(Item::uid);
        if let Some(before) = before.filter(|_| !same) {
            self.live.remove(before.uid());
        }
        if let Some(after) = after.filter(|_| !same) {
            self.live.insert(after.uid().to_owned(), change.id.clone());
        }
        let (old, new) = (before.map_or("", Item::node_name), after.map_or("", Item::node_name));
        if old != new {
            leave(&mut self.on_node, old, &change.id);
            join(&mut self.on_node, new, &change.id);
        }
        if let Some(after) = after.filter(|after| !new.is_empty() && !self.bound.contains_key(after.uid())) {
            self.bound.insert(after.uid().to_owned(), new.to_owned());
        }
    }

    /// The object `id`.
    pub fn get(&self, id: &ObjectId) -> Option<&Arc<Item>> {
        self.objects.get(&id.resource)?.get(&id.namespace, &id.name)
    }

    /// The object of a resource by namespace and name.
    pub fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<&Arc<Item>> {
        self.objects.get(resource)?.get(namespace, name)
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

    /// The endpoint slices of a service, whoever made them: by their label, as proxies find them.
    pub fn slices_of<'a>(&'a self, service: &'a Item) -> impl Iterator<Item = &'a Item> {
        let slices = self.all("endpointslices.discovery.k8s.io").map(|slice| &**slice);
        slices.filter(|slice| {
            slice.id.namespace == service.id.namespace && slice.service_name() == Some(&service.id.name)
        })
    }

    /// The service of an endpoint slice.
    pub fn service_of(&self, slice: &Item) -> Option<&Arc<Item>> {
        self.find("services", &slice.id.namespace, slice.service_name()?)
    }

    /// All objects of all resources.
    pub fn everything(&self) -> impl Iterator<Item = &Arc<Item>> {
        self.objects.values().flat_map(|objects| objects.values())
    }

    /// The object with `uid`, if it still is.
    pub fn by_uid(&self, uid: &str) -> Option<&Arc<Item>> {
        self.get(self.live.get(uid)?)
    }

    /// The pod with `uid` and its spec, if it still is.
    pub fn pod_by_uid(&self, uid: &str) -> Option<(&Arc<Item>, &PodSpec)> {
        let item = self.by_uid(uid)?;
        Some((item, item.pod()?.spec.as_ref()?))
    }

    /// What the owner with `uid` controls.
    pub fn owned(&self, uid: &str) -> impl Iterator<Item = &Arc<Item>> {
        self.owned.get(uid).into_iter().flatten().filter_map(|id| self.get(id))
    }

    /// How many live pods the owner with `uid` controls.
    pub fn live_pods_of(&self, uid: &str) -> usize {
        self.live_pods.get(uid).copied().unwrap_or(0)
    }

    /// The pods that are bound to a node, in the order of their keys.
    pub fn pods_on(&self, node: &str) -> impl Iterator<Item = &Arc<Item>> {
        self.on_node
            .get(node)
            .into_iter()
            .flatten()
            .filter_map(|id| self.get(id))
    }

    /// The revision at which a service, or a key that one holds, was last written.
    pub fn claimed_at(&self) -> u64 {
        self.claimed
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
        self.stall_with_patience(role, from, until, DEADLINE);
    }

    /// As [`stall`](Self::stall), where those who were caught may wait for `patience` when the fault is over.
    pub fn stall_with_patience(&mut self, role: Role, from: Duration, until: Duration, patience: Duration) {
        self.stalled.entry(role).or_default().add(from, until, patience);
    }

    /// What has kept processes of `role` from acting since `from` is over.
    pub fn stall_ends(&mut self, role: Role, from: Duration, now: Duration) {
        if let Some(stalls) = self.stalled.get_mut(&role) {
            stalls.end(from, now);
        }
    }

    /// Whether a fault kept processes of `role` from acting lately: what they do now may rest on an old picture.
    pub fn was_stalled(&self, role: Role) -> bool {
        self.stalled.get(&role).is_some_and(|stalls| stalls.any(self.now))
    }

    /// How old the picture may lawfully be that processes of `role` act on: an informer's lag without faults,
    /// generously, and for a while after faults as long as they held it up.
    pub fn lag(&self, role: Role) -> Duration {
        let stalls = self.stalled.get(&role).filter(|stalls| stalls.any(self.now));
        let held = stalls.map_or(Duration::ZERO, |stalls| stalls.length(self.now) + BACKOFF);
        // A watch tells, and a controller asks a few times before it has done all of one plan.
        LAG + self.lateness * MESSAGES + held
    }

    /// A process stands still from now on until then.
    pub fn pause(&mut self, process: &str, until: Duration) {
        let pauses = self.paused.entry(process.to_owned()).or_default();
        pauses.add(self.now, until, Duration::ZERO);
    }

    /// A process that has stood still since `from` goes on.
    pub fn pause_ends(&mut self, process: &str, from: Duration) {
        if let Some(pauses) = self.paused.get_mut(process) {
            pauses.end(from, self.now);
        }
    }

    /// Whether a process stood still lately: what reached it meanwhile it may have lost with its connection.
    pub fn was_paused(&self, process: &str) -> bool {
        self.paused.get(process).is_some_and(|pauses| pauses.any(self.now))
    }

    /// A fault strikes.
    pub fn fault_begins(&mut self, reach: &Reach) {
        self.disturbances.begin(reach, self.now);
    }

    /// A fault is over.
    pub fn fault_ends(&mut self, reach: &Reach) {
        self.disturbances.end(reach, self.now);
    }

    /// Whether a fault is in force anywhere, or was within `memory`.
    pub fn is_disturbed(&self, memory: Duration) -> bool {
        self.disturbances.is_anywhere(memory, self.now)
    }

    /// Whether a fault that reaches `machine` is in force, or was within `memory`.
    pub fn is_disturbed_on(&self, machine: &str, memory: Duration) -> bool {
        self.disturbances.is_on(machine, memory, self.now)
    }

    /// Whether a fault that may disturb everybody is in force, or was within `memory`: one of the control plane, for
    /// example, and none of a node alone.
    pub fn is_disturbed_everywhere(&self, memory: Duration) -> bool {
        self.disturbances.is_everywhere(memory, self.now)
    }

    /// A machine's clock is put wrong.
    pub fn clock_errs(&mut self) {
        self.wrong_clocks += 1;
        self.clocks_erred = Some(self.now);
    }

    /// A clock is right again.
    pub fn clock_is_right(&mut self) {
        self.wrong_clocks = self.wrong_clocks.saturating_sub(1);
        self.clocks_erred = Some(self.now);
    }

    /// Whether a machine's clock is wrong, or was within `memory`: objects may bear stamps of no moment that was.
    pub fn is_clock_wrong(&self, memory: Duration) -> bool {
        self.wrong_clocks > 0 || self.clocks_erred.is_some_and(|at| at + memory > self.now)
    }

    /// A fault compacts the history as far as `revision`.
    pub fn compacts(&mut self, revision: u64) {
        self.compacted = self.compacted.max(revision);
    }

    /// How far faults have compacted the history; 0 if none has.
    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    /// The simulated time that a right clock's stamp means; zero if it is of before the beginning.
    pub fn moment(&self, stamp: Timestamp) -> Duration {
        Duration::try_from(stamp.duration_since(self.epoch)).unwrap_or(Duration::ZERO)
    }

    /// The chaos is over; `disturbs` says whether a part of the control plane stays broken.
    pub fn heal(&mut self, disturbs: bool) {
        self.healed = true;
        self.disturbances.heal(disturbs, self.now);
        let held_up = self.stalled.values_mut().chain(self.paused.values_mut());
        held_up.for_each(|holdups| holdups.heal(self.now));
        if self.wrong_clocks > 0 {
            self.wrong_clocks = 0;
            self.clocks_erred = Some(self.now);
        }
    }

    /// Whether the chaos is over.
    pub fn is_healed(&self) -> bool {
        self.healed
    }
}
