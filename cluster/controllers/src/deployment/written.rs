//! The replica sets as this process last wrote or read them, for as long as the cache shows older ones: nobody shrinks
//! one set because of what another was before he changed it himself, and none is made beside one that is not seen yet.
//!
//! A note ends when the cache has seen everything up to its revision, and never by time: a cache may be behind for
//! longer than any limit, and what was noted still takes up room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::apps::v1::ReplicaSet;
use orrery_api::meta::{Object, is_controlled_by};

/// The sets that the cache may be behind on, by uid.
#[derive(Debug, Default)]
pub(super) struct Written(Mutex<BTreeMap<String, Arc<ReplicaSet>>>);

impl Written {
    fn sets(&self) -> MutexGuard<'_, BTreeMap<String, Arc<ReplicaSet>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a set as the API server answered it.
    pub(super) fn note(&self, set: Arc<ReplicaSet>) -> Arc<ReplicaSet> {
        self.sets().insert(set.uid().to_owned(), set.clone());
        set
    }

    /// The newer of what the cache shows and what is noted.
    pub(super) fn newer(&self, cached: Arc<ReplicaSet>) -> Arc<ReplicaSet> {
        let mut sets = self.sets();
        match sets.get(cached.uid()) {
            Some(noted) if noted.revision() > cached.revision() => noted.clone(),
            Some(_) => {
                sets.remove(cached.uid());
                cached
            }
            None => cached,
        }
    }

    /// The noted sets of an owner that a cache cannot show which has seen everything up to the revision `seen`.
    pub(super) fn unseen(&self, owner: &str, seen: u64) -> Vec<Arc<ReplicaSet>> {
        let mut sets = self.sets();
        sets.retain(|_, set| set.revision() > seen);
        sets.values()
            .filter(|set| is_controlled_by(&set.metadata, owner))
            .cloned()
            .collect()
    }

    /// The set is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.sets().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

    use super::*;

    fn set(uid: &str, revision: u64) -> ReplicaSet {
        let owner = OwnerReference {
            uid: "owner".to_owned(),
            controller: Some(true),
            ..OwnerReference::default()
        };
        ReplicaSet {
            metadata: ObjectMeta {
                uid: Some(uid.to_owned()),
                resource_version: Some(revision.to_string()),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            ..ReplicaSet::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_counts_until_the_cache_has_seen_its_revision_however_long_that_takes() {
        let written = Written::default();
        written.note(Arc::new(set("new", 8)));
        tokio::time::sleep(std::time::Duration::from_secs(86_400)).await;
        assert_eq!(written.unseen("owner", 7).len(), 1);
        assert_eq!(written.unseen("another", 7).len(), 0);
        assert_eq!(written.unseen("owner", 8).len(), 0);
    }

    #[test]
    fn the_newer_of_note_and_cache_is_shown() {
        let written = Written::default();
        written.note(Arc::new(set("web", 8)));
        assert_eq!(written.newer(Arc::new(set("web", 7))).revision(), 8);
        assert_eq!(written.newer(Arc::new(set("web", 9))).revision(), 9);
        assert_eq!(written.newer(Arc::new(set("web", 7))).revision(), 7);
    }
}
