//! What a replica set's controller has asked for and not yet seen: creates by name, deletes by uid.
//!
//! Kubernetes counts expected events and lets the count expire after five minutes; a cache that is stale for longer
//! then gets a second full set of pods (kubernetes#129795). Here nothing expires. A pod is named before it is asked
//! for, so that a create whose answer was lost can be repeated under the same name without ever making two, and an
//! expectation that stays open is settled by looking at the one pod it is about, in the API server and not in the
//! cache.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orrery_api::mutant;
use tokio::time::Instant;

/// How long an expectation may be open before the API server is asked what became of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than any run: for mutant B41.
const NEVER: Duration = Duration::from_secs(86_400);
/// After so long Kubernetes gives expectations up, and mutant B40 with it.
const TIMEOUT: Duration = Duration::from_secs(300);
/// How long after a lost answer the API server is asked.
pub(crate) const LOST_ANSWER_PATIENCE: Duration = Duration::from_secs(1);

/// What is known about the answer to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// None yet.
    Waiting,
    /// It happened.
    Done,
    /// It may have happened, now or later.
    Lost,
}

/// A write that the cache does not show yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    /// What is known about its answer.
    pub answer: Answer,
    /// When it was asked for, by the last request that may yet be carried out.
    pub asked: Instant,
    /// When the answer became known, or was last looked into.
    pub since: Instant,
    /// Of a create, the revision at which its pod is known to be there: one of that name which is seen to be older is
    /// another, that was there before it. 0 as long as none is known.
    pub revision: u64,
}

impl Open {
    fn new(answer: Answer) -> Self {
        let now = Instant::now();
        Open {
            answer,
            asked: now,
            since: now,
            revision: 0,
        }
    }

    /// Whether a pod of the create's name, seen at `revision`, is its pod.
    pub(crate) fn is_of(&self, revision: u64) -> bool {
        revision >= self.revision || mutant::active("O96")
    }

    /// When it should be looked at in the API server.
    pub(crate) fn due(&self) -> Instant {
        self.since
            + match self.answer {
                Answer::Lost => LOST_ANSWER_PATIENCE,
                Answer::Waiting if mutant::is_on("B41") => NEVER,
                Answer::Waiting | Answer::Done => PATIENCE,
            }
    }
}

/// The open writes of one replica set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expected {
    /// Creates, by the pod's name.
    pub creates: BTreeMap<String, Open>,
    /// Deletes, by the pod's uid; the name is kept to look it up.
    pub deletes: BTreeMap<String, (String, Open)>,
    /// Whether the set's pods have been counted in the API server, and not only in the cache, in this process's life.
    pub counted: bool,
}

/// The open writes of all replica sets, by the set's uid.
#[derive(Debug, Default)]
pub(crate) struct Expectations(Mutex<BTreeMap<String, Expected>>);

impl Expectations {
    fn sets(&self) -> MutexGuard<'_, BTreeMap<String, Expected>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of what is open for the set.
    pub(crate) fn of(&self, set: &str) -> Expected {
        let mut expected = self.sets().get(set).cloned().unwrap_or_default();
        let lives = |open: &Open| open.asked.elapsed() < TIMEOUT || !mutant::active("B40");
        expected.creates.retain(|_, open| lives(open));
        expected.deletes.retain(|_, (_, open)| lives(open));
        expected
    }

    /// The set is gone.
    pub(crate) fn forget(&self, set: &str) {
        self.sets().remove(set);
    }

    /// The set's pods have been counted in the API server.
    pub(crate) fn counted(&self, set: &str) {
        self.sets().entry(set.to_owned()).or_default().counted = true;
    }

    /// A create is about to be sent.
    pub(crate) fn expect_create(&self, set: &str, name: &str) {
        self.open_create(set, name, Open::new(Answer::Waiting));
    }

    /// The pod is known to be there at `revision`, which the cache has not seen yet.
    pub(crate) fn exists(&self, set: &str, name: &str, revision: u64) {
        let mut sets = self.sets();
        let creates = &mut sets.entry(set.to_owned()).or_default().creates;
        let open = creates
            .entry(name.to_owned())
            .or_insert_with(|| Open::new(Answer::Done));
        *open = Open {
            answer: Answer::Done,
            since: Instant::now(),
            revision,
            ..*open
        };
    }

    fn open_create(&self, set: &str, name: &str, open: Open) {
        self.sets()
            .entry(set.to_owned())
            .or_default()
            .creates
            .insert(name.to_owned(), open);
    }

