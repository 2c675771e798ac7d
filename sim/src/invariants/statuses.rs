//! K10: a pod's status shows of its containers what is.
//!
//! Judged when a status begins to claim something; what stood there before is not judged again. A status is as old as
//! the oldest write of it that is being carried out then: one that was held up or is carried out twice may come long
//! after newer ones.
//!
//! * *Running*, *ready* or *started*: the container of that id has been started, and did not end a while ago
//!   (as long as a kubelet's picture may be old, or a lost write takes, and in troubled times for minutes more).
//! * *Ended*: the container of that id has ended, with that code; so has the one of the last state, and while the next
//!   one is awaited, that is no older than what was shown to run.
//! * *Succeeded*: the newest container of each name has ended with 0, whether or not the runtime still has it.
//! * *restartCount* does not fall in the life of a pod, unless by a write that left before the last one was done, and
//!   as long as no fault has struck lately: a start that failed counts until it is tried again. What has been shown for
//!   longer than a kubelet's picture may be old does not fall at all.
//! * *Not ready* any more, with a readiness probe that asks it over the network: since it was shown ready the container has been
//!   silent for as long as the probe's failures take. That lets pass a kubelet that has not heard yet that it was shown
//!   ready, one that stood still, and pods on their way out.
//!
//! Not judged: the states of containers that the runtime no longer has; those whose end nobody saw, and says so
//! (`ContainerStatusUnknown`); what a status does not say.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus};

use super::probing::{ROUNDING, probing, readiness};
use super::restarts::{UNDER_WAY, containers, tolerance};
use super::writes::StatusWrites;
use super::{Invariant, Report, UNANSWERED, kubelet_of};
use crate::model::{Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// Why a status says that a container has ended whose end nobody saw.
const UNKNOWN: &str = "ContainerStatusUnknown";

/// See the module.
#[derive(Default)]
pub struct Statuses {
    /// When every container ended, and with which code, by id: of those that the runtimes have, and of those that they
    /// no longer have as long as there is the pod.
    ends: BTreeMap<String, Option<(Duration, i32)>>,
    /// The how manieth start each of them was, by id.
    order: BTreeMap<String, u64>,
    starts: u64,
    /// The newest one of each name, by the pod's uid and its name.
    newest: BTreeMap<(String, String), String>,
    /// Those that the runtimes no longer have, by the pod's uid.
    removed: BTreeMap<String, Vec<String>>,
    /// The pods of containers, by id.
    pods: BTreeMap<String, String>,
    writes: StatusWrites,
    /// Since when a container's count of restarts is shown, by the pod's uid and its name.
    counted: BTreeMap<(String, String), Duration>,
    /// The containers that are shown ready, by id.
    ready: BTreeMap<String, Answering>,
    /// Since when containers answer nobody, by id.
    silent: BTreeMap<String, Duration>,
}

/// A container that is shown ready.
struct Answering {
    since: Duration,
    /// The longest time since then for which it answered nobody.
    silence: Duration,
}

/// What a pod's status says of its containers.
pub(super) fn statuses(item: &Item) -> impl Iterator<Item = &ContainerStatus> {
    let status = item.pod().and_then(|pod| pod.status.as_ref());
    status.into_iter().flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        init.chain(status.container_statuses.iter().flatten())
    })
}

fn id_of(uri: Option<&String>) -> Option<&str> {
    Some(uri?.split_once("://")?.1)
}

/// The container that is said to run, and whether also to be started and ready.
pub(super) fn runs(status: &ContainerStatus) -> Option<(&str, bool, bool)> {
    status.state.as_ref()?.running.as_ref()?;
    let id = id_of(status.container_id.as_ref())?;
    Some((id, status.started == Some(true), status.ready))
}

/// How long a container must answer nobody before its readiness probe may say so; none if it is not asked over the
/// network, or something else decides as well.
fn least_silence(pod: &Item, name: &str) -> Option<Duration> {
    let probing = probing(pod, name, readiness).filter(|probing| !probing.starts)?;
    Some(probing.failing())
}

/// The container that a state says has ended, and its code.
fn end(state: Option<&ContainerState>) -> Option<(&str, i32)> {
    let ended = state?.terminated.as_ref()?;
    if ended.reason.as_deref() == Some(UNKNOWN) {
        return None;
    }
    Some((id_of(ended.container_id.as_ref())?, ended.exit_code))
}

/// The container that is said to have ended, and its code.
fn ended(status: &ContainerStatus) -> Option<(&str, i32)> {
    end(status.state.as_ref())
}

/// The container that is said to have ended before, and its code.
fn ended_before(status: &ContainerStatus) -> Option<(&str, i32)> {
    end(status.last_state.as_ref())
}

