//! The store's durable state, as readers and watchers see it. It changes only by what the log already holds.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::codec::{Change, Item};
use crate::error::{RangeError, StoreError, WatchError};
use crate::groups::{self, Groups};
use crate::index::Index;
use crate::lease::Leases;
use crate::mutant;
use crate::range::{Range, RangeResult};
use crate::transaction::{Event, EventKind, Key, KeyValue, Revision};

/// At most so many events are handed to a watcher at once, to keep locks short; a transaction is never split.
const WATCH_EVENTS: usize = 1024;

pub(crate) struct State {
    pub(crate) revision: Revision,
    pub(crate) compact_revision: Revision,
    pub(crate) leases: Leases,
    /// Why writes are refused, if they are.
    pub(crate) failure: Option<StoreError>,
    pub(crate) closed: bool,
    index: Index,
    /// Every event after the compaction revision.
    history: VecDeque<Arc<Event>>,
    groups: Groups,
}

impl State {
    /// An empty store.
    pub(crate) fn new() -> State {
        State {
            revision: 1,
            compact_revision: 0,
            leases: Leases::default(),
            failure: None,
            closed: false,
            index: Index::default(),
            history: VecDeque::new(),
            groups: Groups::default(),
        }
    }

    /// A store as a snapshot at `revision` shows it, without history; entries and leases are added next.
    pub(crate) fn at_snapshot(revision: Revision, last_lease: u64) -> State {
        let mut state = State {
            revision,
            compact_revision: revision,
            ..State::new()
        };
        state.leases.reserve(last_lease);
        state
    }

    /// Adds a key's state from a snapshot.
    pub(crate) fn insert(&mut self, kv: KeyValue) {
        self.index.insert(kv);
    }

    pub(crate) fn get(&self, key: &str) -> Option<&KeyValue> {
        self.index.get(key)
    }

    fn check(&self, revision: Revision) -> Result<(), RangeError> {
        if revision > self.revision {
            Err(RangeError::Future { current: self.revision })
        } else if revision < self.compact_revision {
            Err(RangeError::Compacted {
                oldest: self.compact_revision,
            })
        } else {
            Ok(())
        }
    }

    pub(crate) fn get_at(&self, key: &str, revision: Revision) -> Result<Option<&KeyValue>, RangeError> {
        self.check(revision)?;
        Ok(self.index.get_at(key, revision))
    }

    pub(crate) fn range(&self, range: &Range) -> Result<RangeResult, RangeError> {
        let revision = range.revision.unwrap_or(self.revision);
        self.check(revision)?;
        let page = match range.bounds() {
            None => (Vec::new(), 0),
            Some(bounds) if revision == self.revision => page(self.index.range(bounds), range.limit),
            Some(bounds) => page(self.index.range_at(bounds, revision), range.limit),
        };
        let (items, remaining) = page;
        Ok(RangeResult {
            items,
            revision,
            more: remaining > 0,
            remaining,
        })
    }

    /// Makes a durable transaction visible; adds to `wake` whom to wake once the state is unlocked.
    pub(crate) fn apply(&mut self, revision: Revision, events: Vec<Arc<Event>>, wake: &mut Vec<Arc<Notify>>) {
        debug_assert_eq!(revision, self.revision + 1, "revisions grow by one");
        self.revision = revision;
        for event in events {
            self.index.apply(&event);
            self.leases.apply(&event);
            self.groups.publish(&event, wake);
            self.history.push_back(event);
        }
    }

    /// Starts a batch of [`apply`](Self::apply).
    pub(crate) fn begin(&mut self) {
        self.groups.begin();
    }

    /// Drops the history before `revision`, which is at most the current one.
    pub(crate) fn compact(&mut self, revision: Revision) {
        if revision <= self.compact_revision {
            return;
        }
        self.compact_revision = revision;
        let end = groups::position(&self.history, revision);
        let next = self.history.get(end);
        let end = end + usize::from(next.is_some_and(|next| next.kind == EventKind::Delete && mutant::active("B14")));
        // Only keys with an event in the dropped history can have versions to drop.
        for event in self.history.drain(..end) {
            self.index.compact(&event.kv.key, revision);
        }
        self.history.shrink_to(self.history.len() * 2);
        self.groups.compact(revision);
    }

