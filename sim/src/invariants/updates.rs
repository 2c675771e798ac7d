//! S4: an update with resourceVersion v succeeded ⇒ the object was at v just before; two successes never share a base.
//!
//! Checked over every answer that a PUT, or a patch that names a base, gets, against the store's history: the write at
//! the revision the answer shows must be of that object, with the base that was sent. An update that changed nothing is
//! answered with the object as it was, and passes. So must the write that a delete with a resourceVersion made. Not
//! checked: patches without a base, whose base the server chooses.

use std::collections::BTreeMap;

use super::{Invariant, Report};
use crate::model::{Asked, Cluster, History, ObjectId, Seen};

/// The revision at which the object of this uid was removed since a request was sent; none if that is not remembered.
fn removal(history: &History, asked: &Asked, id: &ObjectId, uid: &str) -> Option<u64> {
    let mut number = history.after(asked.floor);
    while let Ok(Some(change)) = history.get(number) {
        let was = change.before.as_ref().is_some_and(|before| before.uid() == uid);
        if was && change.after.is_none() && change.id == *id {
            return Some(change.revision);
        }
        number += 1;
    }
    None
}

/// See the module.
#[derive(Default)]
pub struct Updates {
    /// Which client was told that a revision is its own.
    claimed: BTreeMap<u64, String>,
}

impl Invariant for Updates {
    fn id(&self) -> &'static str {
        "S4"
    }

    fn statement(&self) -> &'static str {
        "An update with resourceVersion v succeeded ⇒ the object was at v just before; two successes never share one base."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Answered(asked, answer) = seen else { return };
        let (Some(path), Some(base)) = (&asked.path, asked.base) else {
            return;
        };
        let deletes = asked.method == http::Method::DELETE && !path.name.is_empty();
        let updates = [http::Method::PUT, http::Method::PATCH].contains(&asked.method);
        if !(deletes || updates) || !(200..300).contains(&answer.status) {
            return;
        }
        let Some(history) = cluster.history(&path.resource) else {
            return;
        };
        let removal = || removal(history, asked, &path.id(), &answer.uid()?);
        let Some(shown) = answer.revision.or_else(|| deletes.then(removal).flatten()) else {
            return;
        };
        if shown == base {
            return;
        }
        if shown < history.oldest() {
            return;
        }
        let wrong = match history.at(shown, &path.namespace, &path.name) {
            None => Some("the store has no such write".to_owned()),
            Some(change) => match &change.before {
                Some(before) if before.revision == base => None,
                Some(before) => Some(format!("the object was at {} just before", before.revision)),
                None => Some("the object did not exist just before".to_owned()),
            },
        };
        if let Some(wrong) = wrong {
            report.broken(
                self.id(),
                format!(
                    "{} {} {} from revision {base} to {shown}, but {wrong}",
                    asked.client,
                    if deletes { "deleted" } else { "updated" },
                    path.id()
                ),
                &[&asked.client, "apiserver", "store"],
            );
        } else if let Some(other) = self.claimed.insert(shown, asked.client.clone()) {
            report.broken(
                self.id(),
                format!(
                    "{} and {other} were both told that revision {shown} of {} is theirs",
                    asked.client,
                    path.id()
                ),
                &[&asked.client, &other, "apiserver"],
            );
        }
        while self.claimed.len() > 10_000 {
            self.claimed.pop_first();
        }
    }
}
