//! K12: a pod is said to have ended only when nothing of it runs, or will, and goes only after that.
//!
//! Judged over the containers and sandboxes that really are on a kubelet's own machine, when it asks for one of these:
//!
//! * *An end is told*: its status gets the phase `Succeeded` or `Failed`, and had none of these: no container runs.
//! * *It goes for good* (a delete with grace 0): no sandbox is up. Its containers are K2's. It has ended, or had at some
//!   time: a write that was held up may have taken that back.
//!
//! That lets pass what came up a moment ago, as long as a kubelet's picture may be old: a runtime that hung may carry
//! out what a kubelet has given up, or what its former life asked for. Not judged: ends that somebody else has told
//! before, deletes that users force, and pods that were turned away, of which nothing ever ran.
//!
//! Nor is an end told of a pod whose restart policy starts again what has ended: with `Always` none, and with `OnFailure`
//! none that is a failure. That leaves out pods that are being deleted, may run for a limited time, or end for a reason
//! of their kubelet's, and those with a container that has a policy of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::Method;
use serde::Deserialize;

use super::{Invariant, Report};
use crate::model::{Asked, Cluster, Item, Seen};
use crate::scenario::Role;

/// A machine and a pod's uid.
type Place = (String, String);

/// See the module.
#[derive(Default)]
pub struct Endings {
    /// What is up of a pod on a machine, by id.
    up: BTreeMap<Place, BTreeMap<String, Part>>,
    /// Where each of these is.
    places: BTreeMap<String, Place>,
    /// The pods that have been finished at some time, by uid.
    finished: BTreeSet<String>,
}

/// A container that runs, or a sandbox that is up.
struct Part {
    /// The container's name; none of a sandbox.
    name: Option<String>,
    since: Duration,
}

/// What a kubelet says of a pod's end.
#[derive(Clone, PartialEq, Eq)]
enum Word {
    /// Its phase is one of an end.
    Phase(Status),
    /// It may go for good.
    Delete,
}

/// A patch of a pod's status, as far as it is looked at.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Patch {
    metadata: Meta,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    uid: Option<String>,
}

#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Status {
    phase: Option<String>,
    reason: Option<String>,
}

/// What `asked` says of the end of the pod that it is about, and the pod's uid if it names that.
fn word(asked: &Asked) -> Option<(Word, Option<String>)> {
    let path = asked.path.as_ref().filter(|path| &*path.resource == "pods")?;
    match (&asked.method, path.subresource.as_str()) {
        (&Method::DELETE, "") if asked.grace == Some(0) => Some((Word::Delete, asked.uid.clone())),
        (&Method::PATCH, "status") => {
            let patch: Patch = serde_json::from_slice(asked.patch.as_ref()?).ok()?;
            let is_end = matches!(patch.status.phase.as_deref(), Some("Succeeded" | "Failed"));
            is_end.then_some((Word::Phase(patch.status), patch.metadata.uid))
        }
        _ => None,
    }
}

/// What is wrong with an end of `pod` that a kubelet tells: its policy would have started again what ended.
fn premature(pod: &Item, told: &Status) -> Option<String> {
    let spec = pod.pod()?.spec.as_ref()?;
    let known = pod.pod()?.status.as_ref().and_then(|status| status.reason.as_ref());
    let has_cause = told.reason.is_some() || known.is_some() || spec.active_deadline_seconds.is_some();
    let mut containers = spec.containers.iter();
    if has_cause || pod.is_terminating() || containers.any(|container| container.restart_policy.is_some()) {
        return None;
    }
    let phase = told.phase.as_deref()?;
    let policy = spec.restart_policy.as_deref()?;
    let is_wrong = policy == "Always" || (policy == "OnFailure" && phase == "Failed");
    is_wrong.then(|| format!("which has the restart policy {policy}, as {phase}"))
}

impl Endings {
    fn rises(&mut self, place: Place, id: &str, part: Part) {
        self.up.entry(place.clone()).or_default().insert(id.to_owned(), part);
        self.places.insert(id.to_owned(), place);
    }

    fn falls(&mut self, id: &str) {
        let Some(place) = self.places.remove(id) else { return };
        if let Some(parts) = self.up.get_mut(&place) {
            parts.remove(id);
            if parts.is_empty() {
                self.up.remove(&place);
            }
        }
    }

    /// What is wrong with what a kubelet asks for.
    fn wrong(&self, asked: &Asked, cluster: &Cluster) -> Option<String> {
        let machine = asked.client.strip_prefix("kubelet/")?;
        let (word, uid) = word(asked)?;
        let id = asked.path.as_ref()?.id();
        let pod = cluster.get(&id);
        let uid = uid.or(pod.map(|pod| pod.uid().to_owned()))?;
        let own = pod.filter(|pod| pod.uid() == uid);
        let says = match &word {
            Word::Phase(_) => "tells the end",
            Word::Delete => "confirms the end",
        };
        let told = format!("{} {says} of {id} (uid {uid})", asked.client);
        match (&word, own) {
            (Word::Phase(_), Some(own)) if own.is_finished() => return None,
            (Word::Phase(status), Some(own)) => {
                if let Some(why) = premature(own, status) {
                    return Some(format!("{told}, {why}"));
                }
            }
            (Word::Delete, Some(own)) if !self.finished.contains(&uid) => {
                return Some(format!("{told}, which never had ended: it is {:?}", own.phase()));
            }
            _ => {}
        }
        let parts = self.up.get(&(machine.to_owned(), uid.clone()))?;
        let is_meant = |part: &Part| part.name.is_some() == matches!(word, Word::Phase(_));
        let (part, known) = parts
            .iter()
            .find(|(_, part)| is_meant(part) && part.since + cluster.lag(Role::Kubelet) < cluster.now)?;
        let what = match &known.name {
            Some(name) => format!("container {name} ({part}) runs"),
            None => format!("sandbox {part} is up"),
        };
        Some(format!("{told} while its {what}, since {:?}", known.since))
    }
}

impl Invariant for Endings {
    fn id(&self) -> &'static str {
        "K12"
    }

    fn statement(&self) -> &'static str {
        "A pod is said to have ended only when nothing of it runs, or will, and goes only after that."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let since = cluster.now;
        match seen {
            Seen::ContainerStarted {
                machine,
                pod_uid,
                container,
                name,
                ..
            } => {
                let name = Some((*name).to_owned());
                let place = ((*machine).to_owned(), (*pod_uid).to_owned());
                self.rises(place, container, Part { name, since });
            }
            Seen::SandboxReady {
                machine,
                pod_uid,
                sandbox,
                ..
            } => {
                let place = ((*machine).to_owned(), (*pod_uid).to_owned());
                self.rises(place, sandbox, Part { name: None, since });
            }
            Seen::ContainerEnded { container: id, .. } | Seen::SandboxGone { sandbox: id } => self.falls(id),
            Seen::Change(change) => {
                let known = |pod: &&Item| pod.pod().is_some();
                let (before, after) = (change.before.as_deref(), change.after.as_deref());
                if let Some(after) = after.filter(known).filter(|after| after.is_finished()) {
                    self.finished.insert(after.uid().to_owned());
                }
                if let Some(before) = before.filter(known)
                    && after.is_none_or(|after| after.uid() != before.uid())
                {
                    self.finished.remove(before.uid());
                }
            }
            Seen::Asked(asked) => {
                if let Some(wrong) = self.wrong(asked, cluster) {
                    let machine = asked.client.trim_start_matches("kubelet/");
                    report.broken(self.id(), wrong, &[&asked.client, &format!("runtime/{machine}")]);
                }
            }
            _ => {}
        }
    }
}
