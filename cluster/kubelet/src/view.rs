//! A pod as its spec, the runtime and the API together show it: one [`View`] a container. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container as Spec, ContainerStatus, Pod};
use orrery_api::mutant;
use orrery_api::random::fnv1a;

use crate::resources::is_sidecar;
use crate::runtime::{Container, ContainerState, Exit, PodIdentity, PodSandbox, SandboxState};

/// The exit code of a container that the runtime has lost.
const LOST_CODE: i32 = 137;

/// The place of a container in its pod's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Runs to its end before the next one starts.
    Init,
    /// Starts in the order of init containers, then runs as long as the pod.
    Sidecar,
    /// Does the pod's work.
    Main,
}

/// A container of a pod, as everybody sees it.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// Its spec.
    pub spec: &'a Spec,
    /// Its place.
    pub place: Place,
    /// The newest container of that name, and its sandbox.
    pub current: Option<(&'a Container, &'a PodSandbox)>,
    /// The newest one before that which has ended.
    pub previous: Option<(&'a Container, &'a Exit)>,
    /// What the API knows of a container that the runtime has none of: it ran, and nothing is left of it.
    pub lost: Option<Lost>,
    /// Older containers than these two.
    pub surplus: Vec<&'a Container>,
    /// The newest one was told to end so that another takes its place, whatever the restart policy says.
    pub replaced: bool,
}

/// A container that has run, according to the API, and that the runtime does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Its restart count.
    pub attempt: u32,
    /// Its exit code, as known or supposed.
    pub code: i32,
}

impl View<'_> {
    /// How the newest container has ended, if it has: its exit code.
    pub fn exit_code(&self) -> Option<i32> {
        match (&self.current, &self.lost) {
            (Some((container, _)), _) => match &container.state {
                ContainerState::Exited(exit) => Some(exit.code),
                _ => None,
            },
            (None, Some(lost)) => Some(lost.code),
            (None, None) => None,
        }
    }

    /// Whether the newest container runs.
    pub fn is_running(&self) -> bool {
        self.current
            .is_some_and(|(container, _)| matches!(container.state, ContainerState::Running { .. }))
    }

    /// Whether the newest container is in the sandbox `id`.
    pub fn is_in(&self, id: &str) -> bool {
        self.current.is_some_and(|(_, sandbox)| sandbox.id == id)
    }

    /// The restart count that the next container gets.
    pub fn next_attempt(&self) -> u32 {
        match (&self.current, &self.lost) {
            // It was made but never ran.
            (Some((container, _)), _) if container.state == ContainerState::Created => container.attempt,
            (Some((container, _)), _) => container.attempt + 1,
            (None, Some(lost)) => lost.attempt + 1,
            (None, None) => 0,
        }
    }

    /// Whether a container that ended with `code` is started again.
    pub fn restarts_after(&self, code: i32, pod_policy: &str) -> bool {
        let policy = match self.place {
            _ if self.replaced => return true,
            Place::Sidecar => return true,
            Place::Init if code == 0 => return false,
            // An init container that failed is tried again unless the pod never restarts.
            Place::Init => return self.policy(pod_policy) != "Never",
            Place::Main => self.policy(pod_policy),
        };
        match policy {
            "Never" => false,
            "OnFailure" => code != 0 || mutant::active("O25"),
            _ => code != 0 || !mutant::active("O175"),
        }
    }

    fn policy<'s>(&'s self, pod_policy: &'s str) -> &'s str {
        self.spec.restart_policy.as_deref().unwrap_or(pod_policy)
    }

    /// Whether the newest container has ended for good.
    pub fn is_finished(&self, pod_policy: &str) -> bool {
        self.exit_code()
            .is_some_and(|code| !self.restarts_after(code, pod_policy))
    }
}

/// The pod's restart policy.
pub fn restart_policy(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.restart_policy.as_deref())
        .unwrap_or("Always")
}

/// Whether the pod uses the host's network.
pub fn host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
}

/// Why a container of the pod does not run yet that nothing hinders. Source: `convertToAPIContainerStatuses` of
/// Kubernetes' kubelet.
pub fn unhindered(pod: &Pod) -> &'static str {
    let init = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref());
    match init.unwrap_or_default() {
        [] => "ContainerCreating",
        [..] => "PodInitializing",
    }
}

