//! P8: one ReplicaSet per template; a paused or recreating Deployment makes no set before its time; old sets are kept
//! as long as the history asks for them; the newest is the set that the Deployment asks for, and the Deployment says
//! which.
//!
//! Names of sets that are taken are counted (`status.collisionCount`), and the count never falls: the next name is made
//! with it.
//!
//! Judged when a set is made, when a pod is made by a set of a Deployment that recreates, and when the controller
//! manager asks to delete a set. What changed within the controller's lag is not held against it: a pause that it may
//! not have seen, a pod of another set that came late, sets that it may still count.
//!
//! Judged in the end: of a Deployment's sets the one of its template has the highest revision, and the Deployment bears
//! the same. `kubectl rollout history` and `undo` go by these numbers. A Deployment without such a set is not judged
//! here.

use std::collections::BTreeMap;
use std::time::Duration;

use orrery_play::convergence::{HISTORY, bare, template};

use super::bounds::{is_paused, recreates};
use super::{Invariant, MEMORY, Missing, Report};
use crate::model::{Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// The annotation with a set's place in the history, and with the Deployment's.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// See the module.
#[derive(Default)]
pub struct Rollouts {
    /// By uid of a Deployment: since when it is paused.
    paused: BTreeMap<String, Duration>,
    /// By uid of a Deployment: since when it recreates.
    recreates: BTreeMap<String, Duration>,
    /// By uid of a Deployment: when sets of it went.
    gone: BTreeMap<String, Vec<Duration>>,
    /// When pods were made, by uid.
    made: BTreeMap<String, Duration>,
}

impl Invariant for Rollouts {
    fn id(&self) -> &'static str {
        "P8"
    }

    fn statement(&self) -> &'static str {
        "One ReplicaSet per template, none while the Deployment is paused; old ones stay as the history asks, the newest is the one in force, and names that are taken are counted."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Change(change) => match &*change.id.resource {
                "deployments.apps" => {
                    self.remember(change, cluster.now);
                    judge_collisions(change, report);
                }
                "replicasets.apps" if change.is_create() => self.judge_set(change, cluster, report),
                "replicasets.apps" => self.forget_set(change, cluster.now),
                "pods" => self.judge_pod(change, cluster, report),
                _ => {}
            },
            Seen::Asked(asked) => {
                let Some(path) = &asked.path else { return };
                let delete = asked.method == http::Method::DELETE && &*path.resource == "replicasets.apps";
                if !delete || !asked.client.starts_with("controller-manager") {
                    return;
                }
                let Some(set) = cluster.get(&path.id()) else { return };
                // What the collector asked for is refused if somebody has adopted the set meanwhile.
                if asked.is_for(set) {
                    self.judge_delete(&asked.client, set, cluster, report);
                }
            }
            _ => {}
        }
    }

    fn missing(&self, cluster: &Cluster, missing: &mut Missing) {
        for item in cluster.all("deployments.apps").filter(|item| !item.is_terminating()) {
            out_of_order(item, cluster)
                .into_iter()
                .for_each(|what| missing.push(what));
        }
    }
}

/// A set's place in the history, or the Deployment's; 0 if it has none.
fn revision(item: &Item) -> i64 {
    let annotations = item.meta.annotations.as_ref();
    let revision = annotations.and_then(|annotations| annotations.get(REVISION)?.parse().ok());
    revision.unwrap_or(0)
}

/// What is wrong with the numbers of a Deployment's history, if the set that it asks for is there.
fn out_of_order(item: &Item, cluster: &Cluster) -> Option<String> {
    let wanted = Some(bare(item.deployment()?.spec.as_ref()?.template.clone()));
    let sets = || {
        let own = cluster.owned(item.uid());
        own.filter(|set| set.replica_set().is_some() && !set.is_terminating())
    };
    // Of two of one template, which is judged above, either may be the newest.
    let current = sets()
        .filter(|set| template(set) == wanted)
        .max_by_key(|set| revision(set))?;
    let newest = sets().max_by_key(|set| revision(set))?;
    let number = revision(current);
    if revision(newest) > number {
        return Some(format!(
            "P8: {} is at revision {number}, though {} asks for it, and {} at {}",
            current.id,
            item.id,
            newest.id,
            revision(newest)
        ));
    }
    (revision(item) != number).then(|| {
        format!(
            "P8: {} says that it is at revision {}, but {} is at {number}",
            item.id,
            revision(item),
            current.id
        )
    })
}

/// How often a Deployment has found the name of a new set taken.
fn collisions(item: &Item) -> i32 {
    let status = item.deployment().and_then(|deployment| deployment.status.as_ref());
    status.and_then(|status| status.collision_count).unwrap_or(0)
}

/// A count that falls makes names again that are taken.
fn judge_collisions(change: &Change, report: &mut Report) {
    let (Some(before), Some(after)) = (&change.before, &change.after) else {
        return;
    };
    let [was, is] = [before, after].map(|item| collisions(item));
    if before.uid() == after.uid() && is < was {
        let message = format!(
            "{} counts {is} collisions at revision {}, and counted {was} before",
            change.id, change.revision
        );
        report.broken("P8", message, &["controller-manager", "apiserver"]);
    }
}

/// The Deployment that controls a set, if it lives.
fn deployment<'a>(set: &Item, cluster: &'a Cluster) -> Option<&'a Item> {
    let owner = cluster.by_uid(set.controller_uid()?)?;
    (owner.deployment().is_some() && !owner.is_terminating()).then_some(&**owner)
}

