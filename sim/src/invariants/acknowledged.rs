//! S8: a list shows everything that there is at its revision. S2 besides: nothing is acknowledged before it is durable.
//!
//! Judged at answers. A write's answer must not show a revision that the store has not shown yet. A list must show the
//! objects that it selects, each as it was at the list's revision, and all of them unless it is a page; also when that
//! is an old one. What the pages of a list show together is judged in `pages`. Not judged: revisions that are no longer
//! known, selections by fields that the model does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Invariant, Report};
use crate::model::{Cluster, Entry, Item, ObjectId, Seen, Selection};

/// S2's part; see the module.
pub struct Acknowledged;

/// S8; see the module.
pub struct Lists;

impl Invariant for Acknowledged {
    fn id(&self) -> &'static str {
        "S2"
    }

    fn statement(&self) -> &'static str {
        "A write is durable before it is acknowledged."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Answered(asked, answer) = seen else { return };
        let write = asked.method != http::Method::GET && (200..300).contains(&answer.status);
        if let Some(shown) = answer.revision.filter(|shown| write && *shown > cluster.revision) {
            let message = format!(
                "{} was answered {} at revision {shown}, but only {} is durable",
                asked.client, asked.method, cluster.revision
            );
            report.broken(self.id(), message, &[&asked.client, "apiserver", "disk"]);
        }
    }
}

impl Invariant for Lists {
    fn id(&self) -> &'static str {
        "S8"
    }

    fn statement(&self) -> &'static str {
        "A list shows everything that there is at its revision, and nothing else."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Answered(asked, answer) = seen else { return };
        let (Some(selection), Some(shown), Some(items)) = (&asked.selection, answer.revision, &answer.items) else {
            return;
        };
        let Some(there) = state_at(cluster, selection, shown).filter(|_| selection.is_understood()) else {
            return;
        };
        let listed: BTreeSet<Entry> = items.iter().cloned().collect();
        let wrong = match listed.difference(&there).next() {
            Some(wrong) => Some((wrong, "which is not so")),
            None if listed.len() < items.len() => items.first().map(|entry| (entry, "and some are shown twice")),
            None if asked.paged => None,
            None => there
                .difference(&listed)
                .next()
                .map(|lacking| (lacking, "which is not shown")),
        };
        if let Some((entry, why)) = wrong {
            let message = format!(
                "{} was shown {} {} at revision {shown}, where there are {}: {}/{} of revision {}, {why}",
                asked.client,
                items.len(),
                selection.resource,
                there.len(),
                entry.namespace,
                entry.name,
                entry.revision
            );
            report.broken(self.id(), message, &[&asked.client, "apiserver"]);
        }
    }
}

/// What there was at a revision of the past or present; none if that is no longer known.
pub(super) fn state_at(cluster: &Cluster, selection: &Selection, revision: u64) -> Option<BTreeSet<Entry>> {
    // The first change since tells how an object was then.
    let mut since: BTreeMap<&ObjectId, Option<&Arc<Item>>> = BTreeMap::new();
    if let Some(history) = cluster.history(&selection.resource) {
        let mut number = history.after(revision);
        if revision < history.oldest() || revision > cluster.revision {
            return None;
        }
        while let Ok(Some(change)) = history.get(number) {
            since.entry(&change.id).or_insert(change.before.as_ref());
            number += 1;
        }
    }
    let unchanged = cluster.all(&selection.resource);
    let unchanged = unchanged.filter(|item| !since.contains_key(&item.id));
    let all = unchanged.chain(since.values().copied().flatten());
    let selected = all.filter(|item| selection.matches(item)).map(|item| Entry {
        namespace: item.id.namespace.clone(),
        name: item.id.name.clone(),
        revision: item.revision,
    });
    Some(selected.collect())
}