    /// Repeats what a log holds; the error says why it cannot follow the state.
    pub(crate) fn replay(&mut self, item: Item, now: Instant) -> Result<(), String> {
        match item {
            // A log may begin before the snapshot it is read after.
            Item::Transaction { revision, .. } if revision <= self.compact_revision => Ok(()),
            Item::Transaction { revision, changes } => {
                if revision != self.revision + 1 {
                    return Err(format!("revision {revision} follows revision {}", self.revision));
                }
                let events = changes
                    .into_iter()
                    .map(|change| self.event(change, revision))
                    .collect::<Result<_, _>>()?;
                self.apply(revision, events, &mut Vec::new());
                Ok(())
            }
            Item::Compact(revision) if revision > self.revision => {
                Err(format!("a compaction at {revision} follows revision {}", self.revision))
            }
            Item::Compact(revision) => {
                self.compact(revision);
                Ok(())
            }
            Item::Grant { lease, ttl } => {
                self.leases.grant(lease, ttl, now);
                Ok(())
            }
            Item::Revoke(lease) => {
                self.leases.revoke(lease);
                Ok(())
            }
            Item::Entry(_) | Item::End { .. } => Err("a log holds an item of a snapshot".to_owned()),
        }
    }

    fn event(&self, change: Change, revision: Revision) -> Result<Arc<Event>, String> {
        Ok(Arc::new(match change {
            Change::Put { key, value, lease } => Event::put(self.index.get(&key).cloned(), key, value, lease, revision),
            Change::Delete { key, last } => {
                let previous = self.index.get(&key).cloned();
                let previous = previous.ok_or_else(|| format!("{key} is deleted but does not exist"))?;
                Event::delete(previous, last, revision)
            }
        }))
    }

    /// Ends a recovery: leases hold the keys that name them, and their time runs from `now`.
    pub(crate) fn finish_recovery(&mut self, now: Instant) {
        let (index, leases) = (&self.index, &mut self.leases);
        for kv in index.range((Bound::Unbounded, Bound::Unbounded)) {
            leases.attach(&kv.key, kv.lease);
        }
        leases.restart(now);
        let newest = index
            .range((Bound::Unbounded, Bound::Unbounded))
            .map(|kv| kv.mod_revision)
            .max();
        if let Some(newest) = newest.filter(|newest| self.history.is_empty() && *newest < self.revision)
            && mutant::active("B12")
        {
            (self.revision, self.compact_revision) = (newest, newest);
        }
    }

    /// Adds a watcher.
    pub(crate) fn join(&mut self, prefix: &Key, after: Revision) -> Result<Arc<Notify>, RangeError> {
        self.check(after)?;
        Ok(self.groups.join(prefix, after, &self.history))
    }

    /// Takes a watcher out.
    pub(crate) fn leave(&mut self, prefix: &str) {
        self.groups.leave(prefix);
    }

    /// Everyone who watches.
    pub(crate) fn watchers(&self) -> Vec<Arc<Notify>> {
        self.groups.all()
    }

    /// The next events behind `cursor` for a watcher of `prefix`; empty if there are none yet.
    pub(crate) fn events_after(&self, prefix: &str, cursor: Revision) -> Result<Vec<Arc<Event>>, WatchError> {
        let Some(group) = self.groups.get(prefix) else {
            return Ok(Vec::new());
        };
        if group.pruned > cursor {
            return Err(WatchError::Compacted {
                oldest: self.compact_revision,
            });
        }
        let start = group.position(cursor);
        let mut end = group.events.len().min(start + WATCH_EVENTS);
        while end > start
            && group
                .events
                .get(end)
                .is_some_and(|next| next.revision == group.events[end - 1].revision)
        {
            end += 1;
        }
        if start == end && self.closed {
            return Err(WatchError::Closed);
        }
        Ok(group.events.range(start..end).cloned().collect())
    }

    /// Up to which revision a watcher of `prefix` at `cursor` has seen everything.
    pub(crate) fn progress(&self, prefix: &str, cursor: Revision) -> Revision {
        let Some(group) = self.groups.get(prefix) else {
            return cursor;
        };
        if group.pruned > cursor {
            return cursor;
        }
        match group.events.get(group.position(cursor)) {
            Some(next) => next.revision - 1,
            None => self.revision,
        }
    }
}

fn page<'a>(mut items: impl Iterator<Item = &'a KeyValue>, limit: usize) -> (Vec<KeyValue>, usize) {
    if limit == 0 {
        return (items.cloned().collect(), 0);
    }
    let page = items.by_ref().take(limit).cloned().collect();
    (page, items.count())
}
