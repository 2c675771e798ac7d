//! K5: a container is shown ready no sooner than it answers, and has answered as often as its probe wants. K7: it is
//! not killed before its grace period, unless forced.
//!
//! K5 is judged when a pod's status begins to show a container as ready that a readiness probe asks: it must have come so
//! far that it answers, and have done so for as long as the successes in a row take that the probe wants, over HTTP or
//! TCP, if nobody else can answer in its place. That lets pass a kubelet that stood still, which makes up for a probe
//! that it missed.
//!
//! K7 is judged when a kubelet asks the runtime to stop a container: it must leave it what is left of the pod's grace
//! period since it was first asked to end, and two seconds in any case. A sidecar waits for others of its pod: what is
//! left to it is what was when the first of these was asked of late, and in troubled times nobody knows when that was.
//! Where hooks run before that, which take of the grace period what they need, only the two seconds are judged (K18
//! judges the rest); the own grace period of a probe of that container counts if it is shorter. A sandbox that is
//! stopped or removed leaves nothing to what still runs in it; that lets pass a container that its kubelet may not have
//! seen start.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodSpec;

use super::probing::{ROUNDING, answers_alone, asks_another, probing, readiness};
use super::restarts::{UNDER_WAY, containers};
use super::sidecars::{APART, sidecars};
use super::{Invariant, Report, kubelet_of};
use crate::model::{Cluster, Item, Seen};
use crate::scenario::Role;

/// So long every container is left that is not forced.
pub(super) const LEAST: Duration = Duration::from_secs(2);

/// K5; see the module.
#[derive(Default)]
pub struct Readiness {
    /// When containers answer, by id.
    answers: BTreeMap<String, Duration>,
}

/// K7; see the module.
#[derive(Default)]
pub struct Grace {
    /// When containers were first asked to end, by id.
    asked: BTreeMap<String, Duration>,
    /// When containers of pods were asked to end of late, by the pods' uids.
    lately: BTreeMap<String, Vec<Duration>>,
    /// When containers started that run, and what they are called, by id.
    started: BTreeMap<String, (Duration, String)>,
}

/// How long a container of the pod has to end when it is asked to, by what the probes of those say too whose names are
/// meant.
pub(super) fn grace_period(item: &Item, spec: &PodSpec, is_meant: impl Fn(&str) -> bool) -> Duration {
    let own = spec.termination_grace_period_seconds.unwrap_or(30);
    let deletion = item.meta.deletion_grace_period_seconds;
    let probes = containers(spec)
        .filter(|container| is_meant(&container.name))
        .flat_map(|container| [&container.liveness_probe, &container.startup_probe])
        .filter_map(|probe| probe.as_ref()?.termination_grace_period_seconds);
    let seconds = probes.chain(deletion).fold(own, i64::min);
    Duration::from_secs(seconds.max(0) as u64)
}

/// The longest grace period that a container of the pod may have by its spec.
pub(super) fn longest_grace(spec: &PodSpec) -> Duration {
    let probes = containers(spec)
        .flat_map(|own| [&own.liveness_probe, &own.startup_probe])
        .filter_map(|probe| probe.as_ref()?.termination_grace_period_seconds);
    let seconds = probes.fold(spec.termination_grace_period_seconds.unwrap_or(30), i64::max);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(1))
}

/// Whether a container of the pod may have a hook that runs before it is stopped.
fn has_hooks(spec: &PodSpec) -> bool {
    containers(spec).any(|container| {
        let lifecycle = container.lifecycle.as_ref();
        lifecycle.is_some_and(|lifecycle| lifecycle.pre_stop.is_some())
    })
}

/// The ids of the containers that the status shows as ready, though they have to be probed themselves, and for how long
/// they must have answered before.
fn ready(item: &Item) -> impl Iterator<Item = (&str, Duration)> {
    let pod = item.pod();
    let spec = pod.and_then(|pod| pod.spec.as_ref());
    let status = pod.and_then(|pod| pod.status.as_ref());
    let statuses = status
        .into_iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    statuses.filter(|status| status.ready).filter_map(move |status| {
        let spec = spec?;
        let own = spec.containers.iter().find(|own| own.name == status.name)?;
        let id = status.container_id.as_deref()?.split_once("://")?.1;
        let probe = readiness(own).filter(|probe| !asks_another(probe, own, spec));
        probe.map(|_| (id, least_answering(item, spec, &own.name)))
    })
}

