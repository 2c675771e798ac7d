//! K9: a container that ended is started again only if its restart policy says so, never once its pod is over or known
//! to be going, and no sooner than its back-off.
//!
//! Judged when a container starts, by the moment at which its kubelet asked for that: a runtime that hangs carries it
//! out later.
//!
//! * *Policy*: the last one of its name ended with a code after which it is started again, or its image was changed
//!   while it ran: then it is replaced whatever the policy says. A change after its end gives it no second life. An
//!   init container that has succeeded, or failed in a pod that never restarts, is judged within its sandbox only: a
//!   new one starts over; and no change replaces it. Source: Kubernetes' kubelet, `computePodActions`.
//! * *Over*: some container of the pod itself may still be started again, or the last one ended a moment ago.
//! * *Going*: this life of the kubelet was not told a while ago that the pod is being deleted.
//! * *Back-off*: after the restarts that this life of the kubelet has made of it, at most eight minutes apart and of
//!   one image in one sandbox, it waits 0 s, 10 s, 20 s … 300 s from its end. Source: Kubernetes' documentation of the
//!   pod lifecycle, "Container restarts".
//!
//! That lets pass: a kubelet that starts again and has forgotten how often something crashed; containers that the
//! runtime no longer has (a machine that was replaced, a container made and removed unseen), after which everything
//! begins anew; a start that was under way, in troubled times for minutes, when the kubelet was told; a change of the
//! image when the kubelet may not have heard yet that the container has ended. Not judged: two containers of one name
//! at the same time, and restarts that are due and never come.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::kubelets::Lives;
use super::{Invariant, Report, UNANSWERED, kubelet_of};
use crate::model::{Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// The first back-off.
const FIRST: Duration = Duration::from_secs(10);
/// The longest one.
const LONGEST: Duration = Duration::from_secs(300);
/// Ten quiet minutes forgive; a kubelet may count from up to two minutes before it asks the runtime for a start.
const COUNTED: Duration = Duration::from_secs(480);
/// Timers are rounded to milliseconds.
pub(super) const TIMER_ROUNDING: Duration = Duration::from_millis(10);
/// So long after a fault an act may still be under way that was decided on before.
pub(super) const UNDER_WAY: Duration = Duration::from_secs(180);

/// Whether the kubelet of `machine` may have been kept lately from doing what it should.
pub(super) fn is_troubled(machine: &str, cluster: &Cluster) -> bool {
    cluster.is_disturbed_on(machine, UNDER_WAY) || cluster.was_paused(&kubelet_of(machine))
}

/// How old the picture may be that the kubelet of `machine` acts on, of what it was told and of what runs.
pub(super) fn tolerance(machine: &str, cluster: &Cluster) -> Duration {
    let troubled = is_troubled(machine, cluster);
    cluster.lag(Role::Kubelet) + if troubled { UNDER_WAY } else { Duration::ZERO }
}

/// See the module.
#[derive(Default)]
pub struct Restarts {
    /// The newest container of each name, by the pod's uid and its name.
    newest: BTreeMap<(String, String), Life>,
    /// The names of those, by id.
    names: BTreeMap<String, (String, String)>,
    lives: Lives,
    /// Kubelets' watches of pods.
    watches: BTreeMap<u64, Watch>,
    /// When the present life of a kubelet was told that a pod is being deleted: by the kubelet and the pod's uid.
    told: BTreeMap<(String, String), Duration>,
}

/// A container's life.
struct Life {
    id: String,
    sandbox: String,
    image: String,
    /// The pod has had another image for it while it ran.
    changed: bool,
    asked: Duration,
    /// How many restarts the present life of the kubelet has counted when it had started this one.
    restarts: u32,
    /// When it ended, and with which code.
    ended: Option<(Duration, i32)>,
}

/// A watch, and the deletions that it has said, by the number of the event.
struct Watch {
    client: String,
    said: u64,
    deletions: BTreeMap<u64, String>,
}

/// A container in its pod's spec.
#[derive(Clone, Copy)]
struct Place<'a> {
    spec: &'a Container,
    init: bool,
    policy: &'a str,
}

impl<'a> Place<'a> {
    fn of(spec: &'a PodSpec, name: &str) -> Option<Self> {
        let init = spec.init_containers.iter().flatten().map(|own| (own, true));
        let all = init.chain(spec.containers.iter().map(|own| (own, false)));
        let (own, init) = all.into_iter().find(|(own, _)| own.name == name)?;
        let policy = own.restart_policy.as_deref().or(spec.restart_policy.as_deref());
        Some(Place {
            spec: own,
            init,
            policy: policy.unwrap_or("Always"),
        })
    }