    /// A delete is about to be sent.
    pub(crate) fn expect_delete(&self, set: &str, uid: &str, name: &str) {
        let open = Open::new(Answer::Waiting);
        self.sets()
            .entry(set.to_owned())
            .or_default()
            .deletes
            .insert(uid.to_owned(), (name.to_owned(), open));
    }

    /// The answer to a create that was asked for at the moment `asked` is lost: from then on it may happen for as long
    /// as a request may take. Nothing happens when the cache was quicker.
    pub(crate) fn create_lost(&self, set: &str, name: &str, asked: Instant) {
        self.create_answered(set, name, Answer::Lost);
        let mut sets = self.sets();
        let open = sets.get_mut(set).and_then(|expected| expected.creates.get_mut(name));
        if let Some(open) = open {
            open.asked = asked;
        }
    }

    /// The answer to a create is lost, or awaited again. Nothing happens when the cache was quicker.
    pub(crate) fn create_answered(&self, set: &str, name: &str, answer: Answer) {
        if let Some(open) = self
            .sets()
            .get_mut(set)
            .and_then(|expected| expected.creates.get_mut(name))
        {
            *open = Open {
                answer,
                since: Instant::now(),
                ..*open
            };
        }
    }

    /// The answer to a delete came, or is lost. Nothing happens when the cache was quicker.
    pub(crate) fn delete_answered(&self, set: &str, uid: &str, answer: Answer) {
        if let Some((_, open)) = self
            .sets()
            .get_mut(set)
            .and_then(|expected| expected.deletes.get_mut(uid))
        {
            *open = Open {
                answer,
                since: Instant::now(),
                ..*open
            };
        }
    }

    /// A pod of that name was seen in the cache at `revision`.
    pub(crate) fn create_seen(&self, set: &str, name: &str, revision: u64) {
        let mut sets = self.sets();
        let Some(expected) = sets.get_mut(set) else { return };
        if expected.creates.get(name).is_some_and(|open| open.is_of(revision)) {
            expected.creates.remove(name);
        }
    }

    /// The set's pods are read from a cache that has seen everything up to the revision `seen`: those known to be there
    /// by then are among them, or gone. A cache that is filled anew never shows one that came and went meanwhile.
    pub(crate) fn creates_seen(&self, set: &str, seen: u64) {
        if let Some(expected) = self.sets().get_mut(set) {
            let is_open = |open: &Open| open.revision == 0 || open.revision > seen;
            expected.creates.retain(|_, open| is_open(open));
        }
    }

    /// The pod was seen in the cache, or it is certain that it never will be.
    pub(crate) fn create_settled(&self, set: &str, name: &str) {
        if let Some(expected) = self.sets().get_mut(set) {
            expected.creates.remove(name);
        }
    }

    /// The pod was seen to go, or it is certain that the delete did not happen.
    pub(crate) fn delete_settled(&self, set: &str, uid: &str) {
        if let Some(expected) = self.sets().get_mut(set) {
            expected.deletes.remove(uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_after_the_event_does_not_open_the_expectation_again() {
        let expectations = Expectations::default();
        expectations.expect_create("set", "web-1");
        expectations.create_settled("set", "web-1");
        expectations.create_answered("set", "web-1", Answer::Lost);
        assert!(expectations.of("set").creates.is_empty());
    }

    #[tokio::test]
    async fn a_lost_answer_is_looked_into_sooner_than_a_late_event() {
        let expectations = Expectations::default();
        expectations.exists("set", "late", 7);
        expectations.expect_create("set", "lost");
        expectations.create_answered("set", "lost", Answer::Lost);
        let open = expectations.of("set").creates;
        assert!(open["lost"].due() < open["late"].due());
    }

    #[tokio::test]
    async fn a_pod_that_a_cache_has_passed_over_is_expected_no_longer() {
        let expectations = Expectations::default();
        expectations.expect_create("set", "unanswered");
        expectations.exists("set", "there", 7);
        let open = |seen| {
            expectations.creates_seen("set", seen);
            expectations.of("set").creates.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(open(6), ["there", "unanswered"]);
        assert_eq!(open(7), ["unanswered"]);
    }

    #[tokio::test]
    async fn a_pod_of_the_name_that_was_there_before_does_not_settle_a_create() {
        let expectations = Expectations::default();
        expectations.exists("set", "web-1", 7);
        expectations.create_seen("set", "web-1", 6);
        assert!(expectations.of("set").creates.contains_key("web-1"));
        expectations.create_seen("set", "web-1", 7);
        assert!(expectations.of("set").creates.is_empty());
    }
}
