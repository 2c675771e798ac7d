//! What to do next for a pod: a pure function from what is seen to a list of actions.
//!
//! The worker acts on the first action only and looks again, so that each decision rests on what really is there. A
//! pod is in one of three ways: it shall run ([`running`]), it has finished and keeps its ended containers for their
//! logs ([`finished`]), or it shall go ([`terminating`], then [`cleanup`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Spec, Pod};
use orrery_api::mutant;

use crate::backoff::{Backoffs, go_duration};
use crate::probe::Death;
use crate::runtime::{Container, ContainerState, PodSandbox, SandboxState};
use crate::view::{
    Place, View, identity, is_finished, restart_policy, spec_hash, usable_sandbox, views, views_replacing,
};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make a sandbox.
    CreateSandbox {
        /// Which one, from 0.
        attempt: u32,
    },
    /// Stop a sandbox and all in it.
    StopSandbox {
        /// Its id.
        id: String,
    },
    /// Remove a stopped sandbox and the ended containers in it.
    RemoveSandbox {
        /// Its id.
        id: String,
    },
    /// Make and start a container.
    StartContainer {
        /// Its name in the pod.
        name: String,
        /// Its restart count.
        attempt: u32,
        /// Where.
        sandbox: String,
    },
    /// Stop containers, each in its turn.
    StopContainers(Vec<Stop>),
    /// Remove a container that does not run.
    RemoveContainer {
        /// Its id.
        id: String,
    },
}

/// A container to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Its id.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// Why, for the event.
    pub message: String,
    /// How long it may take, with all that it waits for.
    pub grace: Duration,
    /// It is told to when those of earlier turns have ended; 0 is the first.
    pub turn: u32,
    /// Whether another one shall take its place, whatever the restart policy says.
    pub replace: bool,
}

/// Why a container that keeps crashing does not run.
pub const CRASH_LOOP: &str = "CrashLoopBackOff";

/// Why a container does not run, for its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// For machines.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// A failure to start something, which is tried again later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What the status says meanwhile.
    pub waiting: Waiting,
    /// When to try again, since the kubelet's start.
    pub retry_at: Duration,
}

/// What the worker remembers of a pod beside what can be seen. It can all be lost.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Crash delays by the hash of the container's spec: one that was changed starts without.
    pub crashes: Backoffs,
    /// When containers were first seen ended, by id.
    pub ended: BTreeMap<String, Duration>,
    /// What hinders containers from starting, by the hash of the spec that was tried: one that was changed is tried at
    /// once.
    troubles: BTreeMap<String, Trouble>,
    /// What hinders the sandbox.
    pub sandbox_trouble: Option<Trouble>,
    /// Containers to be restarted since a probe found them dead or their hook failed, by id.
    pub dead: BTreeMap<String, Death>,
    /// Containers whose startup probe has succeeded, by id.
    pub started: BTreeSet<String>,
    /// Containers that were told to end so that others take their places, by id.
    pub replaced: BTreeSet<String>,
}

impl Memory {
    /// Notes which containers have ended by `now`, and forgets those that are gone.
    pub fn notice(&mut self, sandboxes: &[PodSandbox], now: Duration) {
        let containers = || sandboxes.iter().flat_map(|sandbox| &sandbox.containers);
        let present: BTreeSet<&str> = containers().map(|container| container.id.as_str()).collect();
        self.ended.retain(|id, _| present.contains(id.as_str()));
        self.dead.retain(|id, _| present.contains(id.as_str()));
        self.replaced.retain(|id| present.contains(id.as_str()));
        for container in containers() {
            if matches!(container.state, ContainerState::Exited(_)) {
                self.ended.entry(container.id.clone()).or_insert(now);
            }
        }
    }

    /// What keeps the container of this spec from starting, if a try has failed.
    pub fn trouble(&self, spec: &Spec) -> Option<&Trouble> {
        self.troubles.get(&spec_hash(spec))
    }

    /// Notes what a try to start the container of this spec came to. `specs` are those that its pod has now.
    pub fn tried<'a>(&mut self, spec: &Spec, trouble: Option<Trouble>, specs: impl Iterator<Item = &'a Spec>) {
        let now: BTreeSet<String> = specs.map(spec_hash).collect();
        self.troubles.retain(|hash, _| now.contains(hash));
        match trouble {
            Some(trouble) => self.troubles.insert(spec_hash(spec), trouble),
            None => self.troubles.remove(&spec_hash(spec)),
        };
    }

    /// Notes which containers are about to be told to end.
    pub fn stops(&mut self, stops: &[Stop]) {
        let replaced = stops.iter().filter(|stop| stop.replace);
        self.replaced.extend(replaced.map(|stop| stop.id.clone()));
    }
}

/// What to do, what to tell, and when to look again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do, most urgent first.
    pub actions: Vec<Action>,
    /// Why containers do not run, by name.
    pub waiting: BTreeMap<String, Waiting>,
    /// When to look again even if nothing changes, from now.
    pub wake: Option<Duration>,
}

