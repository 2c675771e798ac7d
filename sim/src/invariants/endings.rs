//! K12: a pod is said to have ended only when nothing of it runs.
//!
//! Judged over the containers and sandboxes that really are on a kubelet's own machine, when it asks for one of these:
//!
//! * *An end is told*: its status gets the phase `Succeeded` or `Failed`, and had none of these: no container runs.
//! * *It goes for good* (a delete with grace 0): no sandbox is up. Its containers are K2's.
//!
//! That lets pass what came up a moment ago, as long as a kubelet's picture may be old: a runtime that hung may carry
//! out what a kubelet has given up, or what its former life asked for. Not judged: ends that somebody else has told
//! before, deletes that users force, and pods that were turned away, of which nothing ever ran.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use serde::Deserialize;

use super::{Invariant, Report};
use crate::model::{Asked, Cluster, Seen};
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
}

/// A container that runs, or a sandbox that is up.
struct Part {
    /// The container's name; none of a sandbox.
    name: Option<String>,
    since: Duration,
}

/// What a kubelet says of a pod's end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Its phase is one of an end.
    Phase,
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

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: Option<String>,
}

/// What `asked` says of the end of the pod that it is about, and the pod's uid if it names that.
fn word(asked: &Asked) -> Option<(Word, Option<String>)> {
    let path = asked.path.as_ref().filter(|path| &*path.resource == "pods")?;
    match (&asked.method, path.subresource.as_str()) {
        (&Method::DELETE, "") if asked.grace == Some(0) => Some((Word::Delete, asked.uid.clone())),
        (&Method::PATCH, "status") => {
            let patch: Patch = serde_json::from_slice(asked.patch.as_ref()?).ok()?;
            let is_end = matches!(patch.status.phase.as_deref(), Some("Succeeded" | "Failed"));
            is_end.then_some((Word::Phase, patch.metadata.uid))
        }
        _ => None,
    }
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
        if word == Word::Phase && pod.is_some_and(|pod| pod.uid() == uid && pod.is_finished()) {
            return None;
        }
        let parts = self.up.get(&(machine.to_owned(), uid.clone()))?;
        let is_meant = |part: &Part| part.name.is_some() == (word == Word::Phase);
        let (part, known) = parts
            .iter()
            .find(|(_, part)| is_meant(part) && part.since + cluster.lag(Role::Kubelet) < cluster.now)?;
        let says = match word {
            Word::Phase => "tells the end",
            Word::Delete => "confirms the end",
        };
        let what = match &known.name {
            Some(name) => format!("container {name} ({part}) runs"),
            None => format!("sandbox {part} is up"),
        };
        Some(format!(
            "{} {says} of {id} (uid {uid}) while its {what}, since {:?}",
            asked.client, known.since
        ))
    }
}

impl Invariant for Endings {
    fn id(&self) -> &'static str {
        "K12"
    }

    fn statement(&self) -> &'static str {
        "A pod is said to have ended only when nothing of it runs."
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
