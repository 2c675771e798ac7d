//! S6: deletionTimestamp is never taken back or put off; an object with finalizers does not vanish, and loses none of
//! them by itself; a pod on a node does not vanish before its grace is over. G4: nothing lives in a namespace that is
//! gone, and nothing is made in one that is going.
//!
//! Judged at every write. An object may vanish by the very write that takes its last finalizers away, so that what had
//! some just before may only go if somebody asked to change it since a minute; the same holds for what loses some. A
//! later deletion may name a shorter grace, which brings the moment forward, and another propagation, which takes the
//! finalizers of the first one's away. A pod's grace is over when somebody deletes it without any: its kubelet, when
//! nothing of it runs, the pod collector, or a user by force. Events are not judged by G4.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Invariant, Report};
use crate::model::{Change, Cluster, Item, ObjectId, Seen};
use crate::sweep::Sweep;

/// So old may the request be that took the finalizers away.
const ASKED: Duration = Duration::from_secs(60);

/// The finalizers by which a deletion says what becomes of dependents: the next deletion may change its mind.
const PROPAGATION: [&str; 2] = ["foregroundDeletion", "orphan"];

/// S6; see the module.
#[derive(Default)]
pub struct Deletion {
    /// When somebody last asked to change an object.
    asked: BTreeMap<ObjectId, Duration>,
    sweep: Sweep,
    /// When somebody last asked to delete a pod, or all of a namespace, without grace.
    forced: BTreeMap<ObjectId, Duration>,
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

/// The finalizers that an object had and has no more, but for those of a deletion.
fn lost(before: &Item, after: &Item) -> Vec<String> {
    let left = finalizers(after);
    finalizers(before)
        .into_iter()
        .filter(|one| !left.contains(one) && !PROPAGATION.contains(&one.as_str()))
        .collect()
}

/// The seconds that a pod has yet to be stopped in; none if nothing of it need be stopped.
fn grace(before: &Item) -> Option<i64> {
    let pod = before
        .pod()
        .filter(|_| !before.node_name().is_empty() && !before.is_finished())?;
    let whole = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    let left = pod.metadata.deletion_grace_period_seconds.or(whole).unwrap_or(0);
    (left > 0).then_some(left)
}

impl Deletion {
    /// What is wrong with a write of an object that was there before.
    fn wrong(&self, change: &Change, before: &Item, now: Duration) -> Option<String> {
        let was_asked = self.asked.get(&change.id).is_some_and(|at| *at + ASKED >= now);
        let Some(after) = &change.after else {
            let held = finalizers(before);
            if !was_asked && !held.is_empty() {
                return Some(format!("is gone though {} held it", held.join(", ")));
            }
            let everyone = ObjectId {
                name: String::new(),
                ..change.id.clone()
            };
            let mut forced = [&change.id, &everyone].into_iter().filter_map(|id| self.forced.get(id));
            let was_forced = forced.any(|at| *at + ASKED >= now);
            let grace = grace(before).filter(|_| !was_forced)?;
            return Some(format!("is gone before its {grace} s were over"));
        };
        if after.uid() != before.uid() {
            return None;
        }
        let (was, is) = (&before.meta.deletion_timestamp, &after.meta.deletion_timestamp);
        match (was, is) {
            (Some(_), None) => return Some("is not being deleted any more".to_owned()),
            (Some(was), Some(is)) if is.0 > was.0 => {
                return Some(format!("is to end at {}, and no longer at {}", is.0, was.0));
            }
            _ => {}
        }
        let lost = lost(before, after);
        (!was_asked && !lost.is_empty()).then(|| format!("lost {}, which nobody took away", lost.join(", ")))
    }
}

impl Invariant for Deletion {
    fn id(&self) -> &'static str {
        "S6"
    }

    fn statement(&self) -> &'static str {
        "deletionTimestamp is never taken back or put off; nothing vanishes or loses its finalizers by itself, and no pod before its grace is over."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Asked(asked) => {
                let Some(path) = &asked.path else { return };
                if asked.method == http::Method::DELETE && asked.grace == Some(0) && &*path.resource == "pods" {
                    self.forced.retain(|_, at| *at + ASKED > cluster.now);
                    self.forced.insert(path.id(), cluster.now);
                }
                let change = asked.method == http::Method::PUT || asked.method == http::Method::PATCH;
                if !change {
                    return;
                }
                if path.subresource.is_empty() || path.subresource == "finalize" {
                    self.asked.insert(path.id(), cluster.now);
                    if self.sweep.is_due(self.asked.len()) {
                        self.asked.retain(|_, at| *at + ASKED > cluster.now);
                        self.sweep.left(self.asked.len());
                    }
                }
            }
            Seen::Change(change) => {
                let Some(before) = &change.before else { return };
                let Some(what) = self.wrong(change, before, cluster.now) else {
                    return;
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
                report.broken(self.id(), message, &["controller-manager", "apiserver"]);
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
            report.broken(self.id(), message, &["apiserver"]);
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