impl Plan {
    fn wake_in(&mut self, delay: Duration) {
        self.wake = Some(self.wake.map_or(delay, |wake| wake.min(delay)));
    }
}

/// What to do for a pod that shall run, `now` after the kubelet's start.
pub fn running(pod: &Pod, sandboxes: &[PodSandbox], memory: &Memory, now: Duration) -> Plan {
    let views = views_replacing(pod, sandboxes, &memory.replaced);
    if is_finished(pod, &views) {
        return finished(pod, sandboxes);
    }
    let mut plan = Plan::default();
    let usable = usable_sandbox(pod, sandboxes);
    let broken = sandboxes
        .iter()
        .filter(|sandbox| usable.is_none_or(|usable| usable.id != sandbox.id));
    stop_all(&broken.cloned().collect::<Vec<_>>(), &views, grace(pod), &mut plan);
    if !plan.actions.is_empty() {
        return plan;
    }
    let Some(sandbox) = usable else {
        match memory
            .sandbox_trouble
            .as_ref()
            .and_then(|trouble| trouble.retry_at.checked_sub(now))
        {
            Some(left) if !left.is_zero() => plan.wake_in(left),
            _ => {
                let attempt = sandboxes.iter().map(|sandbox| sandbox.attempt + 1).max().unwrap_or(0);
                plan.actions.push(Action::CreateSandbox { attempt });
            }
        }
        return plan;
    };
    let step = Step {
        pod,
        sandbox,
        memory,
        now,
    };
    let main_in_sandbox = views
        .iter()
        .any(|view| view.place == Place::Main && view.is_in(&sandbox.id));
    let mut initialising = false;
    for view in &views {
        match view.place {
            // Once the main containers have started, their init containers are history.
            Place::Init if main_in_sandbox => {}
            Place::Main if initialising => {}
            _ if initialising && !view.is_in(&sandbox.id) => {}
            _ => initialising |= !step.tend(view, &mut plan) && view.place != Place::Main && !main_in_sandbox,
        }
    }
    prune(&views, sandboxes, Some(sandbox), grace(pod), &mut plan);
    plan
}

/// What is seen and remembered while tending one container after the other.
struct Step<'a> {
    pod: &'a Pod,
    sandbox: &'a PodSandbox,
    memory: &'a Memory,
    now: Duration,
}

impl Step<'_> {
    /// Plans for one container; returns whether the next one may start.
    fn tend(&self, view: &View<'_>, plan: &mut Plan) -> bool {
        let Some((container, _)) = view.current.filter(|_| view.is_in(&self.sandbox.id)) else {
            let code = view.exit_code();
            // A main container of an earlier sandbox is not started again unless its policy says so; an init
            // container has to prepare the new sandbox.
            let over = view.place == Place::Main
                && code.is_some_and(|code| !view.restarts_after(code, restart_policy(self.pod)));
            if !over {
                self.start(view, plan);
            }
            return false;
        };
        match &container.state {
            ContainerState::Created => {
                // A start that failed, or that a restart of the kubelet cut off.
                if self.hindered(view, plan) {
                    return false;
                }
                plan.actions.push(Action::RemoveContainer {
                    id: container.id.clone(),
                });
                false
            }
            ContainerState::Running { .. } => {
                // An init container does its work as it began it. The others are replaced while they run; one that
                // has ended is left to its restart policy.
                let changed = view.place != Place::Init && container.spec_hash != spec_hash(view.spec);
                let death = match self.memory.dead.get(&container.id) {
                    _ if changed => Some(Death {
                        message: format!("Container {} definition changed, will be restarted", container.name),
                        grace: None,
                    }),
                    death => death.cloned(),
                };
                if let Some(Death { message, grace: own }) = death {
                    let stop = Stop {
                        id: container.id.clone(),
                        name: container.name.clone(),
                        message,
                        grace: own.unwrap_or_else(|| grace(self.pod)),
                        turn: 0,
                        replace: changed,
                    };
                    plan.actions.push(Action::StopContainers(vec![stop]));
                    return false;
                }
                view.place == Place::Sidecar
                    && (view.spec.startup_probe.is_none()
                        || self.memory.started.contains(&container.id)
                        || mutant::active("O24"))
            }
            ContainerState::Exited(_) if mutant::active("O07") => false,
            ContainerState::Exited(exit) if view.restarts_after(exit.code, restart_policy(self.pod)) => {
                self.start(view, plan);
                false
            }
            ContainerState::Exited(exit) => exit.code == 0,
        }
    }

    /// Whether a failed try to start keeps the container waiting.
    fn hindered(&self, view: &View<'_>, plan: &mut Plan) -> bool {
        let Some(trouble) = self.memory.trouble(view.spec) else {
            return false;
        };
        plan.waiting.insert(view.spec.name.clone(), trouble.waiting.clone());
        match trouble.retry_at.checked_sub(self.now) {
            Some(left) if !left.is_zero() => {
                plan.wake_in(left);
                true
            }
            _ => false,
        }
    }

    fn start(&self, view: &View<'_>, plan: &mut Plan) {
        let name = &view.spec.name;
        if self.hindered(view, plan) {
            return;
        }
        if let Some((container, _)) = view.current
            && let Some(ended) = self.memory.ended.get(&container.id)
            && let Some((left, delay)) = self.memory.crashes.remaining(&spec_hash(view.spec), *ended, self.now)
        {
            let delay = go_duration(delay);
            let pod = identity(self.pod);
            let message = format!("back-off {delay} restarting failed container={name} pod={pod}");
            plan.waiting.insert(
                name.clone(),
                Waiting {
                    reason: CRASH_LOOP.to_owned(),
                    message,
                },
            );
            plan.wake_in(left);
            return;
        }
        plan.actions.push(Action::StartContainer {
            name: name.clone(),
            attempt: view.next_attempt(),
            sandbox: self.sandbox.id.clone(),
        });
    }
}