    fn is_sidecar(&self) -> bool {
        self.init && self.spec.restart_policy.as_deref() == Some("Always")
    }

    /// Whether it is started again after `last` ended with `code`.
    fn restarts_after(&self, last: &Life, code: i32) -> bool {
        match self.policy {
            _ if self.is_sidecar() => true,
            _ if last.changed && !self.init => true,
            "Never" => false,
            policy => code != 0 || (policy == "Always" && !self.init),
        }
    }
}

/// How long a container waits that was restarted so often.
fn back_off(restarts: u32) -> Duration {
    match restarts.checked_sub(1) {
        None => Duration::ZERO,
        Some(doubled) => FIRST.saturating_mul(1 << doubled.min(10)).min(LONGEST),
    }
}

/// A start, as it is judged.
struct Start<'a> {
    uid: &'a str,
    sandbox: &'a str,
    image: &'a str,
    asked: Duration,
    machine: &'a str,
    kubelet: &'a str,
    place: Place<'a>,
}

impl Restarts {
    /// How many restarts the kubelet had counted when it decided on `start`, after `last`.
    fn counted(&self, start: &Start<'_>, last: &Life) -> u32 {
        let began = self.lives.began(start.machine);
        let same = last.sandbox == start.sandbox && last.image == start.image;
        let near = start.asked.saturating_sub(last.asked) <= COUNTED;
        if same && near && last.asked >= began && start.asked >= began {
            last.restarts
        } else {
            0
        }
    }

    /// Notes which images of a pod a change has made others, while their containers ran as far as the kubelet knew.
    fn images(&mut self, change: &Change, cluster: &Cluster) {
        let (Some(before), Some(after)) = (&change.before, &change.after) else {
            return;
        };
        let (Some(old), Some(new)) = (spec_of(before), spec_of(after)) else {
            return;
        };
        for (own, _) in containers(new)
            .zip(containers(old))
            .filter(|(own, old)| own.image != old.image)
        {
            let life = self.newest.get_mut(&(after.uid().to_owned(), own.name.clone()));
            let tolerance = tolerance(after.node_name(), cluster);
            let known = |life: &&mut Life| life.ended.is_none_or(|(at, _)| cluster.now <= at + tolerance);
            if let Some(life) = life.filter(known) {
                life.changed = true;
            }
        }
    }

    /// When the last of the pod's containers ended for good, if none of them will be started again.
    fn over(&self, spec: &PodSpec, uid: &str) -> Option<Duration> {
        let mut over = Duration::ZERO;
        for own in &spec.containers {
            let last = self.newest.get(&(uid.to_owned(), own.name.clone()))?;
            let (at, code) = last.ended?;
            if Place::of(spec, &own.name)?.restarts_after(last, code) {
                return None;
            }
            over = over.max(at);
        }
        Some(over)
    }

    /// What is wrong with `start`.
    fn wrong(&self, start: &Start<'_>, spec: &PodSpec, last: Option<&Life>, cluster: &Cluster) -> Option<String> {
        let Start { uid, asked, place, .. } = start;
        if let Some(last) = last
            && let Some((at, code)) = last.ended.filter(|(at, _)| at <= asked)
        {
            let prepares_anew = place.init && last.sandbox != start.sandbox;
            if !prepares_anew && !place.restarts_after(last, code) {
                return Some(format!(
                    "though its restart policy is {} and it had ended with {code} at {at:?}",
                    place.policy
                ));
            }
            let restarts = self.counted(start, last);
            let due = at + back_off(restarts);
            if *asked + TIMER_ROUNDING < due {
                return Some(format!(
                    "at {asked:?}, though it ended at {at:?} and was restarted {restarts} times before: it waits until {due:?}"
                ));
            }
        }
        let tolerance = tolerance(start.machine, cluster);
        if let Some(over) = self.over(spec, uid).filter(|over| *over + tolerance < *asked) {
            return Some(format!(
                "though all the pod's containers had ended for good by {over:?}"
            ));
        }
        let told = self.told.get(&(start.kubelet.to_owned(), (*uid).to_owned()));
        // What a container's environment is made of is read in between.
        told.filter(|told| **told + tolerance + UNANSWERED < *asked)
            .map(|told| format!("though the kubelet was told at {told:?} that the pod is being deleted"))
    }
}

fn spec_of(item: &Item) -> Option<&PodSpec> {
    item.pod()?.spec.as_ref()
}

/// A container's image; empty if it has none.
fn image_of(own: &Container) -> &str {
    own.image.as_deref().unwrap_or_default()
}

/// The uid of the pod `name`, if it was being deleted at `revision`.
fn going(cluster: &Cluster, revision: u64, namespace: &str, name: &str) -> Option<String> {
    let change = cluster.history("pods")?.at(revision, namespace, name)?;
    let pod = change.newest().filter(|pod| pod.is_terminating())?;
    Some(pod.uid().to_owned())
}

