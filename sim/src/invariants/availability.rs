//! P2, the lower bound: a rollout takes no more ready pods away than `maxUnavailable` allows.
//!
//! Judged when a set of a Deployment is told to shrink: the ready pods that its sets keep for sure (of each no more
//! than its size) must reach replicas − maxUnavailable, unless the shrinking takes away none that have been ready for
//! long. A pod counts as ready if it was so within the controller's lag.
//!
//! Of a Deployment that was scaled within the last minutes the bound is the least that it had in that time: what a
//! scaling added may be missing, and nothing more. A set's share of a scaling, by which all sets shrink in proportion
//! whatever is ready in them, is not judged: a write that brings the set's note of the replicas that are desired up to
//! date, or comes while a sibling's note is behind or was renewed since the set itself was last resized. Not judged
//! either: Deployments that were paused or recreated their pods within the last minutes, and what a fault disturbs or
//! did so lately.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;

use super::bounds::{Bounds, recreates, size};
use super::{Invariant, MEMORY, Report};
use crate::model::{Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// How long a Deployment that was scaled is judged by what it was before, too: lost answers can draw that out.
const GIVES_UP: Duration = MEMORY;
/// Where a set notes how many replicas its Deployment wanted when it was last resized.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// So long after its end a fault may still show: a lost answer is waited for 30 seconds, and what was held up then
/// backs off.
const AFTERMATH: Duration = Duration::from_secs(90);

/// See the module.
#[derive(Default)]
pub struct Availability {
    /// By uid of a set: the pods that were ready.
    ready: BTreeMap<String, Pods>,
    /// By uid of a Deployment: the bounds that it had, none where it was not bounded, and until when.
    past: BTreeMap<String, Vec<(Duration, Option<i32>)>>,
    /// By uid of a set: the revisions at which it was last resized or noted, and at which its note last changed.
    written: BTreeMap<String, (u64, u64)>,
}

/// Since when a pod is ready, and until when it was.
struct Span {
    since: Duration,
    until: Option<Duration>,
}

#[derive(Default)]
struct Pods {
    spans: BTreeMap<String, Span>,
    /// How many were kept when those of long ago were last forgotten.
    kept: usize,
}

impl Pods {
    fn forget(&mut self, now: Duration) {
        if self.spans.len() > self.kept * 2 + 16 {
            self.spans
                .retain(|_, span| span.until.is_none_or(|until| until + MEMORY > now));
            self.kept = self.spans.len();
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

/// How many replicas the set's Deployment wanted when it was last resized.
fn desired(set: &Item) -> Option<&str> {
    set.meta.annotations.as_ref()?.get(DESIRED).map(String::as_str)
}

/// The fewest ready pods that a rollout may leave; none if it is not bounded.
fn least(deployment: &Deployment) -> Option<i32> {
    let paused = deployment.spec.as_ref()?.paused.unwrap_or(false);
    (!paused && !recreates(deployment)).then(|| least_available(deployment))
}

/// How many pods have to be available for the whole to be; of what recreates its pods, all.
pub(super) fn least_available(deployment: &Deployment) -> i32 {
    Bounds::of(deployment).least()
}

impl Availability {
    fn remember_pod(&mut self, change: &Change, now: Duration) {
        let Some(newest) = change.newest() else { return };
        // A pod that left its set's selector is let go.
        let left = change
            .before
            .as_ref()
            .filter(|before| before.controller_uid() != newest.controller_uid());
        let span = left.and_then(|before| {
            let pods = self.ready.get_mut(before.controller_uid()?)?;
            pods.spans.get_mut(before.uid())
        });
        if let Some(span) = span {
            span.until.get_or_insert(now);
        }
        let Some(owner) = newest.controller_uid() else { return };
        let ready = change
            .after
            .as_ref()
            .is_some_and(|pod| pod.is_live_pod() && pod.condition("Ready"));
        let pods = self.ready.entry(owner.to_owned()).or_default();
        let known = pods.spans.get_mut(newest.uid());
        match known {
            Some(span) if !ready => {
                span.until.get_or_insert(now);
            }
            Some(span) if span.until.is_none() => {}
            _ if ready => {
                let span = Span {
                    since: now,
                    until: None,
                };
                pods.spans.insert(newest.uid().to_owned(), span);
            }
            _ => {}
        }
        pods.forget(now);
    }

    fn remember_deployment(&mut self, change: &Change, now: Duration) {
        let Some(before) = &change.before else { return };
        let bound = |item: &Item| item.deployment().and_then(least);
        match &change.after {
            Some(after) if after.uid() == before.uid() => {
                let old = bound(before);
                if old != bound(after) {
                    let past = self.past.entry(after.uid().to_owned()).or_default();
                    past.retain(|(until, _)| *until + MEMORY * 2 > now);
                    past.push((now, old));
                }
            }
            _ => {
                self.past.remove(before.uid());
            }
        }
    }

    fn remember_set(&mut self, change: &Change) {
        let (before, after) = (change.before.as_ref(), change.after.as_ref());
        let Some(after) = after else {
            if let Some(gone) = before {
                self.ready.remove(gone.uid());
                self.written.remove(gone.uid());
            }
            return;
        };
        // A set that is new has its note from its beginning: that is no news of a scaling.
        let noted = before.is_some_and(|before| desired(before) != desired(after));
        if noted || before.is_none_or(|before| size(before) != size(after)) {
            let written = self.written.entry(after.uid().to_owned()).or_default();
            written.0 = change.revision;
            if noted {
                written.1 = change.revision;
            }
        }
    }

    /// Whether a set that was last resized at `resized` shrinks as its share of a scaling.
    fn is_share(&self, before: &Item, after: &Item, siblings: &[&Item], resized: u64) -> bool {
        let is_behind = |set: &&Item| size(set) > 0 && desired(set) != desired(after);
        let is_news = |set: &&Item| self.written.get(set.uid()).is_some_and(|own| own.1 > resized);
        desired(before) != desired(after) || siblings.iter().any(|set| is_behind(set) || is_news(set))
    }

    fn judge(&mut self, change: &Change, cluster: &Cluster, report: &mut Report) {
        let resized = change.newest().and_then(|set| self.written.get(set.uid()));
        let resized = resized.map_or(0, |own| own.0);
        self.remember_set(change);
        let (Some(before), Some(after)) = (&change.before, &change.after) else {
            return;
        };
        let (from, to) = (size(before), size(after));
        if to >= from || cluster.is_disturbed(AFTERMATH) {
            return;
        }
        let Some(owner) = after.controller_uid().and_then(|uid| cluster.by_uid(uid)) else {
            return;
        };
        let lag = cluster.lag(Role::ControllerManager);
        let past = self.past.get(owner.uid()).into_iter().flatten();
        let past = past.filter(|(until, _)| *until + lag + GIVES_UP > cluster.now);
        // Not bounded at all is less than any bound.
        let least = past.fold(owner.deployment().and_then(least), |all, (_, own)| all.min(*own));
        let Some(least) = least else { return };
        let siblings = cluster.owned(owner.uid()).map(|set| &**set);
        let siblings = siblings.filter(|set| set.replica_set().is_some() && set.id != after.id);
        let siblings: Vec<&Item> = siblings.collect();
        if owner.is_terminating() || self.is_share(before, after, &siblings, resized) {
            return;
        }
        let spans = |set: &str| self.ready.get(set).into_iter().flat_map(|pods| pods.spans.values());
        let ready = |set: &str| {
            let was = |span: &&Span| span.until.is_none_or(|until| until + lag.min(MEMORY) > cluster.now);
            spans(set).filter(was).count() as i32
        };
        let others: i32 = siblings.iter().map(|set| ready(set.uid()).min(size(set))).sum();
        let kept = others + ready(after.uid()).min(to);
        // Those that are not ready go first, and those of which that is not known yet.
        let lasting = |span: &&Span| span.until.is_none() && span.since + lag < cluster.now;
        let takes_ready_ones = spans(after.uid()).filter(lasting).count() as i32 > to;
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