/// What to do for a pod that has finished: nothing runs, and what ended stays for its logs.
pub fn finished(pod: &Pod, sandboxes: &[PodSandbox]) -> Plan {
    let mut plan = Plan::default();
    let views = views(pod, sandboxes);
    stop_all(sandboxes, &views, grace(pod), &mut plan);
    prune(&views, sandboxes, None, grace(pod), &mut plan);
    plan
}

/// What to do for a pod that shall go, until nothing of it runs: containers first, then the sandbox.
pub fn terminating(pod: Option<&Pod>, sandboxes: &[PodSandbox], grace: Duration) -> Plan {
    let mut plan = Plan::default();
    let views = pod.map(|pod| views(pod, sandboxes)).unwrap_or_default();
    stop_all(sandboxes, &views, grace, &mut plan);
    plan
}

/// What to do when nothing of a pod runs any more and its last status is told.
pub fn cleanup(sandboxes: &[PodSandbox]) -> Plan {
    let actions = sandboxes
        .iter()
        .map(|sandbox| Action::RemoveSandbox { id: sandbox.id.clone() })
        .collect();
    Plan {
        actions,
        ..Plan::default()
    }
}

/// Whether anything of the pod runs.
pub fn anything_runs(sandboxes: &[PodSandbox]) -> bool {
    sandboxes
        .iter()
        .any(|own| own.state == SandboxState::Ready || own.containers.iter().any(runs))
}

fn runs(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running { .. })
}

/// When the turn of a pod's container has come to end: sidecars come after all others, the last one first, as they may
/// need those before them (Kubernetes' documentation, "Sidecar Containers").
fn turn(views: &[View<'_>], name: &str) -> u32 {
    let sidecars = views.iter().filter(|view| view.place == Place::Sidecar);
    let later = sidecars.rev().zip(1..).find(|(view, _)| view.spec.name == name);
    later.map_or(0, |(_, turn)| if mutant::active("O90") { 0 } else { turn })
}

/// Stops all that runs, and when nothing does, the sandboxes.
fn stop_all(sandboxes: &[PodSandbox], views: &[View<'_>], grace: Duration, plan: &mut Plan) {
    let containers = sandboxes
        .iter()
        .flat_map(|sandbox| &sandbox.containers)
        .filter(|container| runs(container));
    let stops: Vec<Stop> = containers
        .map(|container| Stop {
            id: container.id.clone(),
            name: container.name.clone(),
            message: format!("Stopping container {}", container.name),
            grace,
            turn: turn(views, &container.name),
            replace: false,
        })
        .collect();
    if !stops.is_empty() {
        plan.actions.push(Action::StopContainers(stops));
        return;
    }
    let ready = sandboxes.iter().filter(|sandbox| sandbox.state == SandboxState::Ready);
    plan.actions
        .extend(ready.map(|sandbox| Action::StopSandbox { id: sandbox.id.clone() }));
}

/// Removes what nobody asks for any more: of each container the newest and the one before it stay.
fn prune(views: &[View<'_>], sandboxes: &[PodSandbox], usable: Option<&PodSandbox>, grace: Duration, plan: &mut Plan) {
    for container in views.iter().flat_map(|view| &view.surplus) {
        let id = container.id.clone();
        plan.actions.push(if runs(container) {
            // Two of one name can come of a start whose answer was lost. The newer one stays.
            let message = format!("Stopping container {}", container.name);
            Action::StopContainers(vec![Stop {
                id,
                name: container.name.clone(),
                message,
                grace,
                turn: 0,
                replace: false,
            }])
        } else {
            Action::RemoveContainer { id }
        });
    }
    for sandbox in sandboxes {
        let old = usable.is_some_and(|usable| usable.id != sandbox.id);
        if old && sandbox.state == SandboxState::NotReady && sandbox.containers.is_empty() {
            plan.actions.push(Action::RemoveSandbox { id: sandbox.id.clone() });
        }
    }
}

/// How long the pod's containers may take to end.
pub fn grace(pod: &Pod) -> Duration {
    let own = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.termination_grace_period_seconds)
        .unwrap_or(30);
    let seconds = pod.metadata.deletion_grace_period_seconds.unwrap_or(own);
    at_least_a_second(seconds)
}

/// A grace period of so many seconds: even the most hasty one leaves a container one second to end.
pub fn at_least_a_second(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(1))
}
