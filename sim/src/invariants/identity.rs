//! S5: a uid never comes back; a delete with a uid removes only that object.
//!
//! Judged when an object is made, and when a delete that names a uid succeeds: the object of that uid must have been
//! there after the request was sent, and the answer must be about it.

use rustc_hash::FxHashSet;

use super::{Invariant, Report};
use crate::model::{Cluster, Seen};

/// See the module.
#[derive(Default)]
pub struct Identity {
    gone: FxHashSet<String>,
}

impl Invariant for Identity {
    fn id(&self) -> &'static str {
        "S5"
    }

    fn statement(&self) -> &'static str {
        "A uid never comes back; a delete with a uid removes only that one."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Change(change) => {
                if &*change.id.resource == "events" {
                    return;
                }
                if let (Some(before), None) = (&change.before, &change.after) {
                    self.gone.insert(before.uid().to_owned());
                }
                let Some(after) = &change.after else { return };
                let replaced = change.before.as_ref().is_some_and(|before| before.uid() != after.uid());
                if replaced || (change.is_create() && !after.uid().is_empty() && self.gone.contains(after.uid())) {
                    let message = format!(
                        "{} has the uid {} at revision {}, which is not its own",
                        change.id,
                        after.uid(),
                        change.revision
                    );
                    report.broken(self.id(), message, &["apiserver"]);
                }
            }
            Seen::Answered(asked, answer) => {
                let (Some(path), Some(uid)) = (&asked.path, &asked.uid) else {
                    return;
                };
                let deleted = asked.method == http::Method::DELETE && (200..300).contains(&answer.status);
                if !deleted || path.name.is_empty() {
                    return;
                }
                if let Some(other) = answer.uid().filter(|other| other != uid) {
                    let message = format!(
                        "{} asked to delete {} of uid {uid}, and the one of uid {other} was deleted",
                        asked.client,
                        path.id()
                    );
                    report.broken(self.id(), message, &[&asked.client, "apiserver"]);
                    return;
                }
                if cluster.get(&path.id()).is_some_and(|item| item.uid() == uid) {
                    return;
                }
                let Some(history) = cluster.history(&path.resource) else {
                    return;
                };
                let mut number = history.after(asked.floor);
                let id = path.id();
                while let Ok(Some(change)) = history.get(number) {
                    if change.id == id && change.before.as_ref().is_some_and(|before| before.uid() == uid) {
                        return;
                    }
                    number += 1;
                }
                if history.get(history.after(asked.floor)).is_err() {
                    return;
                }
                let message = format!(
                    "{} was told that {id} of uid {uid} is deleted, which was not there",
                    asked.client
                );
                report.broken(self.id(), message, &[&asked.client, "apiserver"]);
            }
            _ => {}
        }
    }
}
