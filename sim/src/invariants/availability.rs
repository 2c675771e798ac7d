//! P2, the lower bound: a rollout takes no more ready pods away than `maxUnavailable` allows.
//!
//! Judged when a set of a Deployment is told to shrink: the ready pods that its sets keep for sure (of each no more than
//! its size) must reach replicas − maxUnavailable, unless the shrinking takes none of them away. A pod counts as ready
//! if it was so within the controller's lag. Not judged: Deployments that were scaled or changed their strategy within
//! the last minutes (their sets shrink in proportion), paused ones, the strategy Recreate, and rollouts that a fault
//! disturbs or did so lately.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Invariant, MEMORY, Report};
use crate::model::{Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// How long after it was scaled a Deployment is let alone: lost answers can draw that out.
const GIVES_UP: Duration = MEMORY;
/// So long after its end a fault may still show: a lost answer is waited for 30 seconds, and what was held up then backs off.
const AFTERMATH: Duration = Duration::from_secs(90);

/// See the module.
#[derive(Default)]
pub struct Availability {
    /// By uid of a set, the pods that were ready: until when, or still.
    ready: BTreeMap<String, Pods>,
    /// By uid of a Deployment: when its size or strategy last changed.
    changed: BTreeMap<String, Duration>,
}

#[derive(Default)]
struct Pods {
    until: BTreeMap<String, Option<Duration>>,
    /// How many were kept when those of long ago were last forgotten.
    kept: usize,
}

impl Pods {
    fn forget(&mut self, now: Duration) {
        if self.until.len() > self.kept * 2 + 16 {
            self.until
                .retain(|_, until| until.is_none_or(|until| until + MEMORY > now));
            self.kept = self.until.len();
        }
    }
}

impl Invariant for Availability {
    fn id(&self) -> &'static str {
        "P2"
    }

    fn statement(&self) -> &'static str {
        "A rollout keeps at least replicas − maxUnavailable ready pods."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        match &*change.id.resource {
            "pods" => self.remember_pod(change, cluster.now),
            "deployments.apps" => self.remember_deployment(change, cluster.now),
            "replicasets.apps" => self.judge(change, cluster, report),
            _ => {}
        }
    }
}

fn size(item: &Item) -> i32 {
    let of = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    item.replica_set().map_or(0, of)
}

/// What decides the sizes of a Deployment's sets, but for its template.
fn shape(item: &Item) -> Option<impl PartialEq + use<>> {
    let spec = item.deployment()?.spec.as_ref()?;
    Some((spec.replicas, spec.strategy.clone(), spec.paused))
}

/// The fewest ready pods that a rollout may leave; none if it is not bounded.
fn least(deployment: &Deployment) -> Option<i32> {
    let spec = deployment.spec.as_ref()?;
    let strategy = spec.strategy.as_ref();
    let recreate = strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate");
    if recreate || spec.paused.unwrap_or(false) {
        return None;
    }
    let replicas = spec.replicas.unwrap_or(1);
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let share = |value: Option<&IntOrString>, up: bool| match value {
        Some(IntOrString::Int(number)) => *number,
        other => {
            let text = match other {
                Some(IntOrString::String(text)) => text.as_str(),
                _ => "25%",
            };
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let hundredths = percent * i64::from(replicas);
            i32::try_from((hundredths + if up { 99 } else { 0 }) / 100).unwrap_or(i32::MAX)
        }
    };
    let surge = share(rolling.and_then(|rolling| rolling.max_surge.as_ref()), true);
    let unavailable = share(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), false);
    // Both zero would never get anywhere.
    let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
    Some(replicas - unavailable)
}

impl Availability {
    fn remember_pod(&mut self, change: &Change, now: Duration) {
        let Some(newest) = change.newest() else { return };
        // A pod that left its set's selector is let go.
        let left = change
            .before
            .as_ref()
            .filter(|before| before.controller_uid() != newest.controller_uid());
        let until = left.and_then(|before| {
            let pods = self.ready.get_mut(before.controller_uid()?)?;
            pods.until.get_mut(before.uid())
        });
        if let Some(until) = until {
            until.get_or_insert(now);
        }
        let Some(owner) = newest.controller_uid() else { return };
        let ready = change
            .after
            .as_ref()
            .is_some_and(|pod| pod.is_live_pod() && pod.condition("Ready"));
        let pods = self.ready.entry(owner.to_owned()).or_default();
        if ready {
            pods.until.insert(newest.uid().to_owned(), None);
        } else if let Some(until) = pods.until.get_mut(newest.uid()) {
            until.get_or_insert(now);
        }
        pods.forget(now);
    }

    fn remember_deployment(&mut self, change: &Change, now: Duration) {
        let Some(after) = &change.after else {
            self.changed
                .retain(|uid, _| change.before.as_ref().is_none_or(|before| before.uid() != uid));
            return;
        };
        // What it was made as it has always been.
        let Some(before) = &change.before else { return };
        if shape(before) != shape(after) {
            self.changed.insert(after.uid().to_owned(), now);
        }
    }

    fn judge(&mut self, change: &Change, cluster: &Cluster, report: &mut Report) {
        let (Some(before), Some(after)) = (&change.before, &change.after) else {
            if let Some(gone) = &change.before {
                self.ready.remove(gone.uid());
            }
            return;
        };
        let (from, to) = (size(before), size(after));
        let Some(owner) = after.controller_uid().and_then(|uid| cluster.by_uid(uid)) else {
            return;
        };
        let lag = cluster.lag(Role::ControllerManager);
        let settled = self
            .changed
            .get(owner.uid())
            .is_none_or(|at| *at + lag + GIVES_UP < cluster.now);
        let Some(least) = owner.deployment().and_then(least) else {
            return;
        };
        if to >= from || !settled || owner.is_terminating() || cluster.is_disturbed(AFTERMATH) {
            return;
        }
        let ready = |set: &str| {
            let pods = self.ready.get(set).into_iter().flat_map(|pods| pods.until.values());
            pods.filter(|until| until.is_none_or(|until| until + lag.min(MEMORY) > cluster.now))
                .count() as i32
        };
        let others = cluster
            .owned(owner.uid())
            .filter(|set| set.replica_set().is_some() && set.id != after.id);
        let others: i32 = others.map(|set| ready(set.uid()).min(size(set))).sum();
        let kept = others + ready(after.uid()).min(to);
        // Those that are not ready go first.
        let own = self
            .ready
            .get(after.uid())
            .into_iter()
            .flat_map(|pods| pods.until.values());
        let takes_ready_ones = own.filter(|until| until.is_none()).count() as i32 > to;
        if kept < least && takes_ready_ones {
            let message = format!(
                "{} was scaled from {from} to {to} at revision {}: of {} (uid {}) only {kept} ready pods are left for sure, {least} must be",
                change.id,
                change.revision,
                owner.id,
                owner.uid()
            );
            report.broken(self.id(), message, &["controller-manager", "apiserver"]);
        }
    }
}