/// Who the pod is.
pub fn identity(pod: &Pod) -> PodIdentity {
    let meta = &pod.metadata;
    PodIdentity {
        uid: meta.uid.clone().unwrap_or_default(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    }
}

/// A hash of what a running container cannot follow when it changes in the spec: only the image may change, says the
/// API's validation. It tells the containers of one pod apart.
pub fn spec_hash(spec: &Spec) -> String {
    let image = spec.image.as_deref().unwrap_or_default();
    format!("{:016x}", fnv1a(format!("{}\0{image}", spec.name).as_bytes()))
}

/// The sandbox that containers can run in: the newest that is ready and has an address.
pub fn usable_sandbox<'a>(pod: &Pod, sandboxes: &'a [PodSandbox]) -> Option<&'a PodSandbox> {
    let host = host_network(pod);
    let ready = sandboxes.iter().filter(|sandbox| sandbox.state == SandboxState::Ready);
    let newest = ready.max_by(|a, b| (a.attempt, a.created_at, &a.id).cmp(&(b.attempt, b.created_at, &b.id)))?;
    (host || newest.ip.is_some()).then_some(newest)
}

/// The pod's containers in the order of its spec, init containers first.
pub fn views<'a>(pod: &'a Pod, sandboxes: &'a [PodSandbox]) -> Vec<View<'a>> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec.init_containers.iter().flatten();
    let init = init.map(|spec| (spec, if is_sidecar(spec) { Place::Sidecar } else { Place::Init }));
    let main = spec.containers.iter().map(|spec| (spec, Place::Main));
    init.chain(main)
        .map(|(spec, place)| view(pod, spec, place, sandboxes))
        .collect()
}

/// The same, where the containers with the ids `replaced` were told to end so that others take their places.
pub fn views_replacing<'a>(pod: &'a Pod, sandboxes: &'a [PodSandbox], replaced: &BTreeSet<String>) -> Vec<View<'a>> {
    let mut views = views(pod, sandboxes);
    for view in &mut views {
        view.replaced = view
            .current
            .is_some_and(|(container, _)| replaced.contains(&container.id));
    }
    views
}

fn view<'a>(pod: &'a Pod, spec: &'a Spec, place: Place, sandboxes: &'a [PodSandbox]) -> View<'a> {
    let mut own: Vec<(&Container, &PodSandbox)> = sandboxes
        .iter()
        .flat_map(|sandbox| sandbox.containers.iter().map(move |container| (container, sandbox)))
        .filter(|(container, _)| container.name == spec.name)
        .collect();
    // Newest first; of two with one restart count the one in the newer sandbox.
    own.sort_by(|(a, a_in), (b, b_in)| {
        (b.attempt, b_in.attempt, b.created_at, &b.id).cmp(&(a.attempt, a_in.attempt, a.created_at, &a.id))
    });
    let mut own = own.into_iter();
    let current = own.next();
    let mut previous = None;
    let mut surplus = Vec::new();
    for (container, _) in own {
        match &container.state {
            ContainerState::Exited(exit) if previous.is_none() => previous = Some((container, exit)),
            _ => surplus.push(container),
        }
    }
    let lost = if current.is_none() { lost(pod, &spec.name) } else { None };
    View {
        spec,
        place,
        current,
        previous,
        lost,
        surplus,
        replaced: false,
    }
}

/// The status that the API has of a container.
pub fn api_status<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status
        .container_statuses
        .iter()
        .chain(status.init_container_statuses.iter())
        .flatten();
    all.into_iter().find(|status| status.name == name)
}

fn lost(pod: &Pod, name: &str) -> Option<Lost> {
    let status = api_status(pod, name)?;
    let state = status.state.as_ref();
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let ended = state.and_then(|state| state.terminated.as_ref()).or(last);
    let ran = state.is_some_and(|state| state.running.is_some());
    let code = if ran {
        Some(if mutant::active("O63") { 0 } else { LOST_CODE })
    } else {
        ended.map(|ended| ended.exit_code)
    };
    let attempt = u32::try_from(status.restart_count).unwrap_or(0);
    code.map(|code| Lost { attempt, code })
}

/// Whether all containers that are meant to end have ended for good: nothing will be started in this pod again.
pub fn is_finished(pod: &Pod, views: &[View<'_>]) -> bool {
    let policy = restart_policy(pod);
    let mut main = views.iter().filter(|view| view.place == Place::Main).peekable();
    let failed_start = views.iter().any(|view| {
        view.place == Place::Init && view.is_finished(policy) && view.exit_code().is_some_and(|code| code != 0)
    });
    // An init container of an earlier sandbox that failed says nothing once the main containers have run.
    let started = views
        .iter()
        .any(|view| view.place == Place::Main && (view.current.is_some() || view.lost.is_some()));
    (failed_start && !started) || (main.peek().is_some() && main.all(|view| view.is_finished(policy)))
}

/// The phase that the API has, unless it is already over.
pub fn api_phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Pending")
}

/// Whether a phase is the last one.
pub fn is_terminal(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}
