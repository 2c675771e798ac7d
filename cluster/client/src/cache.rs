//! What an informer knows: the objects of a kind, indexed, as of one revision.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use orrery_api::meta::ObjectKey;
use orrery_api::mutant;
use tokio::sync::watch;

use crate::api::Resource;

/// How a cache changed.
#[derive(Debug, Clone)]
pub enum Change<K> {
    /// The object is new.
    Added(Arc<K>),
    /// The object changed.
    Updated {
        /// As it was.
        old: Arc<K>,
        /// As it is.
        new: Arc<K>,
    },
    /// The object is gone; as it was last seen.
    Deleted(Arc<K>),
}

impl<K: Resource> Change<K> {
    /// The object as it is, or was last.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Change::Added(object) | Change::Updated { new: object, .. } | Change::Deleted(object) => object,
        }
    }

    /// The object's key.
    pub fn key(&self) -> ObjectKey {
        self.object().key()
    }
}

/// Names the values under which an object is found.
pub(crate) type IndexFunction<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

struct Index<K> {
    name: &'static str,
    function: IndexFunction<K>,
    objects: BTreeMap<String, BTreeMap<ObjectKey, Arc<K>>>,
}

struct State<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    indexes: Vec<Index<K>>,
    revision: u64,
}

/// The objects of a kind as an informer last saw them. Clones share them; reading never waits for the network.
pub struct Cache<K> {
    state: Arc<RwLock<State<K>>>,
    synced: Arc<watch::Sender<bool>>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Cache {
            state: self.state.clone(),
            synced: self.synced.clone(),
        }
    }
}

impl<K: Resource> Cache<K> {
    pub(crate) fn new() -> Self {
        let state = State {
            objects: BTreeMap::new(),
            indexes: Vec::new(),
            revision: 0,
        };
        Cache {
            state: Arc::new(RwLock::new(state)),
            synced: Arc::new(watch::Sender::new(false)),
        }
    }

    fn read<R>(&self, read: impl FnOnce(&State<K>) -> R) -> R {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<R>(&self, write: impl FnOnce(&mut State<K>) -> R) -> R {
        write(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn add_index(&self, name: &'static str, function: IndexFunction<K>) {
        self.write(|state| {
            state.indexes.push(Index {
                name,
                function,
                objects: BTreeMap::new(),
            })
        });
    }

    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.read(|state| state.objects.get(key).cloned())
    }

    /// All objects, ordered by key.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.read(|state| state.objects.values().cloned().collect())
    }

    /// The objects of a namespace, ordered by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = ObjectKey::new(namespace, "");
        self.read(|state| {
            let from = state.objects.range(first..);
            from.take_while(|(key, _)| key.namespace == namespace)
                .map(|(_, object)| object.clone())
                .collect()
        })
    }

    /// The objects that the index `name` files under `value`, ordered by key. An index nobody made finds nothing.
    pub fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        self.read(|state| {
            let index = state.indexes.iter().find(|index| index.name == name);
            let found = index.and_then(|index| index.objects.get(value));
            found.into_iter().flat_map(BTreeMap::values).cloned().collect()
        })
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.read(|state| state.objects.len())
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The revision up to which the cache has seen everything.
    pub fn revision(&self) -> u64 {
        self.read(|state| state.revision)
    }

    /// Whether the first list has arrived, and all who are told of changes know of it.
    pub fn has_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits until the first list has arrived, and all who are told of changes know of it: as long as the server stays
    /// away.
    pub async fn wait_synced(&self) {
        let mut receiver = self.synced.subscribe();
        // The sender lives in `self`, so the wait only ends with the list.
        let _ = receiver.wait_for(|synced| *synced).await;
    }

    /// A whole list has been taken, and all who are told of changes know of it.
    pub(crate) fn set_synced(&self) {
        self.synced.send_replace(true);
    }

    /// Takes a whole list; returns what it changes.
    pub(crate) fn replace(&self, objects: Vec<Arc<K>>, revision: u64) -> Vec<Change<K>> {
        let mut fresh: BTreeMap<ObjectKey, Arc<K>> = objects.into_iter().map(|object| (object.key(), object)).collect();
        self.write(|state| {
            let gone: Vec<ObjectKey> = state
                .objects
                .keys()
                .filter(|key| !fresh.contains_key(key))
                .cloned()
                .collect();
            let mut changes: Vec<Change<K>> = gone
                .iter()
                .filter_map(|key| state.remove(key))
                .filter(|_| !mutant::active("O34"))
                .map(Change::Deleted)
                .collect();
            while let Some((key, object)) = fresh.pop_first() {
                let same = state.objects.get(&key).is_some_and(|old| {
                    old.uid() == object.uid() && old.metadata().resource_version == object.metadata().resource_version
                });
                if !same {
                    state.put(key, object, &mut changes);
                }
            }
            state.revision = state.revision.max(revision);
            if mutant::is_on("B02") {
                state.revision = revision;
            }
            changes
        })
    }

    /// Takes one object's new state; returns what it changes.
    pub(crate) fn apply(&self, object: Arc<K>) -> Vec<Change<K>> {
        self.write(|state| {
            state.revision = state.revision.max(object.revision());
            let mut changes = Vec::new();
            state.put(object.key(), object, &mut changes);
            changes
        })
    }

    /// Takes one object's end; returns what it changes.
    pub(crate) fn remove(&self, object: &K) -> Vec<Change<K>> {
        self.write(|state| {
            state.revision = state.revision.max(object.revision());
            state.remove(&object.key()).map(Change::Deleted).into_iter().collect()
        })
    }

    /// Everything up to `revision` has been seen.
    pub(crate) fn advance(&self, revision: u64) {
        self.write(|state| state.revision = state.revision.max(revision));
    }
}

impl<K: Resource> State<K> {
    fn put(&mut self, key: ObjectKey, object: Arc<K>, changes: &mut Vec<Change<K>>) {
        match self.remove(&key) {
            // A delete and a create that were conflated into one step are told apart by the uid.
            Some(old) if old.uid() != object.uid() => {
                changes.push(Change::Deleted(old));
                changes.push(Change::Added(object.clone()));
            }
            Some(old) => changes.push(Change::Updated {
                old,
                new: object.clone(),
            }),
            None => changes.push(Change::Added(object.clone())),
        }
        for index in &mut self.indexes {
            for value in (index.function)(&object) {
                let objects = index.objects.entry(value).or_default();
                objects.insert(key.clone(), object.clone());
            }
        }
        self.objects.insert(key, object);
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Arc<K>> {
        let old = self.objects.remove(key)?;
        for index in &mut self.indexes {
            for value in (index.function)(&old) {
                if let Some(objects) = index.objects.get_mut(&value) {
                    objects.remove(key);
                    if objects.is_empty() {
                        index.objects.remove(&value);
                    }
                }
            }
        }
        Some(old)
    }
}
