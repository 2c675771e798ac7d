//! S6: deletionTimestamp is never taken back; an object with finalizers does not vanish. G4: nothing lives in a namespace
//! that is gone, and nothing is made in one that is going.
//!
//! Judged at every write. An object may vanish by the very write that takes its last finalizers away, so that what had
//! some just before may only go if somebody asked to change it since a minute. Events are not judged by G4.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Invariant, Report};
use crate::model::{Change, Cluster, Item, ObjectId, Seen};

/// So old may the request be that took the finalizers away.
const ASKED: Duration = Duration::from_secs(60);

/// S6; see the module.
#[derive(Default)]
pub struct Deletion {
    /// When somebody last asked to change an object.
    asked: BTreeMap<ObjectId, Duration>,
}

/// G4; see the module.
pub struct Namespaces;

/// The finalizers in the metadata; a namespace has its own in its spec.
fn finalizers(item: &Item) -> Vec<String> {
    let own = item.meta.finalizers.iter().flatten();
    let inside = item.as_namespace().and_then(|namespace| namespace.spec.as_ref());
    let inside = inside.into_iter().flat_map(|spec| spec.finalizers.iter().flatten());
    own.chain(inside).cloned().collect()
}

impl Invariant for Deletion {
    fn id(&self) -> &'static str {
        "S6"
    }

    fn statement(&self) -> &'static str {
        "deletionTimestamp is never taken back; an object with finalizers does not vanish."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Asked(asked) => {
                let change = asked.method == http::Method::PUT || asked.method == http::Method::PATCH;
                let Some(path) = asked.path.as_ref().filter(|_| change) else {
                    return;
                };
                if path.subresource.is_empty() || path.subresource == "finalize" {
                    self.asked.insert(path.id(), cluster.now);
                    if self.asked.len() > 1000 {
                        self.asked.retain(|_, at| *at + ASKED > cluster.now);
                    }
                }
            }
            Seen::Change(change) => {
                let Some(before) = &change.before else { return };
                let taken_back = change.after.as_ref().is_some_and(|after| {
                    after.uid() == before.uid() && before.is_terminating() && !after.is_terminating()
                });
                let vanished = change.after.is_none()
                    && self.asked.get(&change.id).is_none_or(|at| *at + ASKED < cluster.now)
                    && !finalizers(before).is_empty();
                let what = match (taken_back, vanished) {
                    (true, _) => "is not being deleted any more".to_owned(),
                    (_, true) => format!("is gone though {} held it", finalizers(before).join(", ")),
                    _ => return,
                };
                let message = format!(
                    "{} (uid {}) {what} at revision {}",
                    change.id,
                    before.uid(),
                    change.revision
                );
                report.broken(self.id(), message, &["apiserver", "controller-manager"]);
            }
            _ => {}
        }
    }
}

impl Namespaces {
    fn judge(&self, change: &Change, cluster: &Cluster, report: &mut Report) {
        let is_event = |id: &ObjectId| id.resource.starts_with("events");
        if &*change.id.resource == "namespaces" && change.after.is_none() {
            let left = cluster
                .everything()
                .find(|item| item.id.namespace == change.id.name && !is_event(&item.id));
            if let Some(left) = left {
                let message = format!(
                    "{} is gone at revision {} while {} lives in it",
                    change.id, change.revision, left.id
                );
                report.broken("G4", message, &["controller-manager", "apiserver"]);
            }
        }
        let inside = change.is_create() && !change.id.namespace.is_empty() && !is_event(&change.id);
        let known = cluster.history("namespaces").is_some();
        let open = cluster
            .find("namespaces", "", &change.id.namespace)
            .is_some_and(|namespace| !namespace.is_terminating());
        if inside && known && !open {
            let message = format!(
                "{} was made at revision {} in a namespace that is gone or going",
                change.id, change.revision
            );
            report.broken("G4", message, &["apiserver"]);
        }
    }
}

impl Invariant for Namespaces {
    fn id(&self) -> &'static str {
        "G4"
    }

    fn statement(&self) -> &'static str {
        "Nothing lives in a namespace that is gone, or is made in one that is going."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        if let Seen::Change(change) = seen {
            self.judge(change, cluster, report);
        }
    }
}
