//! G3: an owner deleted in the foreground goes after its dependents; one deleted with `Orphan` leaves them free.
//!
//! Judged when such an owner vanishes: then nothing may name it as an owner any more that it had to wait for (in the
//! foreground: what blocks it; with orphans: anything). What has named it only since within the controller's lag, as
//! what was made or adopted then, may have come too late. The same is judged when the collector asks to take the
//! finalizer away by which an owner waits, of the state that is in the store: others may hold the owner still.
//!
//! A foreground deletion goes on below: a dependent that the collector deletes for the sake of an owner that waits, and
//! that others hang on in turn, goes in the foreground as well ([Kubernetes' documentation][foreground]). Judged when
//! one is marked as going, or vanishes; not if somebody else asked to delete it of late, who may have meant something
//! else, nor where its own dependents are too new for the collector to know them.
//!
//! [foreground]: https://kubernetes.io/docs/concepts/architecture/garbage-collection/#foreground-deletion

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::collector::COLLECTOR;
use super::{Invariant, MEMORY, Report, UNANSWERED};
use crate::model::{Asked, Change, Cluster, Item, ObjectId, Seen};
use crate::scenario::Role;
use crate::sweep::Sweep;

/// The finalizers by which an owner waits for its dependents to go, and to be set free.
const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// So long after it was asked for a deletion may be carried out.
const ASKED: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Default)]
pub struct Dependents {
    /// Since when objects name their owners, by the object's uid and the owner's.
    named: BTreeMap<String, BTreeMap<String, Duration>>,
    /// When the collector last asked to delete an object.
    collected: BTreeMap<ObjectId, Duration>,
    /// When somebody else last did, or all of a kind (without a name).
    deleted: BTreeMap<ObjectId, Duration>,
    sweep: Sweep,
}

fn holds(item: &Item, finalizer: &str) -> bool {
    item.meta.finalizers.iter().flatten().any(|own| own == finalizer)
}

/// Whether `owner` is where it can own `item`.
fn may_own(owner: &Item, item: &Item) -> bool {
    owner.id.namespace.is_empty() || owner.id.namespace == item.id.namespace
}

impl Dependents {
    /// Takes in whom an object names as its owners.
    fn note(&mut self, change: &Change, now: Duration) {
        let Some(after) = &change.after else {
            self.named
                .remove(change.before.as_ref().map_or("", |before| before.uid()));
            return;
        };
        let before = change.before.as_ref();
        if before.and_then(|before| before.meta.owner_references.as_ref()) == after.meta.owner_references.as_ref() {
            return;
        }
        let blocks = |item: &Item, uid: &str| {
            let mut owners = item.meta.owner_references.iter().flatten();
            owners.any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
        };
        let known = self.named.entry(after.uid().to_owned()).or_default();
        let owners = after.meta.owner_references.as_deref().unwrap_or_default();
        // One that begins to block is named anew.
        known.retain(|uid, _| {
            owners.iter().any(|owner| owner.uid == *uid)
                && (!blocks(after, uid) || before.is_some_and(|before| blocks(before, uid)))
        });
        for owner in owners {
            known.entry(owner.uid.clone()).or_insert(now);
        }
    }

    /// Takes in who asks to delete what.
    fn note_deletion(&mut self, asked: &Asked, now: Duration) {
        let Some(path) = asked.path.as_ref().filter(|_| asked.method == Method::DELETE) else {
            return;
        };
        if asked.user_agent.ends_with(COLLECTOR) {
            self.collected.insert(path.id(), now);
        } else {
            self.deleted.insert(path.id(), now);
        }
        if self.sweep.is_due(self.collected.len() + self.deleted.len()) {
            self.collected.retain(|_, at| *at + ASKED > now);
            self.deleted.retain(|_, at| *at + MEMORY > now);
            self.sweep.left(self.collected.len() + self.deleted.len());
        }
    }

