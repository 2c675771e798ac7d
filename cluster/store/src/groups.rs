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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::transaction::{EventKind, KeyValue};

    /// A history and who watches it, as the state keeps them.
    #[derive(Default)]
    struct Log {
        groups: Groups,
        history: VecDeque<Arc<Event>>,
        there: BTreeMap<Key, KeyValue>,
        revision: Revision,
    }

    /// What a watcher is told: when, of which key, and whether it is a delete.
    type Told = (Revision, String, bool);

    fn told<'a>(events: impl Iterator<Item = &'a Arc<Event>>) -> Vec<Told> {
        let tell = |event: &Arc<Event>| {
            let key = event.kv.key.to_string();
            (event.revision, key, event.kind == EventKind::Delete)
        };
        events.map(tell).collect()
    }

    impl Log {
        /// A transaction that writes keys, or deletes those with `true`; how many groups it wakes.
        fn commit(&mut self, keys: &[(&str, bool)]) -> usize {
            let revision = self.revision + 1;
            let (mut wake, mut changed) = (Vec::new(), false);
            self.groups.begin();
            for (key, delete) in keys {
                let key = Key::from(*key);
                let event = match (self.there.remove(&key), delete) {
                    (Some(previous), true) => Event::delete(previous, None, revision),
                    (None, true) => continue,
                    (previous, false) => Event::put(previous, key.clone(), Bytes::new(), None, revision),
                };
                if !delete {
                    self.there.insert(key, event.kv.clone());
                }
                let event = Arc::new(event);
                self.groups.publish(&event, &mut wake);
                self.history.push_back(event);
                changed = true;
            }
            self.revision += u64::from(changed);
            wake.len()
        }

        fn join(&mut self, prefix: &str, after: Revision) {
            self.groups.join(&Key::from(prefix), after, &self.history);
        }

        fn compact(&mut self, revision: Revision) {
            let end = position(&self.history, revision);
            self.history.drain(..end);
            self.groups.compact(revision);
        }

        /// What the group of `prefix` has for a watcher that was told everything up to `after`.
        fn shown(&self, prefix: &str, after: Revision) -> Vec<Told> {
            let group = self.groups.get(prefix).expect("a watched prefix");
            told(group.events.range(group.position(after)..))
        }

        /// What happened to keys with `prefix` after `after`.
        fn happened(&self, prefix: &str, after: Revision) -> Vec<Told> {
            let own = |event: &&Arc<Event>| event.revision > after && event.kv.key.starts_with(prefix);
            told(self.history.iter().filter(own))
        }
    }

    fn at(revision: Revision, key: &str, delete: bool) -> Told {
        (revision, key.to_owned(), delete)
    }

    #[test]
    fn a_watcher_is_told_of_its_prefix_alone_in_order_and_once() {
        let mut log = Log::default();
        log.join("a/", 0);
        log.join("b/", 0);
        assert_eq!(log.commit(&[("a/1", false)]), 1);
        assert_eq!(log.commit(&[("c/1", false)]), 0, "nobody watches that");
        let both = [("b/1", false), ("a/2", false), ("a/1", true)];
        assert_eq!(log.commit(&both), 2, "each group is woken once");
        assert_eq!(log.commit(&[("b/1", true)]), 1);
        let (a, b) = (log.shown("a/", 0), log.shown("b/", 0));
        assert_eq!(a, [at(1, "a/1", false), at(3, "a/2", false), at(3, "a/1", true)]);
        assert_eq!(b, [at(3, "b/1", false), at(4, "b/1", true)]);
    }

    #[test]
    fn prefixes_that_contain_each_other_are_each_told() {
        let mut log = Log::default();
        for prefix in ["", "a", "a/", "a/1"] {
            log.join(prefix, 0);
        }
        assert_eq!(log.commit(&[("a/10", false)]), 4);
        assert_eq!(log.commit(&[("a0", false)]), 2);
        for (prefix, count) in [("", 2), ("a", 2), ("a/", 1), ("a/1", 1)] {
            assert_eq!(log.shown(prefix, 0).len(), count, "{prefix:?}");
        }
    }

    #[test]
    fn what_is_written_between_the_revision_and_the_opening_or_the_first_look_is_not_missed() {
        let mut log = Log::default();
        log.commit(&[("a/1", false)]);
        log.commit(&[("a/2", false), ("b/1", false)]);
        log.join("a/", 1);
        log.commit(&[("a/1", true)]);
        assert_eq!(log.shown("a/", 1), [at(2, "a/2", false), at(3, "a/1", true)]);
        // One that begins earlier comes to the same group; the others are told nothing twice.
        log.join("a/", 0);
        log.commit(&[("a/3", false)]);
        assert_eq!(log.shown("a/", 0).len(), 4);
        assert_eq!(log.shown("a/", 1).len(), 3);
        assert_eq!(log.shown("a/", 3), [at(4, "a/3", false)]);
    }

    const KEYS: [&str; 8] = ["a", "a/", "a/1", "a/10", "a/2", "a0", "b/1", "b/\u{fc}"];
    const PREFIXES: [&str; 7] = ["", "a", "a/", "a/1", "b/", "b/\u{fc}", "c"];

    #[derive(Debug, Clone)]
    enum Act {
        /// Keys by number, and whether each is deleted.
        Commit(BTreeMap<usize, bool>),
        /// A prefix by number, from so many hundredths of the way from the last compaction to now.
        Join(usize, u64),
        /// One of the watchers.
        Leave(usize),
        /// To so many hundredths of the same way.
        Compact(u64),
    }

    fn act() -> impl Strategy<Value = Act> {
        let keys = prop::collection::btree_map(0..KEYS.len(), prop::bool::weighted(0.3), 1..4);
        prop_oneof![
            8 => keys.prop_map(Act::Commit),
            3 => (0..PREFIXES.len(), 0..=100u64).prop_map(|(prefix, share)| Act::Join(prefix, share)),
            1 => (0..8usize).prop_map(Act::Leave),
            1 => (0..=100u64).prop_map(Act::Compact),
        ]
    }

    proptest! {
        #[test]
        fn every_watcher_is_told_what_happened_to_its_prefix(acts in prop::collection::vec(act(), 1..60)) {
            let mut log = Log::default();
            let mut watchers: Vec<(&str, Revision)> = Vec::new();
            let mut compacted = 0;
            for act in acts {
                match act {
                    Act::Commit(keys) => {
                        let keys: Vec<(&str, bool)> = keys.iter().map(|(key, delete)| (KEYS[*key], *delete)).collect();
                        let before = log.revision;
                        let woken = log.commit(&keys);
                        let mut prefixes: Vec<&str> = watchers.iter().map(|(prefix, _)| *prefix).collect();
                        prefixes.sort_unstable();
                        prefixes.dedup();
                        prefixes.retain(|prefix| !log.happened(prefix, before).is_empty());
                        prop_assert_eq!(woken, prefixes.len());
                    }
                    Act::Join(prefix, share) => {
                        let after = compacted + (log.revision - compacted) * share / 100;
                        log.join(PREFIXES[prefix], after);
                        watchers.push((PREFIXES[prefix], after));
                    }
                    Act::Leave(number) if number < watchers.len() => {
                        let (prefix, _) = watchers.remove(number);
                        log.groups.leave(prefix);
                    }
                    Act::Leave(_) => {}
                    Act::Compact(share) => {
                        compacted += (log.revision - compacted) * share / 100;
                        log.compact(compacted);
                        // Who is behind would be told so.
                        for (_, after) in &mut watchers {
                            *after = compacted.max(*after);
                        }
                    }
                }
                for (prefix, after) in &watchers {
                    let (shown, happened) = (log.shown(prefix, *after), log.happened(prefix, *after));
                    prop_assert_eq!(shown, happened, "{} after {}", prefix, after);
                }
            }
            while let Some((prefix, _)) = watchers.pop() {
                log.groups.leave(prefix);
            }
            prop_assert!(log.groups.by_prefix.is_empty() && log.groups.lengths.is_empty());
        }
    }
}
