//! What an object was from one revision until now.

use std::sync::Arc;

use crate::model::{Change, Cluster, Item, ObjectId};

/// The states of one object after a revision, in their order.
pub struct Window<'a> {
    /// As it was at the revision.
    first: Option<&'a Arc<Item>>,
    /// What happened to it since.
    changes: Vec<&'a Arc<Change>>,
}

impl<'a> Window<'a> {
    /// What `id` was from the revision `since` on; none when that is no longer known.
    pub fn of(cluster: &'a Cluster, id: &ObjectId, since: u64) -> Option<Window<'a>> {
        let current = cluster.get(id);
        if current.is_some_and(|item| item.revision <= since) {
            return Some(Window {
                first: current,
                changes: Vec::new(),
            });
        }
        let mut changes = Vec::new();
        if let Some(history) = cluster.history(&id.resource) {
            let mut number = history.after(since);
            if since < history.oldest() {
                return None;
            }
            while let Ok(Some(change)) = history.get(number) {
                // Names differ most.
                if change.id.name == id.name && change.id == *id {
                    changes.push(change);
                }
                number += 1;
            }
        }
        let first = match changes.first() {
            Some(change) => change.before.as_ref(),
            None => current,
        };
        Some(Window { first, changes })
    }

    /// Whether it was so at some moment.
    pub fn was(&self, so: impl Fn(Option<&'a Arc<Item>>) -> bool) -> bool {
        so(self.first) || self.changes.iter().any(|change| so(change.after.as_ref()))
    }

    /// Whether it was absent at some moment.
    pub fn was_absent(&self) -> bool {
        self.was(|state| state.is_none())
    }

    /// The state of `revision`.
    pub fn state(&self, revision: u64) -> Option<&'a Arc<Item>> {
        let after = self.changes.iter().filter_map(|change| change.after.as_ref());
        after.chain(self.first).find(|item| item.revision == revision)
    }

    /// The change at `revision`.
    pub fn change(&self, revision: u64) -> Option<&'a Arc<Change>> {
        self.changes.iter().find(|change| change.revision == revision).copied()
    }

    /// What happened.
    pub fn changes(&self) -> impl Iterator<Item = &'a Arc<Change>> {
        self.changes.iter().copied()
    }
}