impl Invariant for Restarts {
    fn id(&self) -> &'static str {
        "K9"
    }

    fn statement(&self) -> &'static str {
        "A container is started again only as its restart policy says, not in a pod that is over or going, and after its back-off."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        if let Some(machine) = self.lives.observe(seen, cluster.now) {
            let reborn = kubelet_of(machine);
            self.told.retain(|(kubelet, _), _| *kubelet != reborn);
        }
        match seen {
            Seen::ContainerStarted {
                machine,
                pod_uid,
                sandbox,
                container,
                name,
                image,
                asked,
                ..
            } => {
                let Some((pod, spec)) = cluster.pod_by_uid(pod_uid) else {
                    return;
                };
                let Some(place) = Place::of(spec, name) else { return };
                let kubelet = format!("kubelet/{machine}");
                let start = Start {
                    uid: pod_uid,
                    sandbox,
                    image,
                    asked: *asked,
                    machine,
                    kubelet: &kubelet,
                    place,
                };
                let key = ((*pod_uid).to_owned(), (*name).to_owned());
                let last = self.newest.get(&key);
                if let Some(why) = self.wrong(&start, spec, last, cluster) {
                    let message = format!(
                        "container {name} ({container}) of {} (uid {pod_uid}) was started on {machine} {why}",
                        pod.id
                    );
                    report.broken(self.id(), message, &[&kubelet, &format!("runtime/{machine}")]);
                }
                let began = self.lives.began(machine);
                // A former life's restart, carried out late, is nothing that this one has counted; nor is the first start
                // in another sandbox: in the old one may be a container that was made and never started.
                let restarts = last
                    .filter(|last| last.ended.is_some_and(|(at, _)| at <= *asked) && *asked >= began)
                    .filter(|last| last.sandbox == *sandbox)
                    .map_or(0, |last| self.counted(&start, last) + 1);
                if let Some(last) = last {
                    self.names.remove(&last.id);
                }
                self.names.insert((*container).to_owned(), key.clone());
                let life = Life {
                    id: (*container).to_owned(),
                    sandbox: (*sandbox).to_owned(),
                    image: (*image).to_owned(),
                    changed: image_of(place.spec) != *image,
                    asked: *asked,
                    restarts,
                    ended: None,
                };
                self.newest.insert(key, life);
            }
            Seen::ContainerEnded { container, code } => {
                if let Some(life) = self.names.get(*container).and_then(|key| self.newest.get_mut(key)) {
                    life.ended = Some((cluster.now, *code));
                }
            }
            Seen::ContainerRemoved { container } => {
                if let Some(key) = self.names.remove(*container) {
                    self.newest.remove(&key);
                }
            }
            Seen::WatchOpened {
                stream,
                client,
                selection,
                ..
            } if &*selection.resource == "pods" && client.starts_with("kubelet/") => {
                let watch = Watch {
                    client: (*client).to_owned(),
                    said: 0,
                    deletions: BTreeMap::new(),
                };
                self.watches.insert(*stream, watch);
            }
            Seen::Watched {
                stream,
                revision,
                namespace,
                name,
                ..
            } => {
                let Some(watch) = self.watches.get_mut(stream) else {
                    return;
                };
                watch.said += 1;
                if let Some(uid) = going(cluster, *revision, namespace, name) {
                    watch.deletions.insert(watch.said, uid);
                }
            }
            Seen::Delivered { stream, events } => {
                let Some(watch) = self.watches.get_mut(stream) else {
                    return;
                };
                while let Some(first) = watch.deletions.first_entry().filter(|first| first.key() <= events) {
                    let uid = first.remove();
                    if cluster.by_uid(&uid).is_some() {
                        self.told.entry((watch.client.clone(), uid)).or_insert(cluster.now);
                    }
                }
            }
            Seen::WatchClosed { stream } => {
                self.watches.remove(stream);
            }
            Seen::Change(change) if change.after.is_some() => self.images(change, cluster),
            Seen::Change(change) => {
                let Some(before) = change.before.as_ref().filter(|before| before.pod().is_some()) else {
                    return;
                };
                let uid = before.uid();
                self.told
                    .remove(&(format!("kubelet/{}", before.node_name()), uid.to_owned()));
                for own in spec_of(before).into_iter().flat_map(containers) {
                    if let Some(life) = self.newest.remove(&(uid.to_owned(), own.name.clone())) {
                        self.names.remove(&life.id);
                    }
                }
            }
            _ => {}
        }
    }
}

/// All containers of a pod, init containers first.
pub(super) fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}