    /// What hangs on `owner` (all that does, or only what blocks its deletion) for longer than `lag`, if anything.
    fn hangs_on<'a>(&self, owner: &Item, all: bool, lag: Duration, cluster: &'a Cluster) -> Option<&'a Arc<Item>> {
        let since = |item: &Item| self.named.get(item.uid())?.get(owner.uid()).copied();
        let hangs = |item: &Item| {
            let mut owners = item.meta.owner_references.iter().flatten();
            owners.any(|own| own.uid == owner.uid() && (all || own.block_owner_deletion == Some(true)))
                && may_own(owner, item)
                && since(item).is_none_or(|at| at + lag < cluster.now)
        };
        cluster.everything().find(|item| hangs(item))
    }

    /// What is wrong with the end of an owner that had to wait.
    fn ends(&self, change: &Change, cluster: &Cluster) -> Option<String> {
        let owner = change.before.as_ref().filter(|_| change.after.is_none())?;
        let (foreground, orphan) = (holds(owner, FOREGROUND), holds(owner, ORPHAN));
        if !foreground && !orphan {
            return None;
        }
        let left = self.hangs_on(owner, orphan, cluster.lag(Role::ControllerManager), cluster)?;
        Some(format!(
            "{} (uid {}) is gone at revision {} before {} (uid {}) {}",
            change.id,
            owner.uid(),
            change.revision,
            left.id,
            left.uid(),
            if orphan { "was set free" } else { "went" }
        ))
    }

    /// What is wrong with a deletion that the collector carries on below an owner that waits.
    fn is_cut_short(&self, change: &Change, cluster: &Cluster) -> Option<String> {
        let item = change.before.as_ref().filter(|before| !before.is_terminating())?;
        let waits =
            |after: &Arc<Item>| after.uid() != item.uid() || !after.is_terminating() || holds(after, FOREGROUND);
        if change.after.as_ref().is_some_and(waits) || holds(item, ORPHAN) {
            return None;
        }
        let now = cluster.now;
        if self.collected.get(&change.id).is_none_or(|at| *at + ASKED < now) {
            return None;
        }
        let mut all = change.id.clone();
        all.name.clear();
        let mut everywhere = all.clone();
        everywhere.namespace.clear();
        let mut others = [&change.id, &all, &everywhere]
            .into_iter()
            .filter_map(|id| self.deleted.get(id));
        if others.any(|at| *at + MEMORY > now) {
            return None;
        }
        let owners = item.meta.owner_references.as_deref().unwrap_or_default();
        let mut blocked = owners.iter().filter(|own| own.block_owner_deletion == Some(true));
        let owner = blocked.find_map(|own| {
            let owner = cluster.by_uid(&own.uid)?;
            (owner.is_terminating() && holds(owner, FOREGROUND) && may_own(owner, item)).then_some(owner)
        })?;
        let lag = cluster.lag(Role::ControllerManager) + UNANSWERED;
        let left = self.hangs_on(item, false, lag, cluster)?;
        Some(format!(
            "{} (uid {}) goes at revision {} for the sake of {}, which is deleted in the foreground, and does not wait for {} (uid {})",
            change.id,
            item.uid(),
            change.revision,
            owner.id,
            left.id,
            left.uid()
        ))
    }

    /// What is wrong with a write by which the collector lets an owner go.
    fn lets_go(&self, asked: &Asked, cluster: &Cluster) -> Option<String> {
        if asked.method != Method::PATCH || asked.strategic || !asked.user_agent.ends_with(COLLECTOR) {
            return None;
        }
        let path = asked.path.as_ref().filter(|path| path.subresource.is_empty())?;
        let owner = cluster.get(&path.id())?;
        // A patch of another object, or of another state of it, is refused.
        let is_another = asked.uid.as_deref().is_some_and(|uid| uid != owner.uid());
        if is_another || asked.base != Some(owner.revision) || !owner.is_terminating() {
            return None;
        }
        let patch: Value = serde_json::from_slice(asked.patch.as_ref()?).ok()?;
        let kept = patch.pointer("/metadata/finalizers")?.as_array();
        let goes = |finalizer: &str| {
            let mut kept = kept.into_iter().flatten();
            holds(owner, finalizer) && !kept.any(|own| own == finalizer)
        };
        let (foreground, orphan) = (goes(FOREGROUND), goes(ORPHAN));
        if !foreground && !orphan {
            return None;
        }
        let lag = cluster.lag(Role::ControllerManager) + UNANSWERED;
        let left = self.hangs_on(owner, orphan, lag, cluster)?;
        Some(format!(
            "{} lets {} (uid {}) go before {} (uid {}) {}",
            asked.client,
            owner.id,
            owner.uid(),
            left.id,
            left.uid(),
            if orphan { "was set free" } else { "went" }
        ))
    }
}