/// How long a container answers before so many probes in a row have succeeded as its readiness takes. Another one may
/// have answered the first of them, if there is one at its address; and a command may wait for its answer, and the next
/// one comes at once then.
fn least_answering(pod: &Item, spec: &PodSpec, name: &str) -> Duration {
    let probing = probing(pod, name, readiness).filter(|_| answers_alone(spec));
    probing.map_or(Duration::ZERO, |probing| probing.succeeding())
}

impl Invariant for Readiness {
    fn id(&self) -> &'static str {
        "K5"
    }

    fn statement(&self) -> &'static str {
        "A container is shown ready no sooner than it answers, and has answered as often as its probe wants."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::ContainerStarted { container, answers, .. } => {
                self.answers.insert((*container).to_owned(), cluster.now + *answers);
            }
            Seen::Change(change) => {
                let Some(after) = change.after.as_ref().filter(|item| item.pod().is_some()) else {
                    return;
                };
                let was_ready = |id: &str| {
                    let before = change.before.as_ref().filter(|before| before.pod().is_some());
                    before.is_some_and(|before| ready(before).any(|(known, _)| known == id))
                };
                let kubelet = kubelet_of(after.node_name());
                let early = ready(after).find_map(|(id, least)| {
                    let answers = *self.answers.get(id)?;
                    let is_excused = was_ready(id) || cluster.was_paused(&kubelet);
                    let is_hasty = answers + least > cluster.now + ROUNDING && !is_excused;
                    (answers > cluster.now || is_hasty).then_some((id, answers, least))
                });
                if let Some((id, at, least)) = early {
                    let message = format!(
                        "{} (uid {}) shows container {id} ready at revision {}, which answers only from {at:?} on, and \
                         must do so for {least:?}",
                        change.id,
                        after.uid(),
                        change.revision
                    );
                    report.broken(self.id(), message, &[&kubelet]);
                }
            }
            _ => {}
        }
    }
}

impl Invariant for Grace {
    fn id(&self) -> &'static str {
        "K7"
    }

    fn statement(&self) -> &'static str {
        "No container is killed before its grace period, unless forced."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let (machine, pod_uid, container, grace) = match seen {
            Seen::ContainerStopping {
                machine,
                pod_uid,
                container,
                grace,
            } => (machine, pod_uid, container, grace),
            Seen::ContainerStarted { container, name, .. } => {
                let started = (cluster.now, (*name).to_owned());
                self.started.insert((*container).to_owned(), started);
                return;
            }
            Seen::ContainerEnded { container, .. } => {
                self.asked.remove(*container);
                self.started.remove(*container);
                return;
            }
            Seen::Change(change) => {
                if let (Some(before), None) = (&change.before, &change.after) {
                    self.lately.remove(before.uid());
                }
                return;
            }
            _ => return,
        };
        let since = *self.asked.entry((*container).to_owned()).or_insert(cluster.now);
        let Some((item, spec)) = cluster.pod_by_uid(pod_uid) else {
            return;
        };
        let started = self.started.get(*container);
        let whole = grace_period(item, spec, |own| started.is_none_or(|(_, name)| name == own));
        let lately = self.lately.entry((*pod_uid).to_owned()).or_default();
        lately.retain(|at| *at + whole + LEAST > cluster.now);
        lately.push(cluster.now);
        let is_sidecar = started.is_some_and(|(_, own)| sidecars(spec).any(|name| name == own));
        let waited = match is_sidecar {
            // The others were asked a moment after its kubelet began to count.
            true => {
                lately
                    .iter()
                    .fold(Duration::ZERO, |waited, at| waited.max(cluster.now - *at))
                    + APART
            }
            false => cluster.now - since,
        };
        // What its kubelet asked of the others before may not have got to the runtime.
        let is_uncertain = is_sidecar && cluster.is_disturbed_on(machine, UNDER_WAY);
        let left = if has_hooks(spec) || is_uncertain {
            Duration::ZERO
        } else {
            whole.saturating_sub(waited)
        };
        let least = left.max(whole.min(LEAST));
        let is_new = |at: Duration| at + cluster.lag(Role::Kubelet) >= cluster.now;
        let is_unseen = grace.is_zero() && started.is_some_and(|(at, _)| is_new(*at));
        if *grace < least && !is_unseen {
            let message = format!(
                "the kubelet leaves container {container} of {} (uid {pod_uid}) on {machine} {grace:?} to end, not {least:?}",
                item.id
            );
            report.broken(
                self.id(),
                message,
                &[&format!("kubelet/{machine}"), &format!("runtime/{machine}")],
            );
        }
    }
}
