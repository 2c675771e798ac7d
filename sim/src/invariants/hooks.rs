//! K18: the hooks of a container are run in their time, and heard.
//!
//! Judged of hooks that are commands, which no other hook or probe of the container has as well: only these can be told
//! apart where they arrive. Source: Kubernetes' documentation, "Container Lifecycle Hooks" and "Pod Lifecycle".
//!
//! * *Before the end*: a container is first asked to end when its `preStop` hook was asked for, and is over or has used
//!   up its time. What is left to the container is what the hook has left of the grace period, and two seconds.
//! * *After the start*: a container is shown to run only when its `postStart` hook was asked for, and is over. One
//!   whose hook has failed is soon asked to end, or has ended.
//!
//! That lets pass: a kubelet that starts again, which runs no hook after a start that was another life's, and the one
//! before the end again or not; a pod whose grace period begins or changes meanwhile, as its kubelet gives up the hook
//! that it waits for and asks the container to end; containers that go with their sandbox. In troubled times it is not
//! judged whether a hook is over when its container is asked to end, which another life of the kubelet may have wanted,
//! and how much time is left; nor whether a hook after the start was asked for at all, as that start may have failed as
//! far as its kubelet knows. A failed hook is judged in pods of one container only: for another one its kubelet may
//! have something else to do first.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ExecAction, LifecycleHandler, PodSpec};

