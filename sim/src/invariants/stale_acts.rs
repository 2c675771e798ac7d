//! C2: no destructive act rests on a state older than one the actor has acted on before.
//!
//! An actor is a component in its place, over all its lives; its picture of pods is the newest revision that its
//! *present* life was shown of them, by a watch or a list. What a former life acted on is remembered: if the present
//! one has only been shown an older state (a list of an API server that lags) and yet deletes pods, ends containers, or
//! starts containers of a pod that is gone, it travels in time. That lets pass: acts on an old picture that has never
//! been newer; deletes and ends after a consistent read of any pod, by which the actor made sure; containers of pods
//! that still are. Overestimated, and so never a false alarm: an answer counts when the server gives it, though it may
//! be lost on its way.

use std::collections::BTreeMap;

use super::{Invariant, Report};
use crate::model::{Asked, Cluster, Seen, WatchEventKind};

/// See the module.
#[derive(Default)]
pub struct StaleActs {
    /// By process: the newest revision of pods that its present life was shown by lists and watches.
    picture: BTreeMap<String, u64>,
    /// By process: the newest revision that its present life read a single pod at.
    read: BTreeMap<String, u64>,
    /// By process: the newest picture that any life of it acted on.
    acted: BTreeMap<String, u64>,
    /// Watches of pods, and whose they are.
    watches: BTreeMap<u64, String>,
}

fn newer(known: &mut BTreeMap<String, u64>, client: &str, revision: u64) {
    let known = known.entry(client.to_owned()).or_default();
    *known = (*known).max(revision);
}

impl StaleActs {
    /// `actor` does something to a pod; `sure` if a read of that pod is enough to do so.
    fn act(&mut self, actor: &str, what: std::fmt::Arguments<'_>, sure: bool, report: &mut Report) {
        let picture = self.picture.get(actor).copied().unwrap_or(0);
        let read = self.read.get(actor).copied().filter(|_| sure).unwrap_or(0);
        let acted = self.acted.get(actor).copied().unwrap_or(0);
        // A life that was shown nothing yet acts on what lies before it, not on a picture of the API.
        if picture > 0 && picture.max(read) < acted {
            let message =
                format!("{actor} {what} on a state of revision {picture}, having acted on one of {acted} before");
            report.broken(self.id(), message, &[actor, "apiserver"]);
        }
        newer(&mut self.acted, actor, picture);
    }
}

/// Whether a request is a consistent read: of the newest state.
fn is_consistent(asked: &Asked) -> bool {
    asked.method == http::Method::GET && asked.version_asked.is_none()
}

impl Invariant for StaleActs {
    fn id(&self) -> &'static str {
        "C2"
    }

    fn statement(&self) -> &'static str {
        "No destructive act rests on a state older than one the actor has acted on before."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Started { process } => {
                self.picture.remove(*process);
                self.read.remove(*process);
            }
            Seen::Answered(asked, answer) if asked.method == http::Method::GET => {
                let Some(path) = asked.path.as_ref().filter(|path| &*path.resource == "pods") else {
                    return;
                };
                let consistent = is_consistent(asked);
                if !path.name.is_empty() {
                    newer(&mut self.read, &asked.client, if consistent { asked.floor } else { 0 });
                } else if consistent {
                    newer(&mut self.picture, &asked.client, asked.floor);
                } else if let Some(revision) = answer.revision {
                    newer(&mut self.picture, &asked.client, revision);
                }
            }
            Seen::WatchOpened {
                stream,
                client,
                selection,
                ..
            } if &*selection.resource == "pods" => {
                self.watches.insert(*stream, (*client).to_owned());
            }
            Seen::Watched {
                stream, kind, revision, ..
            } if *kind != WatchEventKind::Error => {
                if let Some(client) = self.watches.get(stream) {
                    newer(&mut self.picture, client, *revision);
                }
            }
            Seen::WatchClosed { stream } => {
                self.watches.remove(stream);
            }
            Seen::Asked(asked) => {
                let pods = asked.path.as_ref().is_some_and(|path| &*path.resource == "pods");
                if pods && asked.method == http::Method::DELETE && asked.client.contains('/') {
                    let name = asked.path.as_ref().map_or("", |path| path.name.as_str());
                    self.act(&asked.client, format_args!("deletes pod {name}"), true, report);
                }
            }
            Seen::ContainerStopping { machine, pod_uid, .. } => {
                let kubelet = format!("kubelet/{machine}");
                self.act(
                    &kubelet,
                    format_args!("ends a container of the pod with uid {pod_uid}"),
                    true,
                    report,
                );
            }
            Seen::ContainerStarted { machine, pod_uid, .. } if cluster.by_uid(pod_uid).is_none() => {
                let kubelet = format!("kubelet/{machine}");
                let what = format_args!("starts a container of the pod with uid {pod_uid}, which is gone,");
                self.act(&kubelet, what, false, report);
            }
            _ => {}
        }
    }
}