impl Statuses {
    /// What is wrong with what `after`, a status that `change` wrote, says of a container, having said `before`.
    fn wrong(
        &self,
        change: &Change,
        before: Option<&ContainerStatus>,
        after: &ContainerStatus,
        cluster: &Cluster,
    ) -> Option<String> {
        let name = &after.name;
        let (uid, machine) = change.newest().map_or(("", ""), |pod| (pod.uid(), pod.node_name()));
        let is_removed = |id: &str| self.removed.get(uid).is_some_and(|ids| ids.iter().any(|own| own == id));
        if let Some((id, started, ready)) = runs(after) {
            let was = before.and_then(runs).filter(|(known, ..)| *known == id);
            let news = was.is_none_or(|(_, was_started, was_ready)| (started && !was_started) || (ready && !was_ready));
            // A status whose write was lost is written again, and its kubelet may be busy with the pod meanwhile.
            let limit = tolerance(machine, cluster) + UNANSWERED;
            let said = self.writes.left(change).unwrap_or(cluster.now);
            match self.ends.get(id) {
                _ if !news || is_removed(id) => {}
                None => return Some(format!("shows {name} run as {id}, which was never started")),
                Some(Some((at, _))) if *at + limit < said => {
                    return Some(format!("shows {name} run as {id}, which ended at {at:?}"));
                }
                Some(_) => {}
            }
        } else if after.started == Some(true) {
            return Some(format!("shows {name} started, and not running"));
        }
        let was_said = |end| [before.and_then(ended), before.and_then(ended_before)].contains(&Some(end));
        let ends = [ended(after), ended_before(after)].into_iter().flatten();
        for (id, code) in ends.filter(|end| !was_said(*end) && !is_removed(end.0)) {
            match self.ends.get(id) {
                None => return Some(format!("shows the end of {name} as {id}, which was never started")),
                Some(None) => return Some(format!("shows the end of {name} as {id}, which runs")),
                Some(Some((_, real))) if *real != code => {
                    return Some(format!(
                        "shows that {name} ended with {code} as {id}, which ended with {real}"
                    ));
                }
                Some(_) => {}
            }
        }
        let count = before.map_or(0, |before| before.restart_count);
        let is_late = || self.writes.is_late(change);
        let is_old = |since: Duration| since + cluster.lag(Role::Kubelet) + UNANSWERED < cluster.now;
        let silenced = before.and_then(|before| self.silenced(change, before, after, cluster));
        let wrong = silenced.or_else(|| self.outdated(before, after));
        if let Some(wrong) = wrong.filter(|_| !is_late()) {
            return Some(wrong);
        }
        let counted = self.counted.get(&(uid.to_owned(), name.clone()));
        let is_known = || counted.is_some_and(|since| is_old(*since));
        let is_calm = || !cluster.is_disturbed_on(machine, UNDER_WAY);
        (after.restart_count < count && !is_late() && (is_known() || is_calm())).then(|| {
            format!(
                "shows that {name} was restarted {} times, and {count} before",
                after.restart_count
            )
        })
    }

    /// What is wrong with the last state of a container whose next one is awaited: it must be no older than what ran by
    /// the status before.
    fn outdated(&self, before: Option<&ContainerStatus>, after: &ContainerStatus) -> Option<String> {
        after.state.as_ref()?.waiting.as_ref()?;
        let (ran, ..) = runs(before?)?;
        let (last, _) = ended_before(after)?;
        let started = |id: &str| self.order.get(id);
        (started(last)? < started(ran)?)
            .then(|| format!("shows {last} as the last {}, and {ran} ran after it", after.name))
    }

    /// What is wrong with a status that shows a container not ready any more that runs on.
    fn silenced(
        &self,
        change: &Change,
        before: &ContainerStatus,
        after: &ContainerStatus,
        cluster: &Cluster,
    ) -> Option<String> {
        let pod = change.after.as_ref().filter(|pod| pod.is_live_pod())?;
        let (id, _, _) = runs(before).filter(|(_, _, ready)| *ready)?;
        let (same, _, ready) = runs(after)?;
        let known = self.ready.get(id).filter(|_| same == id && !ready)?;
        let least = least_silence(pod, &after.name)?;
        let lasts = self.silent.get(id).map(|since| cluster.now.saturating_sub(*since));
        let silence = known.silence.max(lasts.unwrap_or_default());
        let kubelet = kubelet_of(pod.node_name());
        let is_excused =
            known.since + cluster.lag(Role::Kubelet) + UNANSWERED >= cluster.now || cluster.was_paused(&kubelet);
        let was_silent = !silence.is_zero() && silence + ROUNDING >= least;
        (!is_excused && !was_silent).then(|| {
            format!(
                "shows {} not ready any more, which answered nobody for {silence:?} as {id}, and may for {least:?}",
                after.name
            )
        })
    }

