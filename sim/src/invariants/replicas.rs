//! P2: live pods of a ReplicaSet ≤ its replicas; replicas of a Deployment's sets, and their live pods, ≤ replicas +
//! surge.
//!
//! Judged when something is added, since what a scale-down leaves over is lawful until it is deleted. A pod that is
//! created counts together with the live pods (not finished, not terminating) of its set that the set selects: what was
//! relabelled is no replica any more, though it may not be let go yet. The bound is the largest
//! number of replicas that the set was asked for within the controller's lag. Pods that come late, asked for by a
//! controller manager that is no longer in charge, do not count until the next one may know of them
//! ([`strays`](super::strays)). A set whose replicas grow counts with the replicas its siblings are *asked* for (their
//! pods follow later), against the deployment's replicas and surge within the same lag; a size that came late, as above,
//! is nobody's fault. A fault that held the controller manager up lengthens the lag.
//!
//! A pod that is created counts also with the live pods of all sets of its deployment: a set that was told to shrink
//! has its pods until they are deleted, and the next may not grow before. Kubernetes bounds the sizes alone; our
//! deployment controller waits until the old set has said that it has shrunk. The bound is then the largest of the last
//! minutes, since what was lawful once may go slowly, and be replaced meanwhile. Not judged: deployments whose sizes
//! are beyond the bound themselves, or with pods or sets that were adopted, let go or relabelled within the last
//! minutes (they come without being created), and whatever a fault disturbs or did so lately.
//!
//! Not judged at all: the lower bound (`maxUnavailable`), which is [`availability`](super::availability)'s.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::bounds::{Bounds, size};
use super::ownership::selects;
use super::strays::Strays;
use super::{Invariant, MEMORY, Report};
use crate::model::{Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// So long after its end a fault may still show: a lost answer is waited for 30 seconds, and then there are back-offs.
const AFTERMATH: Duration = Duration::from_secs(90);

/// See the module.
#[derive(Default)]
pub struct Replicas {
    /// By uid of a set or deployment: the bounds there were, each with the time at which it ceased to be the newest.
    past: BTreeMap<String, VecDeque<(Duration, i32)>>,
    /// By uid of a set or deployment: when something last came to it, or left it, other than by a create or delete.
    mixed: BTreeMap<String, Duration>,
    strays: Strays,
}

impl Invariant for Replicas {
    fn id(&self) -> &'static str {
        "P2"
    }

    fn statement(&self) -> &'static str {
        "Live pods of a ReplicaSet or Deployment ≤ replicas + surge."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        self.strays.observe(seen, cluster);
        let Seen::Change(change) = seen else { return };
        self.remember(change, cluster.now);
        self.mix(change, cluster.now);
        let Some(after) = &change.after else { return };
        if change.is_create() && after.is_live_pod() {
            self.judge_pod(change, after, cluster, report);
            self.judge_all(change, after, cluster, report);
        }
        if size(after) > change.before.as_ref().map_or(0, |before| size(before)) {
            self.judge_set(change, after, cluster, report);
        }
    }
}

impl Replicas {
    fn remember(&mut self, change: &Change, now: Duration) {
        let Some(before) = &change.before else { return };
        let Some(old) = bound(before) else { return };
        if change.after.is_none() {
            self.past.remove(before.uid());
            return;
        }
        if change.after.as_ref().and_then(|after| bound(after)) != Some(old) {
            let past = self.past.entry(before.uid().to_owned()).or_default();
            past.push_back((now, old));
            while past.front().is_some_and(|(until, _)| *until + MEMORY < now) {
                past.pop_front();
            }
        }
    }

    /// Notes whose dependents have changed hands.
    fn mix(&mut self, change: &Change, now: Duration) {
        let (Some(before), Some(after)) = (&change.before, &change.after) else {
            return;
        };
        let (from, to) = (before.controller_uid(), after.controller_uid());
        let relabelled = after.pod().is_some() && before.meta.labels != after.meta.labels;
        if from == to && !relabelled {
            return;
        }
        self.mixed.retain(|_, at| *at + MEMORY > now);
        let owners = from.into_iter().chain(to);
        self.mixed.extend(owners.map(|uid| (uid.to_owned(), now)));
    }

    /// The largest bound of `item` within the controller's lag.
    fn limit(&self, item: &Item, cluster: &Cluster) -> i32 {
        self.limit_within(item, cluster.now, cluster.lag(Role::ControllerManager))
    }