use super::kubelets::{Hearing, Lives};
use super::readiness::{LEAST, grace_period, longest_grace};
use super::restarts::{TIMER_ROUNDING, containers, is_troubled};
use super::sidecars::APART;
use super::statuses::{runs, statuses};
use super::{Invariant, Report, UNANSWERED, kubelet_of};
use crate::model::{Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// See the module.
#[derive(Default)]
pub struct Hooks {
    /// Containers that run and have hooks that are judged, by id.
    running: BTreeMap<String, Running>,
    /// Since when the failure of containers' hooks after the start is known, by id.
    failed: BTreeMap<String, Duration>,
    lives: Lives,
    hearing: Hearing,
    /// What became of the grace of pods that are being deleted, by uid.
    graces: BTreeMap<String, Graces>,
}

struct Running {
    machine: String,
    pod_uid: String,
    name: String,
    image: String,
    /// When its start was asked for.
    asked: Duration,
    post_start: Option<Hook>,
    pre_stop: Option<Hook>,
    /// Whether its end was asked for.
    stops: bool,
}

/// A hook that is a command.
struct Hook {
    command: Vec<String>,
    /// Whether a kubelet has asked for it.
    is_asked: bool,
    /// What the present life of the kubelet has last asked for.
    run: Option<Run>,
}

#[derive(Clone, Copy)]
struct Run {
    since: Duration,
    timeout: Duration,
    /// Whether the pod was being deleted then.
    goes: bool,
    /// Whether the kubelet has heard what came of it.
    is_over: bool,
}

/// How often and when last a pod was given another grace period, or its first one, and the longest of them.
#[derive(Clone, Copy)]
struct Graces {
    times: u32,
    last: Duration,
    longest: Duration,
}

/// The commands of a container's hook after the start and of that before the end, as far as nothing else is the same.
fn hooks(own: &Container) -> (Option<Hook>, Option<Hook>) {
    let words = |exec: &ExecAction| exec.command.clone().unwrap_or_default();
    let probes = [&own.startup_probe, &own.liveness_probe, &own.readiness_probe];
    let probed: Vec<Vec<String>> = probes
        .into_iter()
        .filter_map(|probe| probe.as_ref()?.exec.as_ref())
        .map(words)
        .collect();
    let of = |hook: Option<&LifecycleHandler>| hook.and_then(|hook| hook.exec.as_ref()).map(words);
    let lifecycle = own.lifecycle.as_ref();
    let post_start = of(lifecycle.and_then(|hooks| hooks.post_start.as_ref()));
    let pre_stop = of(lifecycle.and_then(|hooks| hooks.pre_stop.as_ref()));
    if post_start == pre_stop {
        return (None, None);
    }
    let hook = |command: Option<Vec<String>>| {
        let command = command.filter(|command| !probed.contains(command))?;
        Some(Hook {
            command,
            is_asked: false,
            run: None,
        })
    };
    (hook(post_start), hook(pre_stop))
}

/// What may change how long a kubelet waits for a pod's containers to end.
fn deletion(item: &Item) -> (bool, Option<i64>) {
    (item.is_terminating(), item.meta.deletion_grace_period_seconds)
}

/// Whether nothing may end the container but its pod's deletion. A sidecar ends as well when those are over that it is
/// there for.
fn ends_with_its_pod(running: &Running, spec: &PodSpec) -> bool {
    let own = spec.containers.iter().find(|own| own.name == running.name);
    own.is_some_and(|own| {
        let has_post_start = own.lifecycle.as_ref().is_some_and(|hooks| hooks.post_start.is_some());
        let is_probed = own.liveness_probe.is_some() || own.startup_probe.is_some();
        let is_same = own.image.as_deref().unwrap_or_default() == running.image;
        !has_post_start && !is_probed && is_same && spec.active_deadline_seconds.is_none()
    })
}

impl Running {
    /// Its hook that is this command.
    fn hook(&mut self, command: &[String]) -> Option<&mut Hook> {
        let hooks = [&mut self.post_start, &mut self.pre_stop];
        hooks.into_iter().flatten().find(|hook| hook.command == *command)
    }
}

impl Hooks {
    /// Takes in whether a pod is deleted, gets another grace period, or is gone.
    fn note(&mut self, change: &Change, now: Duration) {
        match (&change.before, &change.after) {
            (Some(before), None) => drop(self.graces.remove(before.uid())),
            (Some(before), Some(after)) if deletion(before) != deletion(after) => {
                let seconds = after.meta.deletion_grace_period_seconds.unwrap_or(0);
                let grace = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                let known = self.graces.get(after.uid());
                let graces = Graces {
                    times: known.map_or(0, |known| known.times) + 1,
                    last: now,
                    longest: known.map_or(grace, |known| known.longest.max(grace)),
                };
                self.graces.insert(after.uid().to_owned(), graces);
            }
            _ => {}
        }
    }

    /// Another life of a machine's kubelet begins: what the last one waited for is no longer waited for.
    fn begin_anew(&mut self, machine: &str) {
        for (id, running) in self.running.iter_mut().filter(|(_, own)| own.machine == machine) {
            let hooks = [&mut running.post_start, &mut running.pre_stop];
            hooks.into_iter().flatten().for_each(|hook| hook.run = None);
            self.failed.remove(id);
        }
    }

    /// The container `id` starts; its hooks are still to be found.
    fn starts(&mut self, id: &str, mut running: Running, cluster: &Cluster) {
        let spec = cluster.pod_by_uid(&running.pod_uid).map(|(_, spec)| spec);
        let Some(own) = spec.and_then(|spec| containers(spec).find(|own| own.name == running.name)) else {
            return;
        };
        (running.post_start, running.pre_stop) = hooks(own);
        if running.post_start.is_some() || running.pre_stop.is_some() {
            self.running.insert(id.to_owned(), running);
        }
    }

    /// The kubelet asks the container `id` to run a command.
    fn asks(&mut self, id: &str, command: &[String], timeout: Duration, cluster: &Cluster) {
        let Some(running) = self.running.get_mut(id) else {
            return;
        };
        let pod = cluster.pod_by_uid(&running.pod_uid);
        let goes = pod.is_some_and(|(pod, _)| pod.is_terminating());
        if let Some(hook) = running.hook(command) {
            hook.is_asked = true;
            hook.run = Some(Run {
                since: cluster.now,
                timeout,
                goes,
                is_over: false,
            });
        }
    }

    /// The kubelet hears what came of a command in the container `id`.
    fn answers(&mut self, id: &str, command: &[String], code: Option<i32>, now: Duration) {
        let Some(running) = self.running.get_mut(id) else {
            return;
        };
        let is_awaited = |hook: &Hook| hook.command == *command && hook.run.is_some();
        let is_post_start = running.post_start.as_ref().is_some_and(is_awaited);
        if is_post_start && code.is_some_and(|code| code != 0) {
            self.failed.insert(id.to_owned(), now);
        }
        if let Some(run) = running.hook(command).and_then(|hook| hook.run.as_mut()) {
            run.is_over = true;
        }
    }

    /// What is wrong with asking the container `id` on `machine` to end within `grace`, if that is done for the first
    /// time.
    fn stops(&mut self, machine: &str, id: &str, grace: Duration, cluster: &Cluster) -> Option<String> {
        let running = self.running.get_mut(id).filter(|own| !own.stops)?;
        running.stops = true;
        let running = &self.running[id];
        let (pod, spec) = cluster.pod_by_uid(&running.pod_uid)?;
        // It goes with its sandbox, or is left no time at all.
        if grace.is_zero() || pod.meta.deletion_grace_period_seconds == Some(0) {
            return None;
        }
        let wrong = self.wrong_end(running, spec, grace, cluster)?;
        Some(format!(
            "the kubelet asks {} ({id}) of {} (uid {}) on {machine} to end, {wrong}",
            running.name, pod.id, running.pod_uid
        ))
    }

    /// Judges what a change of a pod shows to run.
    fn shows(&self, change: &Change, cluster: &Cluster, report: &mut Report) {
        let Some(after) = &change.after else { return };
        let before = change.before.as_ref().filter(|before| before.uid() == after.uid());
        let was_shown = |id: &str| {
            let known = before.into_iter().flat_map(|before| statuses(before));
            known.filter_map(runs).any(|(known, ..)| known == id)
        };
        let news = statuses(after).filter_map(runs).filter(|news| !was_shown(news.0));
        for (id, ..) in news {
            if let Some(wrong) = self.wrong_start(id, after, cluster) {
                let message = format!(
                    "{} (uid {}) shows {} run as {id}, {wrong}, at revision {}",
                    change.id,
                    after.uid(),
                    self.running[id].name,
                    change.revision
                );
                report.broken(self.id(), message, &[&kubelet_of(after.node_name())]);
            }
        }
    }

    /// Whether the kubelet may have given a hook before the end up that it had asked for, since it heard that the pod
    /// has less time, or is being deleted.
    fn is_cut_off(&self, running: &Running, run: &Run, spec: &PodSpec) -> bool {
        // It knows of the only change when there was nothing else to ask for the hook for.
        let is_known = |graces: &Graces| run.goes && graces.times == 1 && ends_with_its_pod(running, spec);
        let graces = self.graces.get(&running.pod_uid);
        graces.is_some_and(|graces| !is_known(graces))
    }

    /// What is wrong with asking a container to end within `grace`.
    fn wrong_end(&self, running: &Running, spec: &PodSpec, grace: Duration, cluster: &Cluster) -> Option<String> {
        let hook = running.pre_stop.as_ref()?;
        if !hook.is_asked {
            return Some("and its hook before the end was not run".to_owned());
        }
        let run = hook.run.as_ref().filter(|_| !is_troubled(&running.machine, cluster))?;
        let is_cut_off = self.is_cut_off(running, run, spec);
        if !run.is_over && cluster.now + TIMER_ROUNDING < run.since + run.timeout && !is_cut_off {
            let Run { since, timeout, .. } = run;
            return Some(format!(
                "while its hook before the end runs, since {since:?}, for at most {timeout:?}"
            ));
        }
        let graces = self.graces.get(&running.pod_uid);
        let whole = longest_grace(spec).max(graces.map_or(Duration::ZERO, |graces| graces.longest));
        let heard = graces
            .filter(|_| is_cut_off)
            .map(|graces| graces.last + cluster.lag(Role::Kubelet));
        // A hook that does not come back is waited for a second longer.
        let last = run.since.max(heard.unwrap_or_default()) + whole + LEAST + APART * 2;
        (cluster.now + grace > last).then(|| {
            let since = run.since;
            format!("within {grace:?}, though its hook before the end began at {since:?}, and both have {whole:?}")
        })
    }

    /// What is wrong with showing the container `id` of `pod` run.
    fn wrong_start(&self, id: &str, pod: &Item, cluster: &Cluster) -> Option<String> {
        let running = self.running.get(id)?;
        let hook = running.post_start.as_ref()?;
        // Its kubelet waits for nothing any more.
        if pod.is_terminating() || pod.uid() != running.pod_uid || pod.node_name() != running.machine {
            return None;
        }
        if let Some(run) = hook.run.filter(|run| !run.is_over) {
            let since = run.since;
            return Some(format!("while its hook after the start runs, since {since:?}"));
        }
        let is_own = running.asked >= self.lives.began(&running.machine);
        (!hook.is_asked && is_own && !is_troubled(&running.machine, cluster))
            .then(|| "and its hook after the start was not run".to_owned())
    }

    /// The container on `machine` that runs on though its hook after the start has failed.
    fn left_alone(&self, machine: &str, cluster: &Cluster) -> Option<String> {
        // What stays broken is no fault any more.
        if cluster.is_healed() {
            return None;
        }
        let heard = self.hearing.undisturbed(machine)?;
        self.failed.iter().find_map(|(id, since)| {
            let running = self
                .running
                .get(id)
                .filter(|own| own.machine == machine && !own.stops)?;
            let (pod, spec) = cluster.pod_by_uid(&running.pod_uid)?;
            let is_alone = containers(spec).count() == 1;
            let limit = grace_period(pod, spec, |_| false) + cluster.lag(Role::Kubelet) + UNANSWERED;
            (is_alone && pod.is_live_pod() && heard.max(*since) + limit < cluster.now).then(|| {
                format!(
                    "{} (uid {}): {} ({id}) runs on, though its hook after the start had failed by {since:?}",
                    pod.id, running.pod_uid, running.name
                )
            })
        })
    }
}

impl Invariant for Hooks {
    fn id(&self) -> &'static str {
        "K18"
    }

    fn statement(&self) -> &'static str {
        "The hooks of a container are run after its start and before its end, and one that fails at the start is heard."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        if let Some(machine) = self.lives.observe(seen, cluster.now) {
            self.begin_anew(machine);
        }
        if let Some(machine) = self.hearing.observe(seen, cluster)
            && let Some(wrong) = self.left_alone(machine, cluster)
        {
            report.broken(self.id(), wrong, &[&kubelet_of(machine)]);
        }
        match seen {
            Seen::ContainerStarted {
                machine,
                pod_uid,
                container,
                name,
                image,
                asked,
                ..
            } => {
                let running = Running {
                    machine: (*machine).to_owned(),
                    pod_uid: (*pod_uid).to_owned(),
                    name: (*name).to_owned(),
                    image: (*image).to_owned(),
                    asked: *asked,
                    post_start: None,
                    pre_stop: None,
                    stops: false,
                };
                self.starts(container, running, cluster);
            }
            Seen::CommandAsked {
                container,
                command,
                timeout,
                ..
            } => self.asks(container, command, *timeout, cluster),
            Seen::CommandAnswered {
                container,
                command,
                code,
            } => self.answers(container, command, *code, cluster.now),
            Seen::ContainerStopping {
                machine,
                container,
                grace,
                ..
            } => {
                if let Some(wrong) = self.stops(machine, container, *grace, cluster) {
                    let runtime = format!("runtime/{machine}");
                    report.broken(self.id(), wrong, &[&kubelet_of(machine), &runtime]);
                }
            }
            Seen::ContainerEnded { container, .. } => {
                self.running.remove(*container);
                self.failed.remove(*container);
            }
            Seen::Change(change) if &*change.id.resource == "pods" => {
                self.note(change, cluster.now);
                self.shows(change, cluster, report);
            }
            _ => {}
        }
    }
}
