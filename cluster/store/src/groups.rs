//! Who watches what: watchers of one prefix form a group, and share its list of events.
//!
//! An event costs one look-up per distinct length of the watched prefixes, and wakes only watchers that want it. A
//! group's list holds references to events of the store's history, and is cut with it: a slow watcher holds nothing
//! of its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::transaction::{Event, Key, Revision};

#[derive(Default)]
pub(crate) struct Groups {
    by_prefix: BTreeMap<Key, Group>,
    /// Length of a watched prefix to how many groups have it.
    lengths: BTreeMap<usize, usize>,
    /// Counts publications, so that each wakes a group once.
    publications: u64,
}

pub(crate) struct Group {
    watchers: usize,
    /// The list has every matching event after this revision …
    from: Revision,
    /// … but for those up to this one, which were compacted away. 0: none was.
    pub(crate) pruned: Revision,
    pub(crate) events: VecDeque<Arc<Event>>,
    wake: Arc<Notify>,
    published: u64,
}

impl Group {
    /// Where the events after `revision` begin.
    pub(crate) fn position(&self, revision: Revision) -> usize {
        position(&self.events, revision)
    }
}

/// Where the events after `revision` begin in a list that is ordered by revision.
pub(crate) fn position(events: &VecDeque<Arc<Event>>, revision: Revision) -> usize {
    // Watchers are nearly always at the end.
    if events.back().is_none_or(|last| last.revision <= revision) {
        return events.len();
    }
    events.partition_point(|event| event.revision <= revision)
}

impl Groups {
    pub(crate) fn get(&self, prefix: &str) -> Option<&Group> {
        self.by_prefix.get(prefix)
    }

    /// Adds a watcher of events after `after`; `history` has all events since the last compaction.
    pub(crate) fn join(&mut self, prefix: &Key, after: Revision, history: &VecDeque<Arc<Event>>) -> Arc<Notify> {
        let lengths = &mut self.lengths;
        let group = self.by_prefix.entry(prefix.clone()).or_insert_with(|| {
            *lengths.entry(prefix.len()).or_default() += 1;
            let from = history.back().map_or(after, |last| last.revision.max(after));
            let (events, wake) = (VecDeque::new(), Arc::new(Notify::new()));
            Group {
                watchers: 0,
                from,
                pruned: 0,
                events,
                wake,
                published: 0,
            }
        });
        group.watchers += 1;
        if after < group.from {
            let older = history.range(position(history, after)..position(history, group.from));
            for event in older.rev().filter(|event| event.kv.key.starts_with(&**prefix)) {
                group.events.push_front(event.clone());
            }
            group.from = after;
        }
        group.wake.clone()
    }

    /// Takes a watcher out.
    pub(crate) fn leave(&mut self, prefix: &str) {
        let Some(group) = self.by_prefix.get_mut(prefix) else {
            return;
        };
        group.watchers -= 1;
        if group.watchers > 0 {
            return;
        }
        self.by_prefix.remove(prefix);
        if let Some(count) = self.lengths.get_mut(&prefix.len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
    }

    /// Starts a publication of some events.
    pub(crate) fn begin(&mut self) {
        self.publications += 1;
    }

    /// Adds an event to the groups that want it, and to `wake` whom to wake.
    pub(crate) fn publish(&mut self, event: &Arc<Event>, wake: &mut Vec<Arc<Notify>>) {
        let key = &*event.kv.key;
        for &length in self.lengths.keys().take_while(|&&length| length <= key.len()) {
            // `get` is `None` within a character, where no prefix ends.
            let Some(group) = key.get(..length).and_then(|prefix| self.by_prefix.get_mut(prefix)) else {
                continue;
            };
            group.events.push_back(event.clone());
            if group.published != self.publications {
                group.published = self.publications;
                wake.push(group.wake.clone());
            }
        }
    }

    /// Drops the events up to `revision`.
    pub(crate) fn compact(&mut self, revision: Revision) {
        for group in self.by_prefix.values_mut() {
            let end = group.position(revision);
            if let Some(last) = group.events.drain(..end).next_back() {
                group.pruned = last.revision;
            }
            group.from = group.from.max(revision);
        }
    }

    /// Whom to wake when there is something to know for all.
    pub(crate) fn all(&self) -> Vec<Arc<Notify>> {
        self.by_prefix.values().map(|group| group.wake.clone()).collect()
    }
}