impl Invariant for Dependents {
    fn id(&self) -> &'static str {
        "G3"
    }

    fn statement(&self) -> &'static str {
        "A foreground owner goes last, at every level; one that leaves orphans frees them first."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let wrong = match seen {
            Seen::Change(change) => {
                self.note(change, cluster.now);
                self.ends(change, cluster)
                    .or_else(|| self.is_cut_short(change, cluster))
            }
            Seen::Asked(asked) => {
                self.note_deletion(asked, cluster.now);
                self.lets_go(asked, cluster)
            }
            _ => None,
        };
        if let Some(message) = wrong {
            report.broken(self.id(), message, &["controller-manager", "apiserver"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::contract_tests::with;
    use super::super::tests::{History, asked, owned, pod, set};
    use super::*;

    const SET: &str = "/apis/apps/v1/namespaces/default/replicasets/web";

    /// A request of the collector, or of somebody else.
    fn request(agent: &str, method: Method, base: Option<u64>, patch: Option<Value>) -> Asked {
        Asked {
            user_agent: format!("kube-controller-manager/{agent}"),
            base,
            patch: patch.map(|patch| patch.to_string().into_bytes().into()),
            ..asked("controller-manager/1", method, SET)
        }
    }

    fn blocks(mut object: Value) -> Value {
        object["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = json!(true);
        object
    }

    fn going(object: Value, finalizers: Value) -> Value {
        let object = with(object, "/metadata/deletionTimestamp", json!("1970-01-01T00:00:50Z"));
        with(object, "/metadata/finalizers", finalizers)
    }

    /// The replica set `web` of the Deployment `top`.
    fn middle() -> Value {
        blocks(owned(set("web", 1), "Deployment", "top"))
    }

    /// A Deployment is deleted in this way at second 60; its set has had a pod since then.
    fn history(finalizer: &str, pod_since: u64) -> History {
        let top = json!({"metadata": {"name": "top", "namespace": "default", "uid": "uid-top"},
            "spec": {"selector": {}, "template": {}}});
        let pod = blocks(owned(pod("a", "n", "Running"), "ReplicaSet", "web"));
        let history = History::of(|id| id == "G3").put("deployments.apps", top.clone());
        let history = history.put("replicasets.apps", middle()).at(pod_since).put("pods", pod);
        history.at(60).put("deployments.apps", going(top, json!([finalizer])))
    }

    #[test]
    fn a_dependent_that_does_not_wait_for_its_own_below_a_foreground_owner_breaks_g3() {
        let collect = request("generic-garbage-collector", Method::DELETE, None, None);
        let delete = request("", Method::DELETE, None, None);
        let gone = |history: History| history.delete("replicasets.apps", &middle()).broken();
        let began = |finalizer: &str, since: u64| history(finalizer, since).see(&Seen::Asked(&collect));
        assert_eq!(gone(began(FOREGROUND, 1)), ["G3"]);
        // It is marked only, and held by somebody else.
        let marked = |finalizers: Value| {
            let marked = going(middle(), finalizers);
            began(FOREGROUND, 1).put("replicasets.apps", marked).broken()
        };
        assert_eq!(marked(json!(["example.com/hold"])), ["G3"]);
        assert!(marked(json!([FOREGROUND])).is_empty());
        assert!(
            gone(began(FOREGROUND, 50)).is_empty(),
            "a pod that the collector need not know"
        );
        assert!(gone(began("example.com/hold", 1)).is_empty(), "in the background");
        assert!(
            gone(began(FOREGROUND, 1).see(&Seen::Asked(&delete))).is_empty(),
            "a user's wish"
        );
        assert!(gone(history(FOREGROUND, 1)).is_empty(), "nobody's");
    }

    #[test]
    fn a_collector_that_lets_an_owner_go_before_its_dependents_breaks_g3() {
        let lets = |agent: &str, base: u64, held: Value, left: Value, since: u64| {
            let patch = json!({"metadata": {"finalizers": left}});
            let patch = request(agent, Method::PATCH, Some(base), Some(patch));
            let history = history(FOREGROUND, since).put("replicasets.apps", going(middle(), held));
            history.see(&Seen::Asked(&patch)).broken()
        };
        let collector = "generic-garbage-collector";
        let held = || json!([FOREGROUND, "example.com/hold"]);
        assert_eq!(lets(collector, 6, held(), json!(["example.com/hold"]), 1), ["G3"]);
        assert_eq!(lets(collector, 6, json!([ORPHAN]), json!(null), 1), ["G3"]);
        assert!(
            lets(collector, 6, held(), json!([FOREGROUND]), 1).is_empty(),
            "it waits on"
        );
        assert!(lets(collector, 5, held(), json!([]), 1).is_empty(), "another state");
        assert!(lets("", 6, held(), json!([]), 1).is_empty(), "somebody else");
        assert!(lets(collector, 6, held(), json!([]), 50).is_empty(), "too new a pod");
    }
}
