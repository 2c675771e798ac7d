//! The replica sets as this process last wrote or read them, for as long as the cache shows older ones: nobody shrinks
//! one set because of what another was before he changed it himself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use orrery_api::meta::{Object, is_controlled_by};
use tokio::time::Instant;

/// A set that the cache has not shown for so long has come and gone unseen.
const UNSEEN_LIMIT: Duration = Duration::from_secs(30);
/// A cache is not behind for so long: what is noted still is of a set that came and went unseen.
const NOTE_LIMIT: Duration = Duration::from_secs(3600);

/// The sets that the cache may be behind on, by uid.
#[derive(Debug, Default)]
pub(super) struct Written(Mutex<BTreeMap<String, (Arc<ReplicaSet>, Instant)>>);

impl Written {
    fn sets(&self) -> MutexGuard<'_, BTreeMap<String, (Arc<ReplicaSet>, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a set as the API server answered it.
    pub(super) fn note(&self, set: ReplicaSet) -> Arc<ReplicaSet> {
        let set = Arc::new(set);
        self.sets().insert(set.uid().to_owned(), (set.clone(), Instant::now()));
        set
    }

    /// The newer of what the cache shows and what is noted.
    pub(super) fn newer(&self, cached: Arc<ReplicaSet>) -> Arc<ReplicaSet> {
        let mut sets = self.sets();
        match sets.get(cached.uid()) {
            Some((noted, _)) if noted.revision() > cached.revision() => noted.clone(),
            Some(_) => {
                sets.remove(cached.uid());
                cached
            }
            None => cached,
        }
    }

    /// The noted sets of an owner, of which some may not be in the cache yet.
    pub(super) fn unseen(&self, owner: &str) -> Vec<Arc<ReplicaSet>> {
        let mut sets = self.sets();
        sets.retain(|_, (_, since)| since.elapsed() < NOTE_LIMIT);
        let fresh = sets
            .values()
            .filter(|(_, since)| since.elapsed() < UNSEEN_LIMIT)
            .map(|(set, _)| set);
        fresh
            .filter(|set| is_controlled_by(&set.metadata, owner))
            .cloned()
            .collect()
    }

    /// The set is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.sets().remove(uid);
    }
}
