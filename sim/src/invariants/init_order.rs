//! K8: init containers run one after the other, each to success, before what comes after them starts in that sandbox.
//!
//! Judged when a container starts: by the time its kubelet asked for that, each init container before it in the pod
//! (all of them, for one that is none) must have ended with 0 in the same sandbox; a sidecar (an init container that
//! always restarts) must have been started there, and have answered if it has a startup probe. A new sandbox starts
//! over. Source: Kubernetes' documentation "Init Containers" and "Sidecar Containers".
//!
//! That lets pass: a sidecar that crashed after it had started, and later containers that start all the same; an init
//! container that runs again; pods that the store no longer has. Not judged: startup probes that another container of
//! the pod may have answered.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::{Invariant, Report};
use crate::model::{Cluster, Seen};

/// See the module.
#[derive(Default)]
pub struct InitOrder {
    /// How far the init containers of a pod have come, by sandbox.
    sandboxes: BTreeMap<String, BTreeMap<String, Progress>>,
    /// Init containers that run: their sandboxes and names, by id.
    running: BTreeMap<String, (String, String)>,
}

/// How far one init container has come in a sandbox.
#[derive(Default)]
struct Progress {
    /// When one of it was first up.
    up: Option<Duration>,
    /// When one of it first answered.
    answered: Option<Duration>,
    /// When the one that runs answers.
    answers: Duration,
    /// When one of it first succeeded.
    succeeded: Option<Duration>,
}

/// What an init container must have come to before the next one starts.
#[derive(Clone, Copy)]
enum Needed {
    Success,
    Start,
    Answer,
}

/// What the init container at `index` must have come to.
fn needed(spec: &PodSpec, index: usize, container: &Container) -> Needed {
    if container.restart_policy.as_deref() != Some("Always") {
        return Needed::Success;
    }
    let on_host = spec.host_network == Some(true);
    // A port of the pod's address may be another container's; nothing runs beside the first one.
    let own = |by_exec: bool| by_exec || (index == 0 && !on_host);
    match &container.startup_probe {
        Some(probe) if own(probe.exec.is_some()) => Needed::Answer,
        _ => Needed::Start,
    }
}

impl Progress {
    /// Whether it had come so far at `at`.
    fn has(&self, needed: Needed, at: Duration) -> bool {
        let since = match needed {
            Needed::Success => self.succeeded,
            Needed::Start => self.up,
            Needed::Answer => self.answered.or(self.up.map(|_| self.answers)),
        };
        since.is_some_and(|since| since <= at)
    }
}

impl Invariant for InitOrder {
    fn id(&self) -> &'static str {
        "K8"
    }

    fn statement(&self) -> &'static str {
        "Init containers run in order, each to success, before what comes after them starts in that sandbox."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::ContainerStarted {
                machine,
                pod_uid,
                sandbox,
                container,
                name,
                answers,
                asked,
                ..
            } => {
                let Some((pod, spec)) = cluster.pod_by_uid(pod_uid) else {
                    return;
                };
                let init = spec.init_containers.as_deref().unwrap_or_default();
                if init.is_empty() {
                    return;
                }
                let place = init.iter().position(|own| own.name == *name);
                if place.is_none() && !spec.containers.iter().any(|own| own.name == *name) {
                    return;
                }
                let progress = self.sandboxes.entry((*sandbox).to_owned()).or_default();
                let before = init.iter().enumerate().take(place.unwrap_or(init.len()));
                let missing = before
                    .map(|(index, own)| (own, needed(spec, index, own)))
                    .find(|(own, needed)| {
                        let come = progress.get(&own.name);
                        come.is_none_or(|come| !come.has(*needed, *asked))
                    });
                if let Some((own, needed)) = missing {
                    let lacks = match needed {
                        Needed::Success => "succeeded",
                        Needed::Start => "started",
                        Needed::Answer => "answered its startup probe",
                    };
                    let message = format!(
                        "container {name} ({container}) of {} (uid {pod_uid}) started on {machine} in sandbox {sandbox}, where init container {} has not {lacks}",
                        pod.id, own.name
                    );
                    report.broken(
                        "K8",
                        message,
                        &[&format!("kubelet/{machine}"), &format!("runtime/{machine}")],
                    );
                }
                if place.is_some() {
                    let own = progress.entry((*name).to_owned()).or_default();
                    own.up.get_or_insert(cluster.now);
                    own.answers = cluster.now + *answers;
                    let place = ((*sandbox).to_owned(), (*name).to_owned());
                    self.running.insert((*container).to_owned(), place);
                }
            }
            Seen::ContainerEnded { container, code } => {
                let Some((sandbox, name)) = self.running.remove(*container) else {
                    return;
                };
                let progress = self.sandboxes.get_mut(&sandbox);
                let Some(own) = progress.and_then(|progress| progress.get_mut(&name)) else {
                    return;
                };
                if own.answers <= cluster.now {
                    own.answered.get_or_insert(own.answers);
                }
                // What has ended answers no more.
                own.answers = Duration::MAX;
                if *code == 0 {
                    own.succeeded.get_or_insert(cluster.now);
                }
            }
            Seen::SandboxGone { sandbox } => {
                self.sandboxes.remove(*sandbox);
            }
            _ => {}
        }
    }
}
