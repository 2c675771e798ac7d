//! P9: who counts as available has been ready for `minReadySeconds`.
//!
//! Judged when a status begins to count more available replicas. A ReplicaSet's may count no more than its pods that
//! can have been ready for so long: since the write that showed them ready, or since the moment that their status
//! names, if that is earlier (a kubelet's write may come late), and until now or within the controller's lag. The bound
//! is the smallest `minReadySeconds` within that lag. A Deployment's may count no more than its sets have said within
//! it.
//!
//! That lets pass: pods that ceased to be ready, left or were deleted unseen; wishes the controller has not been shown;
//! stamps that are cut to whole seconds. Not judged: statuses that count too few (convergence does), and anything while
//! a clock is wrong or was lately, since controllers that start judge by stamps.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::{Invariant, MEMORY, Report, UNANSWERED};
use crate::model::{Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// So long after clocks are right again what was judged by them may still be written.
const AFTERMATH: Duration = Duration::from_secs(90);

/// See the module.
#[derive(Default)]
pub struct MinReady {
    /// By uid of a set, then of a pod: when the pod was ready.
    ready: BTreeMap<String, Pods>,
    /// By uid of a set: what it asked for, each with the time at which that ceased to be the newest.
    asked: BTreeMap<String, VecDeque<(Duration, i32)>>,
    /// By uid of a Deployment, then of a set: what the set said.
    said: BTreeMap<String, BTreeMap<String, Said>>,
}

#[derive(Default)]
struct Pods {
    spans: BTreeMap<String, Vec<Span>>,
    /// How many pods were kept when those of long ago were last forgotten.
    kept: usize,
}

/// A time in which a pod was ready.
#[derive(Debug, Clone, Copy)]
struct Span {
    since: Duration,
    until: Option<Duration>,
}

/// How many available replicas a set told of: now, and before, until when.
#[derive(Default)]
struct Said {
    now: i32,
    before: VecDeque<(Duration, i32)>,
}

impl Invariant for MinReady {
    fn id(&self) -> &'static str {
        "P9"
    }

    fn statement(&self) -> &'static str {
        "Who counts as available has been ready for minReadySeconds."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        match &*change.id.resource {
            "pods" => self.remember_pod(change, cluster),
            "replicasets.apps" => {
                self.judge_set(change, cluster, report);
                self.remember_set(change, cluster.now);
            }
            "deployments.apps" => self.judge_deployment(change, cluster, report),
            _ => {}
        }
    }
}

/// How old the picture may be that a status rests on: a controller may wait for an answer in vain before it writes one.
fn lag(cluster: &Cluster) -> Duration {
    (cluster.lag(Role::ControllerManager) + UNANSWERED).min(MEMORY)
}

/// For how many seconds a set wants its pods to be ready.
fn min_ready(item: &Item) -> i32 {
    let of = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
    item.replica_set().and_then(of).unwrap_or(0)
}

/// How many available replicas the status of a set or a Deployment counts.
fn available(item: &Item) -> i32 {
    let of_set = item
        .replica_set()
        .and_then(|set| set.status.as_ref()?.available_replicas);
    let of_deployment = || item.deployment()?.status.as_ref()?.available_replicas;
    of_set.or_else(of_deployment).unwrap_or(0)
}

/// Since when a pod is ready, by its status and by its write, whichever is earlier; none if it is not.
fn ready_since(pod: &Item, cluster: &Cluster) -> Option<Duration> {
    let conditions = pod.pod()?.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    if ready.status != "True" || !pod.is_live_pod() {
        return None;
    }
    let stamp = ready.last_transition_time.as_ref();
    Some(stamp.map_or(Duration::ZERO, |stamp| cluster.moment(stamp.0).min(cluster.now)))
}

impl Pods {
    /// The pod is ready since then.
    fn open(&mut self, uid: &str, since: Duration, now: Duration) {
        let spans = self.spans.entry(uid.to_owned()).or_default();
        if let Some(last) = spans.last_mut().filter(|last| last.until.is_none()) {
            if last.since >= since {
                last.since = since;
                return;
            }
            // Another time of readiness; that it ended was never written.
            last.until = Some(now);
        }
        spans.push(Span { since, until: None });
    }

    /// The pod is not ready, or not the set's.
    fn close(&mut self, uid: &str, now: Duration) {
        if let Some(spans) = self.spans.get_mut(uid) {
            if let Some(last) = spans.last_mut() {
                last.until.get_or_insert(now);
            }
            spans.retain(|span| span.until.is_none_or(|until| until + MEMORY > now));
        }
        if self.spans.len() > self.kept * 2 + 16 {
            self.spans.retain(|_, spans| {
                spans
                    .iter()
                    .any(|span| span.until.is_none_or(|until| until + MEMORY > now))
            });
            self.kept = self.spans.len();
        }
    }

    /// Whether each pod can have been available, for one who may see what was so long ago.
    fn available(&self, wait: Duration, lag: Duration, now: Duration) -> usize {
        let can = |span: &Span| match span.until {
            None => span.since + wait <= now,
            Some(until) => until + lag > now && span.since + wait <= now,
        };
        self.spans.values().filter(|spans| spans.iter().any(can)).count()
    }
}

