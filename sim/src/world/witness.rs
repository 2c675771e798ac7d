//! The witness: sees every write of the store and whatever links and runtimes tell, keeps what is true, and asks the
//! invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orrery_store::{EventKind, Range, Store, WatchError, Watcher};

use super::World;
use crate::invariants::{Missing, Monitor};
use crate::model::{Asked, Change, Cluster, Item, ObjectId, Seen, noise};
use crate::recording::{Verb, What, Written};
use crate::scenario::{Role, Scenario};

/// See the module.
pub struct Witness {
    inner: Mutex<Inner>,
}

struct Inner {
    monitor: Monitor,
    watcher: Option<Watcher>,
    opened: bool,
    /// The last write that was no heartbeat.
    noise: Option<(Duration, Arc<Change>)>,
    /// Machines that stay broken: what they write, or what is written about them, is no noise.
    left: Vec<String>,
    /// Names that were deleted.
    gone: BTreeSet<ObjectId>,
    /// The uids of controllers whose pods were deleted.
    bereft: BTreeSet<String>,
    /// How often each component of the house has asked something.
    asked: BTreeMap<String, u64>,
}

impl Witness {
    /// A witness of the invariants that the scenario wants.
    pub fn new(scenario: &Scenario) -> Self {
        Witness {
            inner: Mutex::new(Inner {
                monitor: Monitor::new(|id| scenario.expect.invariants.includes(id)),
                watcher: None,
                opened: false,
                noise: None,
                left: Vec::new(),
                gone: BTreeSet::new(),
                bereft: BTreeSet::new(),
                asked: BTreeMap::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a store that was just opened, and compares it with what it had shown before.
    pub fn attach(&self, world: &World, store: &Store) {
        let mut inner = self.lock();
        inner.drain(world);
        let last = inner.monitor.cluster.revision;
        let revision = store.revision();
        if inner.opened {
            let differences = differences(&inner.monitor.cluster, store, last);
            inner.monitor.observe(&Seen::Reopened {
                revision,
                differences: &differences,
            });
        }
        world
            .trace
            .event(world.now(), "store", format_args!("opened at revision {revision}"));
        inner.opened = true;
        inner.watcher = store.watch("", last.min(revision)).ok();
        inner.drain(world);
        inner.conclude(world);
    }

    /// Takes in what happened, after every write that came before it.
    pub fn observe(&self, world: &World, seen: &Seen<'_>) {
        let mut inner = self.lock();
        inner.drain(world);
        world.trace.recorder.seen(world.now(), seen);
        world.triggers.saw(&inner.monitor.cluster, seen, world.now());
        inner.monitor.observe(seen);
        inner.conclude(world);
    }

    /// Takes in a request, and notes the revision that its answer may not be behind.
    pub fn ask(&self, world: &World, mut asked: Asked) -> Asked {
        let mut inner = self.lock();
        inner.drain(world);
        asked.floor = inner.monitor.cluster.revision;
        if let Some(count) = inner.asked.get_mut(&asked.client) {
            *count += 1;
        } else if Role::of(&asked.client).is_some_and(Role::is_of_house) {
            inner.asked.insert(asked.client.clone(), 1);
        }
        inner.monitor.observe(&Seen::Asked(&asked));
        inner.conclude(world);
        asked
    }

    /// Catches up with the store.
    pub fn catch_up(&self, world: &World) {
        let mut inner = self.lock();
        inner.drain(world);
        inner.conclude(world);
    }

    /// Looks at what is true.
    pub fn look<R>(&self, world: &World, look: impl FnOnce(&Cluster) -> R) -> R {
        let mut inner = self.lock();
        inner.drain(world);
        inner.conclude(world);
        look(&inner.monitor.cluster)
    }

    /// What the invariants still miss in the end.
    pub fn missing(&self) -> Missing {
        self.lock().monitor.missing()
    }

    /// Changes what is known beside the store.
    pub fn change(&self, world: &World, change: impl FnOnce(&mut Cluster)) {
        let mut inner = self.lock();
        inner.monitor.cluster.now = world.now();
        change(&mut inner.monitor.cluster);
    }

    /// From now on writes about these machines and their pods are no noise: they are not of the healed core.
    pub fn ignore_noise_of(&self, machines: &[String]) {
        self.lock().left = machines.to_vec();
    }

    /// How often each component of the house has asked something until now.
    pub fn asked(&self) -> BTreeMap<String, u64> {
        self.lock().asked.clone()
    }

    /// When something was last written that was no heartbeat, and what.
    pub fn noise(&self) -> (Duration, String) {
        match &self.lock().noise {
            Some((at, change)) => {
                let verb = if change.after.is_some() { "put" } else { "delete" };
                (*at, format!("{verb} {} at revision {}", change.id, change.revision))
            }
            None => (Duration::ZERO, String::new()),
        }
    }

    /// The names of the features of the run so far, in order.
    pub fn features(&self) -> Vec<String> {
        self.lock().monitor.features.names()
    }

    /// Counts what an answer shows of the unusual.
    pub fn cover(&self, world: &World, asked: &Asked, status: u16) {
        match (status, &asked.method) {
            (409, method) if *method == http::Method::POST => world.coverage.saw("a create found the name taken"),
            (409, _) => world.coverage.saw("a write conflicted"),
            (410, _) => world.coverage.saw("a relist after 410"),
            _ => {}
        }
    }
}

impl Inner {
    fn drain(&mut self, world: &World) {
        self.monitor.cluster.now = world.now();
        let Some(watcher) = &mut self.watcher else { return };
        let events = match watcher.try_next() {
            Ok(events) => events,
            Err(error) => {
                self.watcher = None;
                if error != WatchError::Closed {
                    world.trouble(format!("the witness has lost the store's history: {error}"));
                }
                return;
            }
        };
        for event in events {
            let value = (event.kind == EventKind::Put).then_some(&event.kv.value);
            world.trace.wrote(world.now(), event.revision, &event.kv.key, value);
            let Some(id) = ObjectId::of_key(&event.kv.key) else {
                let there = event.kind == EventKind::Put;
                self.monitor.cluster.take_other(&event.kv.key, there, event.revision);
                continue;
            };
            let (verb, bytes) = match event.kind {
                EventKind::Put => ("put", Some(event.kv.value.clone())),
                EventKind::Delete => ("delete", None),
            };
            world.trace.content(&event.kv.value);
            world
                .trace
                .event(world.now(), "store", format_args!("{} {verb} {id}", event.revision));
            world.trace.recorder.note(world.now(), || {
                let known = self.monitor.cluster.get(&id).is_some();
                What::Written(Written {
                    revision: event.revision,
                    object: id.clone(),
                    verb: match (event.kind, known) {
                        (EventKind::Delete, _) => Verb::Delete,
                        (EventKind::Put, true) => Verb::Update,
                        (EventKind::Put, false) => Verb::Create,
                    },
                    value: String::from_utf8_lossy(&event.kv.value).into_owned(),
                })
            });
            let change = self.monitor.write(id, event.revision, bytes);
            // What this write broke is found before the next is looked at.
            self.conclude(world);
            if !noise::is_heartbeat(&change) && !noise::is_about(&change, &self.left) {
                self.noise = Some((world.now(), change.clone()));
            }
            world.triggers.wrote(&change, world.now());
            self.cover(world, &change);
        }
    }

    fn conclude(&mut self, world: &World) {
        let findings = self.monitor.findings();
        if !findings.is_empty() {
            world.violated(findings);
        }
    }

    fn cover(&mut self, world: &World, change: &Change) {
        let coverage = &world.coverage;
        if let (Some(before), Some(after)) = (&change.before, &change.after)
            && &*change.id.resource == "leases.coordination.k8s.io"
            && change.id.namespace == "kube-system"
            && before.lease_holder() != after.lease_holder()
        {
            coverage.saw("a leader changed");
        }
        let heartbeat = matches!(&*change.id.resource, "leases.coordination.k8s.io" | "events" | "nodes");
        if heartbeat {
            return;
        }
        match (&change.before, &change.after) {
            (None, Some(after)) => {
                if self.gone.remove(&change.id) {
                    coverage.saw("a name was used again");
                }
                if after.pod().is_some() && after.controller_uid().is_some_and(|uid| self.bereft.contains(uid)) {
                    coverage.saw("a pod was replaced");
                }
            }
            (Some(before), after) => {
                if after.is_none() {
                    self.gone.insert(change.id.clone());
                    let owner = before.pod().and_then(|_| before.controller_uid());
                    self.bereft.extend(owner.map(str::to_owned));
                    let owners = before.meta.owner_references.as_deref().unwrap_or_default();
                    if !owners.is_empty()
                        && owners
                            .iter()
                            .all(|owner| self.monitor.cluster.by_uid(&owner.uid).is_none())
                    {
                        coverage.saw("an object was collected after its owner");
                    }
                }
                let finalizers = |item: &Item| item.meta.finalizers.as_ref().map_or(0, Vec::len);
                if after.as_ref().map_or(0, |after| finalizers(after)) < finalizers(before) {
                    coverage.saw("a finalizer was removed");
                }
                let node = before.node_name();
                let ends = !before.is_terminating() && after.as_ref().is_none_or(|after| after.is_terminating());
                if !node.is_empty() && ends {
                    let lost = self
                        .monitor
                        .cluster
                        .find("nodes", "", node)
                        .is_none_or(|node| !node.condition("Ready"));
                    if lost {
                        coverage.saw("a pod moved after node loss");
                    }
                }
                if let (Some(old), Some(new)) =
                    (before.deployment(), after.as_ref().and_then(|after| after.deployment()))
                {
                    let done = |deployment: &k8s_openapi::api::apps::v1::Deployment| {
                        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
                        let status = deployment.status.as_ref();
                        let counts = status.map(|status| [status.updated_replicas, status.available_replicas]);
                        counts.is_some_and(|counts| counts.iter().all(|count| count.unwrap_or(0) == wanted))
                    };
                    if done(new) && !done(old) {
                        coverage.saw("a rollout finished");
                    }
                }
            }
            (None, None) => {}
        }
    }
}

/// How the store differs, at `revision`, from what it had shown.
fn differences(cluster: &Cluster, store: &Store, revision: u64) -> Vec<String> {
    if store.revision() < revision {
        return vec![format!("it had shown revision {revision}")];
    }
    let range = match store.range(Range::prefix("/registry/").at(revision)) {
        Ok(range) => range,
        Err(error) => return vec![format!("its state at revision {revision} cannot be read: {error}")],
    };
    let mut there: BTreeMap<ObjectId, u64> = BTreeMap::new();
    for item in &range.items {
        if let Some(id) = ObjectId::of_key(&item.key) {
            there.insert(id, item.mod_revision);
        }
    }
    let mut differences = Vec::new();
    for item in cluster.everything() {
        match there.remove(&item.id) {
            Some(found) if found == item.revision => {}
            Some(found) => differences.push(format!("{} is at revision {found}, not {}", item.id, item.revision)),
            None => differences.push(format!("{} of revision {} is gone", item.id, item.revision)),
        }
    }
    differences.extend(there.keys().map(|id| format!("{id} is there though it was deleted")));
    differences
}