    /// Remembers what a status shows, and since when.
    fn remember(&mut self, uid: &str, before: Option<&ContainerStatus>, after: &ContainerStatus, now: Duration) {
        if before.is_none_or(|before| before.restart_count != after.restart_count) {
            self.counted.insert((uid.to_owned(), after.name.clone()), now);
        }
        match runs(after) {
            Some((id, _, true)) if !self.ready.contains_key(id) => {
                let answering = Answering {
                    since: now,
                    silence: Duration::ZERO,
                };
                self.ready.insert(id.to_owned(), answering);
            }
            Some((id, _, false)) => {
                self.ready.remove(id);
            }
            _ => {}
        }
    }

    /// The container because of which the pod has not succeeded, if there is one.
    fn failed(&self, item: &Item) -> Option<String> {
        let spec = item.pod()?.spec.as_ref()?;
        spec.containers.iter().find_map(|own| {
            let id = self.newest.get(&(item.uid().to_owned(), own.name.clone()))?;
            match self.ends.get(id)? {
                Some((_, 0)) => None,
                Some((_, code)) => Some(format!("shows success, but {} ended with {code} as {id}", own.name)),
                None => Some(format!("shows success, but {} did not end as {id}", own.name)),
            }
        })
    }

    /// Forgets a pod that is gone.
    fn forget(&mut self, pod: &Item) {
        let uid = pod.uid();
        for id in self.removed.remove(uid).unwrap_or_default() {
            self.ends.remove(&id);
            self.order.remove(&id);
        }
        let spec = pod.pod().and_then(|pod| pod.spec.as_ref());
        for own in spec.into_iter().flat_map(containers) {
            let key = (uid.to_owned(), own.name.clone());
            self.newest.remove(&key);
            self.counted.remove(&key);
        }
    }
}

impl Invariant for Statuses {
    fn id(&self) -> &'static str {
        "K10"
    }

    fn statement(&self) -> &'static str {
        "A pod's status shows its containers run, answer and end as they do; restartCount does not fall."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        self.writes.observe(seen, cluster);
        match seen {
            Seen::ContainerStarted {
                pod_uid,
                container,
                name,
                ..
            } => {
                self.ends.insert((*container).to_owned(), None);
                self.starts += 1;
                self.order.insert((*container).to_owned(), self.starts);
                self.pods.insert((*container).to_owned(), (*pod_uid).to_owned());
                if cluster.by_uid(pod_uid).is_some() {
                    let key = ((*pod_uid).to_owned(), (*name).to_owned());
                    self.newest.insert(key, (*container).to_owned());
                }
            }
            Seen::ContainerSilent {
                container,
                silent: true,
            } => {
                self.silent.entry((*container).to_owned()).or_insert(cluster.now);
            }
            Seen::ContainerSilent {
                container,
                silent: false,
            } => {
                let since = self.silent.remove(*container);
                if let Some((since, known)) = since.zip(self.ready.get_mut(*container)) {
                    known.silence = known.silence.max(cluster.now.saturating_sub(since));
                }
            }
            Seen::ContainerEnded { container, code } => {
                self.ready.remove(*container);
                self.silent.remove(*container);
                if let Some(end) = self.ends.get_mut(*container) {
                    *end = Some((cluster.now, *code));
                }
            }
            Seen::ContainerRemoved { container } => {
                match self.pods.remove(*container).filter(|uid| cluster.by_uid(uid).is_some()) {
                    Some(uid) => self.removed.entry(uid).or_default().push((*container).to_owned()),
                    None => {
                        self.ends.remove(*container);
                        self.order.remove(*container);
                    }
                }
            }
            Seen::Change(change) => {
                let Some(after) = change.after.as_ref().filter(|after| after.pod().is_some()) else {
                    if let Some(before) = &change.before {
                        self.forget(before);
                    }
                    return;
                };
                let before = change.before.as_ref().filter(|before| before.uid() == after.uid());
                let known = |name: &str| before.and_then(|before| statuses(before).find(|own| own.name == name));
                let mut wrong = statuses(after)
                    .filter(|own| known(&own.name) != Some(own))
                    .find_map(|own| self.wrong(change, known(&own.name), own, cluster));
                if after.phase() == "Succeeded" && before.is_none_or(|before| !before.is_finished()) {
                    wrong = wrong.or_else(|| self.failed(after));
                }
                for own in statuses(after) {
                    self.remember(after.uid(), known(&own.name), own, cluster.now);
                }
                if let Some(wrong) = wrong {
                    let message = format!(
                        "{} (uid {}) {wrong}, at revision {}",
                        change.id,
                        after.uid(),
                        change.revision
                    );
                    report.broken(self.id(), message, &[&format!("kubelet/{}", after.node_name())]);
                }
            }
            _ => {}
        }
    }
}
