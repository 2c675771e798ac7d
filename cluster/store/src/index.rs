//! All versions of all keys since the last compaction, in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::mutant;
use crate::transaction::{Event, EventKind, Key, KeyValue, Revision};

/// Key to versions. Most keys have one version, which is stored in place.
#[derive(Default)]
pub(crate) struct Index {
    keys: BTreeMap<Key, Versions>,
}

struct Versions {
    latest: Version,
    /// Oldest first.
    older: Vec<Version>,
}

enum Version {
    Put(KeyValue),
    Gone(Revision),
}

impl Version {
    fn revision(&self) -> Revision {
        match self {
            Version::Put(kv) => kv.mod_revision,
            Version::Gone(revision) => *revision,
        }
    }

    fn live(&self) -> Option<&KeyValue> {
        match self {
            Version::Put(kv) => Some(kv),
            Version::Gone(_) => None,
        }
    }
}

impl Versions {
    fn at(&self, revision: Revision) -> Option<&KeyValue> {
        if self.latest.revision() <= revision {
            return self.latest.live();
        }
        let newer = self.older.partition_point(|version| version.revision() <= revision);
        self.older[..newer].last()?.live()
    }
}

impl Index {
    /// The current state of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&KeyValue> {
        self.keys.get(key)?.latest.live()
    }

    /// The state of a key at a revision that is not compacted.
    pub(crate) fn get_at(&self, key: &str, revision: Revision) -> Option<&KeyValue> {
        self.keys.get(key)?.at(revision)
    }

    /// The keys within bounds as they are now.
    pub(crate) fn range<'a>(&'a self, bounds: (Bound<&str>, Bound<&str>)) -> impl Iterator<Item = &'a KeyValue> + 'a {
        self.keys
            .range::<str, _>(bounds)
            .filter_map(|(_, versions)| versions.latest.live())
    }

    /// The keys within bounds as they were at a revision that is not compacted.
    pub(crate) fn range_at<'a>(
        &'a self,
        bounds: (Bound<&str>, Bound<&str>),
        revision: Revision,
    ) -> impl Iterator<Item = &'a KeyValue> + 'a {
        self.keys
            .range::<str, _>(bounds)
            .filter_map(move |(_, versions)| versions.at(revision))
    }

    /// Adds the version that an event made.
    pub(crate) fn apply(&mut self, event: &Event) {
        let version = match event.kind {
            EventKind::Put => Version::Put(event.kv.clone()),
            EventKind::Delete => Version::Gone(event.revision),
        };
        match self.keys.get_mut(&event.kv.key) {
            Some(versions) => versions.older.push(std::mem::replace(&mut versions.latest, version)),
            None => {
                self.keys.insert(
                    event.kv.key.clone(),
                    Versions {
                        latest: version,
                        older: Vec::new(),
                    },
                );
            }
        }
    }

    /// Adds a key's state from a snapshot; the key must be new.
    pub(crate) fn insert(&mut self, kv: KeyValue) {
        self.keys.insert(
            kv.key.clone(),
            Versions {
                latest: Version::Put(kv),
                older: Vec::new(),
            },
        );
    }

    /// Drops the versions of `key` that no read at `revision` or later can see.
    pub(crate) fn compact(&mut self, key: &str, revision: Revision) {
        let Some(versions) = self.keys.get_mut(key) else { return };
        if versions.latest.revision() <= revision {
            if versions.latest.live().is_none() {
                self.keys.remove(key);
            } else {
                versions.older = Vec::new();
            }
            return;
        }
        let newer = versions.older.partition_point(|version| version.revision() <= revision);
        if newer > 0 {
            let visible = versions.older[newer - 1].live().is_some() && !mutant::active("O45");
            versions.older.drain(..if visible { newer - 1 } else { newer });
            versions.older.shrink_to_fit();
        }
    }
}