    /// The largest bound of `item` within a time that ends now.
    fn limit_within(&self, item: &Item, now: Duration, lag: Duration) -> i32 {
        let past = self.past.get(item.uid()).into_iter().flatten();
        let recent = past.filter(|(until, _)| *until + lag > now).map(|(_, bound)| *bound);
        recent.chain(bound(item)).max().unwrap_or(0)
    }

    fn judge_pod(&self, change: &Change, pod: &Item, cluster: &Cluster, report: &mut Report) {
        let Some(set) = pod.controller_uid().and_then(|uid| cluster.by_uid(uid)) else {
            return;
        };
        if set.replica_set().is_none() {
            return;
        }
        let limit = self.limit(set, cluster);
        let mut live = cluster.live_pods_of(set.uid());
        if live as i64 > i64::from(limit) {
            let pods = cluster.owned(set.uid()).filter(|pod| pod.is_live_pod());
            live = pods
                .filter(|pod| selects(set, pod) && !self.strays.has(pod, cluster))
                .count();
        }
        if live as i64 > i64::from(limit) {
            report.broken(
                "P2",
                format!(
                    "{} (uid {}) created at revision {} makes {live} live pods of {} (uid {}), which wants {limit}",
                    change.id,
                    pod.uid(),
                    change.revision,
                    set.id,
                    set.uid()
                ),
                &["controller-manager", "apiserver"],
            );
        }
    }

    /// Whether a created pod is one too many for its deployment.
    fn judge_all(&self, change: &Change, pod: &Item, cluster: &Cluster, report: &mut Report) {
        let set = pod.controller_uid().and_then(|uid| cluster.by_uid(uid));
        let owner = set.filter(|set| set.replica_set().is_some());
        let owner = owner.and_then(|set| cluster.by_uid(set.controller_uid()?));
        let Some(deployment) = owner.filter(|owner| owner.deployment().is_some()) else {
            return;
        };
        let owned = cluster.owned(deployment.uid());
        let sets: Vec<_> = owned.filter(|own| own.replica_set().is_some()).collect();
        let limit = i64::from(self.limit_within(deployment, cluster.now, MEMORY));
        let mut live: usize = sets.iter().map(|set| cluster.live_pods_of(set.uid())).sum();
        if live as i64 <= limit {
            return;
        }
        let sizes: i64 = sets.iter().filter_map(|set| bound(set)).map(i64::from).sum();
        let is_mixed = |uid: &str| self.mixed.get(uid).is_some_and(|at| *at + MEMORY > cluster.now);
        let mixed = is_mixed(deployment.uid()) || sets.iter().any(|set| is_mixed(set.uid()));
        if sizes > limit || mixed || deployment.is_terminating() || cluster.is_disturbed(AFTERMATH) {
            return;
        }
        let selected = |set: &&Arc<Item>| {
            let pods = cluster.owned(set.uid()).filter(|pod| pod.is_live_pod());
            pods.filter(|pod| selects(set, pod)).count()
        };
        live = sets.iter().map(selected).sum();
        if live as i64 > limit {
            let message = format!(
                "{} (uid {}) created at revision {} makes {live} live pods of {} (uid {}), which allows {limit}",
                change.id,
                pod.uid(),
                change.revision,
                deployment.id,
                deployment.uid()
            );
            report.broken(self.id(), message, &["controller-manager", "apiserver"]);
        }
    }

    fn judge_set(&self, change: &Change, set: &Item, cluster: &Cluster, report: &mut Report) {
        let Some(deployment) = set.controller_uid().and_then(|uid| cluster.by_uid(uid)) else {
            return;
        };
        if deployment.deployment().is_none() {
            return;
        }
        let sets: Vec<_> = cluster.owned(deployment.uid()).collect();
        let total: i64 = sets.iter().filter_map(|set| bound(set)).map(i64::from).sum();
        let limit = self.limit(deployment, cluster);
        if total > i64::from(limit) && !sets.iter().any(|set| self.strays.has(set, cluster)) {
            report.broken(
                "P2",
                format!(
                    "{} scaled up at revision {} makes {total} replicas of the sets of {} (uid {}), which allows {limit}",
                    change.id,
                    change.revision,
                    deployment.id,
                    deployment.uid()
                ),
                &["controller-manager", "apiserver"],
            );
        }
    }
}

/// How many replicas there may be: a set's own, a deployment's with its surge.
fn bound(item: &Item) -> Option<i32> {
    if item.replica_set().is_some() {
        return Some(size(item));
    }
    Some(Bounds::of(item.deployment()?).most())
}
