//! The replica sets as this process last wrote or read them, for as long as the cache shows older ones: nobody shrinks
//! one set because of what another was before he changed it himself, and none is made beside one that is not seen yet.
//! Of a set whose creation was not answered, the name is kept: whether it is there is asked before the next decision.
//!
//! A note ends when the cache has seen everything up to its revision, and never by time: a cache may be behind for
//! longer than any limit, and what was noted still takes up room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use orrery_api::meta::{Object, ObjectKey, is_controlled_by};
use orrery_api::mutant;
use tokio::time::Instant;

/// An API server does not work on a request for longer: a set that is not there then is not made any more.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// What the cache may be behind on.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// The sets, by uid.
    sets: Mutex<BTreeMap<String, Arc<ReplicaSet>>>,
    /// The sets that may be there or come yet.
    unanswered: Mutex<BTreeMap<ObjectKey, Unanswered>>,
}

/// A creation that was not answered.
#[derive(Debug)]
struct Unanswered {
    owner: String,
    since: Instant,
}

impl Written {
    fn sets(&self) -> MutexGuard<'_, BTreeMap<String, Arc<ReplicaSet>>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Unanswered>> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a set as the API server answered it.
    pub(super) fn note(&self, set: Arc<ReplicaSet>) -> Arc<ReplicaSet> {
        self.open().remove(&set.key());
        self.sets().insert(set.uid().to_owned(), set.clone());
        set
    }

    /// Notes that a set of `owner` (a uid) may be there: nobody said whether it was made.
    pub(super) fn note_unanswered(&self, set: ObjectKey, owner: &str) {
        let unanswered = Unanswered {
            owner: owner.to_owned(),
            since: Instant::now(),
        };
        if !mutant::active("O95") {
            self.open().insert(set, unanswered);
        }
    }

    /// The sets of an owner of which nobody knows whether they were made.
    pub(super) fn unanswered(&self, owner: &str) -> Vec<ObjectKey> {
        let open = self.open();
        let own = open.iter().filter(|(_, unanswered)| unanswered.owner == owner);
        own.map(|(set, _)| set.clone()).collect()
    }

    /// The set is not there; it is asked for again as long as its creation may be under way.
    pub(super) fn is_missing(&self, set: &ObjectKey) {
        let mut open = self.open();
        if open
            .get(set)
            .is_some_and(|unanswered| unanswered.since.elapsed() > UNDER_WAY)
        {
            open.remove(set);
        }
    }

    /// The deployment is gone, and nothing of it is asked for any more.
    pub(super) fn forget_owner(&self, owner: &str) {
        self.open().retain(|_, unanswered| unanswered.owner != owner);
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

    #[tokio::test(start_paused = true)]
    async fn a_set_whose_creation_was_not_answered_is_asked_for_until_it_is_found_or_cannot_come_any_more() {
        let (written, web, api) = (
            Written::default(),
            ObjectKey::new("default", "web"),
            ObjectKey::new("default", "api"),
        );
        written.note_unanswered(web.clone(), "owner");
        written.note_unanswered(api.clone(), "owner");
        written.is_missing(&web);
        assert_eq!(written.unanswered("owner"), [api.clone(), web.clone()]);
        assert!(written.unanswered("another").is_empty());
        let mut found = set("new", 8);
        found.metadata.namespace = Some("default".to_owned());
        found.metadata.name = Some("api".to_owned());
        written.note(Arc::new(found));
        assert_eq!(written.unanswered("owner"), std::slice::from_ref(&web));
        tokio::time::sleep(UNDER_WAY * 2).await;
        written.is_missing(&web);
        assert!(written.unanswered("owner").is_empty());
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