/// The least and the greatest of what was `now` or within the lag.
fn range(before: &VecDeque<(Duration, i32)>, newest: i32, lag: Duration, now: Duration) -> (i32, i32) {
    let recent = before.iter().filter(|(until, _)| *until + lag > now);
    recent.fold((newest, newest), |(least, most), (_, value)| {
        (least.min(*value), most.max(*value))
    })
}

fn push(past: &mut VecDeque<(Duration, i32)>, value: i32, now: Duration) {
    past.push_back((now, value));
    while past.front().is_some_and(|(until, _)| *until + MEMORY < now) {
        past.pop_front();
    }
}

impl MinReady {
    fn remember_pod(&mut self, change: &Change, cluster: &Cluster) {
        let owner = |item: &Item| item.controller_uid().map(str::to_owned);
        let before = change.before.as_ref().and_then(|item| Some((owner(item)?, item.uid())));
        let after = change.after.as_ref().and_then(|item| Some((owner(item)?, item)));
        if let Some((set, pod)) = before
            && after
                .as_ref()
                .is_none_or(|(other, item)| *other != set || item.uid() != pod)
            && let Some(pods) = self.ready.get_mut(&set)
        {
            pods.close(pod, cluster.now);
        }
        let Some((set, pod)) = after else { return };
        match ready_since(pod, cluster) {
            Some(since) => self.ready.entry(set).or_default().open(pod.uid(), since, cluster.now),
            None => {
                if let Some(pods) = self.ready.get_mut(&set) {
                    pods.close(pod.uid(), cluster.now);
                }
            }
        }
    }

    fn remember_set(&mut self, change: &Change, now: Duration) {
        if let Some(before) = &change.before {
            let gone = change.after.as_ref().is_none_or(|after| after.uid() != before.uid());
            if gone {
                self.ready.remove(before.uid());
                self.asked.remove(before.uid());
            } else if change
                .after
                .as_ref()
                .is_some_and(|after| min_ready(after) != min_ready(before))
            {
                let asked = self.asked.entry(before.uid().to_owned()).or_default();
                push(asked, min_ready(before), now);
            }
        }
        // A set that goes, or that its Deployment lets go, counts on for those who do not know.
        let owner = |item: &Item| {
            item.controller_uid()
                .map(|owner| (owner.to_owned(), item.uid().to_owned()))
        };
        let old = change.before.as_ref().and_then(|item| owner(item));
        let new = change.after.as_ref().and_then(|item| owner(item));
        if let Some((deployment, set)) = old.filter(|old| new.as_ref() != Some(old)) {
            self.says(&deployment, &set, 0, now);
        }
        if let (Some((deployment, set)), Some(after)) = (new, &change.after) {
            self.says(&deployment, &set, available(after), now);
        }
    }

    fn says(&mut self, deployment: &str, set: &str, count: i32, now: Duration) {
        let sets = self.said.entry(deployment.to_owned()).or_default();
        let said = sets.entry(set.to_owned()).or_default();
        if said.now != count {
            push(&mut said.before, said.now, now);
            said.now = count;
        }
        // Of sets that are gone, or empty for long, nothing is left to know.
        sets.retain(|_, said| said.now > 0 || said.before.back().is_some_and(|(until, _)| *until + MEMORY > now));
        if sets.is_empty() {
            self.said.remove(deployment);
        }
    }

    fn judge_set(&self, change: &Change, cluster: &Cluster, report: &mut Report) {
        let Some(set) = &change.after else { return };
        let counted = available(set);
        if counted <= change.before.as_ref().map_or(0, |before| available(before)) {
            return;
        }
        let lag = lag(cluster);
        let newest = min_ready(set);
        let unseen = self.asked.get(set.uid());
        let own = change
            .before
            .as_ref()
            .map_or(newest, |before| min_ready(before))
            .min(newest);
        let least = unseen.map_or(own, |asked| range(asked, own, lag, cluster.now).0);
        let wait = Duration::from_secs(u64::try_from(least).unwrap_or(0));
        if cluster.is_clock_wrong(wait + AFTERMATH) {
            return;
        }
        let pods = self.ready.get(set.uid());
        let possible = pods.map_or(0, |pods| pods.available(wait, lag, cluster.now));
        if i64::from(counted) > possible as i64 {
            let message = format!(
                "{} (uid {}) counts {counted} available replicas at revision {}, but only {possible} of its pods can have been ready for {least} s",
                set.id,
                set.uid(),
                change.revision
            );
            report.broken(self.id(), message, &["controller-manager", "apiserver", "kubelet"]);
        }
    }

    fn judge_deployment(&mut self, change: &Change, cluster: &Cluster, report: &mut Report) {
        let Some(deployment) = &change.after else {
            if let Some(before) = &change.before {
                self.said.remove(before.uid());
            }
            return;
        };
        let counted = available(deployment);
        if counted <= change.before.as_ref().map_or(0, |before| available(before)) {
            return;
        }
        let lag = lag(cluster);
        let sets = self.said.get(deployment.uid()).into_iter().flat_map(BTreeMap::values);
        let possible: i32 = sets.map(|said| range(&said.before, said.now, lag, cluster.now).1).sum();
        if counted > possible {
            let message = format!(
                "{} (uid {}) counts {counted} available replicas at revision {}, of which its sets have told of {possible} at most",
                deployment.id,
                deployment.uid(),
                change.revision
            );
            report.broken(self.id(), message, &["controller-manager", "apiserver"]);
        }
    }
}