impl Rollouts {
    fn remember(&mut self, change: &Change, now: Duration) {
        let Some(newest) = change.newest() else { return };
        let deployment = change.after.as_ref().and_then(|item| item.deployment());
        let uid = newest.uid().to_owned();
        // What it was made as it has always been.
        let since = if change.is_create() { Duration::ZERO } else { now };
        let mut note = |map: fn(&mut Self) -> &mut BTreeMap<String, Duration>, holds: bool| {
            if holds {
                map(self).entry(uid.clone()).or_insert(since);
            } else {
                map(self).remove(&uid);
            }
        };
        note(|own| &mut own.paused, deployment.is_some_and(is_paused));
        note(|own| &mut own.recreates, deployment.is_some_and(recreates));
    }

    fn forget_set(&mut self, change: &Change, now: Duration) {
        let ends = change.after.as_ref().is_none_or(|after| after.is_terminating());
        if let (Some(before), true) = (&change.before, ends)
            && let Some(owner) = before.controller_uid()
        {
            let gone = self.gone.entry(owner.to_owned()).or_default();
            gone.retain(|at| *at + MEMORY > now);
            gone.push(now);
        }
    }

    fn judge_set(&self, change: &Change, cluster: &Cluster, report: &mut Report) {
        let Some(set) = &change.after else { return };
        let Some(owner) = deployment(set, cluster) else { return };
        let lag = cluster.lag(Role::ControllerManager);
        let rests = |since: &Duration| since.is_zero() || *since + lag < cluster.now;
        let mut wrong = None;
        if let Some(since) = self.paused.get(owner.uid()).filter(|since| rests(since)) {
            wrong = Some(format!("though {} is paused since {since:?}", owner.id));
        }
        let own = template(set);
        let twin = cluster
            .owned(owner.uid())
            .find(|other| other.id != set.id && !other.is_terminating() && own.is_some() && template(other) == own);
        if let Some(twin) = twin {
            wrong = Some(format!("of the same template as {} (uid {})", twin.id, twin.uid()));
        }
        if let Some(wrong) = wrong {
            let message = format!("{} was made at revision {} {wrong}", set.id, change.revision);
            report.broken(self.id(), message, &["controller-manager", "apiserver"]);
        }
    }

    fn judge_pod(&mut self, change: &Change, cluster: &Cluster, report: &mut Report) {
        let Some(pod) = &change.after else {
            if let Some(before) = &change.before {
                self.made.remove(before.uid());
            }
            return;
        };
        if !change.is_create() {
            return;
        }
        self.made.insert(pod.uid().to_owned(), cluster.now);
        let Some(set) = pod.controller_uid().and_then(|uid| cluster.by_uid(uid)) else {
            return;
        };
        let Some(owner) = deployment(set, cluster) else { return };
        let lag = cluster.lag(Role::ControllerManager);
        let rests = |since: &Duration| since.is_zero() || *since + lag < cluster.now;
        if !self.recreates.get(owner.uid()).is_some_and(rests) {
            return;
        }
        let siblings = cluster.owned(owner.uid()).filter(|other| other.uid() != set.uid());
        let mut pods = siblings.flat_map(|sibling| cluster.owned(sibling.uid()));
        let old = pods.find(|old| {
            old.pod().is_some()
                && !old.is_finished()
                && self.made.get(old.uid()).is_none_or(|at| *at + lag < cluster.now)
        });
        if let Some(old) = old {
            let message = format!(
                "{} (uid {}) was made at revision {} while {} (uid {}) of an older set still is; {} recreates",
                pod.id,
                pod.uid(),
                change.revision,
                old.id,
                old.uid(),
                owner.id
            );
            report.broken(self.id(), message, &["controller-manager", "apiserver"]);
        }
    }

    fn judge_delete(&self, client: &str, set: &Item, cluster: &Cluster, report: &mut Report) {
        let Some(owner) = deployment(set, cluster) else { return };
        let spec = owner.deployment().and_then(|deployment| deployment.spec.as_ref());
        let limit = spec.and_then(|spec| spec.revision_history_limit).unwrap_or(HISTORY);
        let sets = cluster
            .owned(owner.uid())
            .filter(|other| !other.is_terminating())
            .count();
        let lag = cluster.lag(Role::ControllerManager);
        let gone = self.gone.get(owner.uid()).into_iter().flatten();
        let gone = gone.filter(|at| **at + lag > cluster.now).count();
        // The newest is no history.
        let old = (sets + gone).saturating_sub(1) as i64;
        let namespace = cluster.find("namespaces", "", &set.id.namespace);
        if old <= i64::from(limit) && namespace.is_some_and(|namespace| !namespace.is_terminating()) {
            let message = format!(
                "{client} deletes {} (uid {}) out of a history of {old}, of which {} keeps {limit}",
                set.id,
                set.uid(),
                owner.id
            );
            report.broken(self.id(), message, &[client, "apiserver"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::History;

    #[test]
    fn a_count_of_collisions_that_falls_breaks_p8() {
        let counted = |uid: &str, count: i32| {
            json!({"metadata": {"name": "web", "namespace": "default", "uid": uid},
                "spec": {"selector": {}, "template": {}}, "status": {"collisionCount": count}})
        };
        let history = |uid: &str, count: i32| {
            let history = History::of(|id| id == "P8").put("deployments.apps", counted("a", 1));
            history.put("deployments.apps", counted(uid, count)).broken()
        };
        assert_eq!(history("a", 0), ["P8"]);
        assert!(history("a", 1).is_empty());
        assert!(history("a", 2).is_empty());
        assert!(history("b", 0).is_empty(), "another one of this name");
    }
}
