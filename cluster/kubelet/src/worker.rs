//! One pod's worker: looks at what is there, asks [`plan`](crate::plan) what to do, does the first thing, looks again.
//!
//! A worker lives from the moment a pod (or something left over of one) is known until nothing of it is left. It holds
//! nothing that it cannot lose: after a restart of the kubelet the runtime and the API tell it all it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use orrery_api::clock;
use orrery_api::meta::{Object, ObjectKey};
use orrery_api::mutant;
use orrery_api::task::moment_after;
use orrery_client::{Api, EventKind};
use tokio::sync::{Notify, watch};
use tokio::time::sleep_until;

use crate::admission::Refusal;
use crate::context::Context;
use crate::images::Pulls;
use crate::plan::{
    Action, CRASH_LOOP, Memory, Plan, Waiting, anything_runs, cleanup, finished, grace, running, terminating,
};
use crate::probe::Prober;
use crate::runtime::{PodIdentity, PodSandbox};
use crate::sources::Sources;
use crate::status::{OWN_CONDITIONS, Seen, pod_status, rejected_status};
use crate::view::{api_phase, identity, is_terminal, usable_sandbox, views};

/// The first pause after an action failed; doubled up to [`PAUSE_LIMIT`].
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_LIMIT: Duration = Duration::from_secs(10);

/// What shall become of a pod.
#[derive(Debug, Clone)]
pub struct Desired {
    /// Who it is.
    pub identity: PodIdentity,
    /// The pod as the API has it, or last had it; none for something left over in the runtime.
    pub pod: Option<Arc<Pod>>,
    /// The API no longer has it.
    pub gone: bool,
    /// The node refuses it.
    pub refused: Option<Refusal>,
}

/// A pod's place in the kubelet: what shall become of it, and how its worker is woken.
pub struct Entry {
    desired: Mutex<Desired>,
    /// Wakes the worker.
    pub wake: Arc<Notify>,
    /// Grows when waiting for a pull or for a container's end is no longer right.
    urgency: watch::Sender<u64>,
}

impl Entry {
    /// An entry for `desired`.
    pub fn new(desired: Desired) -> Self {
        Entry {
            desired: Mutex::new(desired),
            wake: Arc::new(Notify::new()),
            urgency: watch::Sender::new(0),
        }
    }

    /// What shall become of the pod.
    pub fn desired(&self) -> Desired {
        self.desired.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what shall become of the pod, and wakes the worker.
    pub fn change(&self, change: impl FnOnce(&mut Desired)) {
        let urgent = {
            let mut desired = self.desired.lock().unwrap_or_else(PoisonError::into_inner);
            let before = haste(&desired);
            change(&mut desired);
            haste(&desired) != before
        };
        if urgent {
            self.urgency.send_modify(|urgency| *urgency += 1);
        }
        self.wake.notify_one();
    }
}

/// Whether the pod shall go, whether it is gone, and how long it may take.
fn haste(desired: &Desired) -> (bool, bool, Option<i64>) {
    let meta = desired.pod.as_ref().map(|pod| &pod.metadata);
    (
        desired.gone,
        meta.is_some_and(|meta| meta.deletion_timestamp.is_some()),
        meta.and_then(|meta| meta.deletion_grace_period_seconds),
    )
}

/// What a step of the worker came to.
pub(crate) enum Step {
    /// Something was done: look again at once.
    Again,
    /// Nothing to do until something changes, or until so much time has passed.
    Wait(Option<Duration>),
    /// Nothing is left of the pod.
    Over,
}

/// An action failed: try again after a pause.
pub(crate) struct Failed(pub String);

/// A pod's worker.
pub(crate) struct Worker {
    pub(crate) context: Arc<Context>,
    pub(crate) entry: Arc<Entry>,
    pub(crate) memory: Memory,
    pub(crate) pulls: Pulls,
    pub(crate) urgency: watch::Receiver<u64>,
    prober: Prober,
    /// The last status computed: newer than what the API has until it is written.
    status: Option<PodStatus>,
    /// The status after the last container ended, when what is left in the runtime is being removed.
    last_status: Option<PodStatus>,
    /// Why containers do not run, as it was last told.
    waiting: BTreeMap<String, Waiting>,
    /// Why the pod was ended early.
    ended: Option<(String, String)>,
    /// Containers that were told to stop: the event and the hook come once.
    pub(crate) stopping: BTreeSet<String>,
    /// Containers held back after crashes: the event comes once for each time.
    held_back: BTreeSet<String>,
    /// The volumes were written by this worker.
    pub(crate) volumes_written: bool,
    /// And they were removed by it.
    pub(crate) volumes_removed: bool,
    /// When their content was last read.
    pub(crate) volumes_read: Duration,
    /// The tokens in them, and when they were made.
    pub(crate) tokens: Option<(BTreeMap<String, String>, Duration)>,
    /// What the environments of containers were made of when these were last started, by name.
    pub(crate) environments: BTreeMap<String, Sources>,
    /// The API was asked whether something left over is wanted after all.
    confirmed: bool,
    /// This worker has looked for itself after the pod was to go: an older look may have missed something.
    looked_again: bool,
    dirty: bool,
    failures: u32,
}

impl Worker {
    pub(crate) fn new(context: Arc<Context>, entry: Arc<Entry>) -> Self {
        let urgency = entry.urgency.subscribe();
        Worker {
            context,
            entry,
            memory: Memory::default(),
            pulls: Pulls::default(),
            urgency,
            prober: Prober::default(),
            status: None,
            last_status: None,
            waiting: BTreeMap::new(),
            ended: None,
            stopping: BTreeSet::new(),
            held_back: BTreeSet::new(),
            volumes_written: false,
            volumes_removed: false,
            volumes_read: Duration::ZERO,
            environments: BTreeMap::new(),
            tokens: None,
            confirmed: false,
            looked_again: false,
            dirty: false,
            failures: 0,
        }
    }

    /// Works until nothing of the pod is left.
    pub(crate) async fn run(mut self) {
        loop {
            self.urgency.borrow_and_update();
            // In memory of its own: a step is large, and most workers wait.
            let wait = match Box::pin(self.step()).await {
                Ok(Step::Again) => {
                    self.failures = 0;
                    self.dirty = true;
                    continue;
                }
                Ok(Step::Wait(wait)) => {
                    self.failures = 0;
                    wait
                }
                Ok(Step::Over) => return,
                Err(Failed(why)) => {
                    let pod = self.entry.desired().identity;
                    if self.failures == 3 {
                        orrery_api::log::line("kubelet", format_args!("{pod}: {why}"));
                    }
                    let pause = PAUSE.saturating_mul(1 << self.failures.min(8)).min(PAUSE_LIMIT);
                    self.failures += 1;
                    self.dirty = true;
                    Some(pause)
                }
            };
            let entry = self.entry.clone();
            tokio::select! {
                biased;
                () = entry.wake.notified() => {}
                () = doze(wait) => {}
            }
        }
    }

    async fn step(&mut self) -> Result<Step, Failed> {
        let context = self.context.clone();
        if self.dirty {
            self.telling(context.observer.look()).await;
        }
        self.dirty = false;
        let desired = self.entry.desired();
        let sandboxes = context.observer.last(&desired.identity.uid);
        self.memory.notice(&sandboxes, self.context.elapsed());
        let Some(pod) = &desired.pod else {
            return self.remove_leftover(&desired, &sandboxes).await;
        };
        if desired.gone {
            self.prober = Prober::default();
            return self.remove(Some(pod), &sandboxes, grace(pod)).await;
        }
        let pod = self.context.reporter.newest(pod);
        if let Some(refusal) = &desired.refused {
            let message = format!("Pod was rejected: {}", refusal.message);
            let status = rejected_status(&pod, &refusal.reason, &message, clock::now());
            self.context.reporter.report(&pod, status, true);
            return Ok(Step::Wait(None));
        }
        let pod = Arc::new(self.overlay(&pod));
        if pod.is_terminating() {
            return self.terminate(&pod, &sandboxes).await;
        }
        self.tend(&pod, &sandboxes).await
    }

    /// Waits for `work`, and tells meanwhile what probes find: whoever calls the pod has to know, however long its worker
    /// is busy.
    pub(crate) async fn telling<T>(&mut self, work: impl Future<Output = T>) -> T {
        let entry = self.entry.clone();
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = work.as_mut() => return done,
                () = entry.wake.notified() => self.tell(),
            }
        }
    }

    /// Tells how the pod is, as far as this worker has told of it before.
    fn tell(&mut self) {
        let desired = self.entry.desired();
        let is_told_of = self.status.is_some() && self.last_status.is_none();
        let pod = desired
            .pod
            .filter(|_| is_told_of && !desired.gone && desired.refused.is_none());
        let Some(pod) = pod.filter(|_| !mutant::active("O118")) else {
            return;
        };
        let pod = Arc::new(self.overlay(&self.context.reporter.newest(&pod)));
        let sandboxes = self.context.observer.last(pod.uid());
        self.probe(&pod, &sandboxes);
        let plan = Plan {
            waiting: self.waiting.clone(),
            ..Plan::default()
        };
        self.report(&pod, &sandboxes, &plan, false);
    }

    /// A pod that shall run, or has finished.
    async fn tend(&mut self, pod: &Arc<Pod>, sandboxes: &[PodSandbox]) -> Result<Step, Failed> {
        let now = self.context.elapsed();
        let deadline = self.deadline(pod);
        self.probe(pod, sandboxes);
        let over = self.ended.is_some() || (is_terminal(api_phase(pod)) && !mutant::active("B96"));
        let mut plan = if over {
            finished(pod, sandboxes)
        } else {
            running(pod, sandboxes, &self.memory, now)
        };
        self.tell_held_back(pod, &plan);
        self.report(pod, sandboxes, &plan, false);
        if let Some(left) = deadline.filter(|_| !over)
            && !mutant::active("O74")
        {
            plan.wake = Some(plan.wake.map_or(left, |wake| wake.min(left)));
        }
        match plan.actions.first() {
            Some(action) => self.act(pod, sandboxes, action).await,
            None => {
                if !over
                    && anything_runs(sandboxes)
                    && let Some(period) = self.refresh_volumes(pod, sandboxes).await
                {
                    plan.wake = Some(plan.wake.map_or(period, |wake| wake.min(period)));
                }
                Ok(Step::Wait(plan.wake))
            }
        }
    }

    /// Tells which containers are held back after crashes, once for each time.
    fn tell_held_back(&mut self, pod: &Pod, plan: &Plan) {
        let now = plan.waiting.iter().filter(|(_, waiting)| waiting.reason == CRASH_LOOP);
        let now: BTreeSet<String> = now.map(|(name, _)| name.clone()).collect();
        for name in now.difference(&self.held_back) {
            let message = format!("Back-off restarting failed container {name} in pod {}", identity(pod));
            self.context
                .container_event(pod, name, EventKind::Warning, "BackOff", &message);
        }
        self.held_back = now;
    }

    /// A pod that is being deleted.
    async fn terminate(&mut self, pod: &Arc<Pod>, sandboxes: &[PodSandbox]) -> Result<Step, Failed> {
        self.probe(pod, sandboxes);
        // The mutant: what could not be stopped is taken for stopped.
        let given_up = self.failures > 0 && anything_runs(sandboxes) && mutant::active("O48");
        self.looked_again |= given_up;
        if anything_runs(sandboxes) && !given_up {
            // The mutant: as if the grace had run out before this worker was there.
            let grace = match self.status.is_none() && mutant::active("O40") {
                true => Duration::from_secs(1),
                false => grace(pod),
            };
            self.report(pod, sandboxes, &Plan::default(), false);
            let plan = terminating(Some(pod), sandboxes, grace);
            return match plan.actions.first() {
                Some(action) => self.act(pod, sandboxes, action).await,
                None => Ok(Step::Again),
            };
        }
        if !self.look_again() {
            return Ok(Step::Again);
        }
        if self.last_status.is_none() {
            // From here on there is less and less to see, so that the status is taken once.
            self.report(pod, sandboxes, &Plan::default(), !mutant::active("O176"));
            self.last_status = self.status.clone();
        }
        self.remove_volumes(pod.uid()).await?;
        if let Some(action) = cleanup(sandboxes).actions.first() {
            return self.act(pod, sandboxes, action).await;
        }
        let status = self.last_status.clone().unwrap_or_default();
        // Not the overlay, which has this status already: it may be yet to be written, and goes first.
        if let Some(known) = &self.entry.desired().pod {
            let known = self.context.reporter.newest(known);
            self.context.reporter.report(&known, status, true);
        }
        Ok(Step::Wait(None))
    }

    /// Something in the runtime that the API has no pod of.
    async fn remove_leftover(&mut self, desired: &Desired, sandboxes: &[PodSandbox]) -> Result<Step, Failed> {
        if !self.confirmed {
            // The cache may be older than what the last kubelet here acted on: only the API's newest state may kill.
            let PodIdentity { uid, namespace, name } = &desired.identity;
            let key = ObjectKey::new(namespace, name);
            match Api::<Pod>::new(&self.context.client).get(&key).await {
                Ok(pod) if pod.uid() == uid => return Ok(Step::Wait(Some(PAUSE_LIMIT))),
                Err(error) if !error.is_not_found() => return Err(Failed(error.to_string())),
                _ => self.confirmed = true,
            }
        }
        let grace = sandboxes.iter().map(|sandbox| sandbox.grace).max().unwrap_or_default();
        self.remove(None, sandboxes, grace.max(Duration::from_secs(1))).await
    }

    async fn remove(
        &mut self,
        pod: Option<&Arc<Pod>>,
        sandboxes: &[PodSandbox],
        grace: Duration,
    ) -> Result<Step, Failed> {
        let plan = terminating(pod.map(|pod| &**pod), sandboxes, grace);
        match plan.actions.first() {
            Some(Action::StopContainers(stops)) => {
                return self.stop_containers(pod.map(|pod| &**pod), sandboxes, stops).await;
            }
            Some(action) => return self.act_on_runtime(action).await,
            None => {}
        }
        let uid = self.entry.desired().identity.uid;
        self.remove_volumes(&uid).await?;
        match cleanup(sandboxes).actions.first() {
            Some(action) => self.act_on_runtime(action).await,
            None if !self.look_again() => Ok(Step::Again),
            None => {
                self.context.reporter.forget(&uid);
                Ok(Step::Over)
            }
        }
    }

    /// Whether this worker has looked again since nothing was left to see: the last look may be older than the end.
    fn look_again(&mut self) -> bool {
        std::mem::replace(&mut self.looked_again, true)
    }

    /// How long the pod may still run; ends it when its time is over.
    fn deadline(&mut self, pod: &Pod) -> Option<Duration> {
        let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
        let mut start = pod.status.as_ref()?.start_time.as_ref()?.0;
        if let Some(created) = &pod.metadata.creation_timestamp
            && created.0 < start
            && mutant::active("O203")
        {
            start = created.0;
        }
        let left = start
            .as_second()
            .saturating_add(seconds)
            .saturating_sub(clock::now().as_second());
        if left <= 0 && self.ended.is_none() && !is_terminal(api_phase(pod)) {
            let message = "Pod was active on the node longer than the specified deadline";
            self.ended = Some(("DeadlineExceeded".to_owned(), message.to_owned()));
            self.context
                .pod_event(pod, orrery_client::EventKind::Normal, "DeadlineExceeded", message);
        }
        u64::try_from(left).ok().map(Duration::from_secs)
    }

    fn probe(&mut self, pod: &Arc<Pod>, sandboxes: &[PodSandbox]) {
        self.prober.attend(&self.context, pod, sandboxes, &self.entry.wake);
        for (id, health) in self.prober.healths() {
            if health.started {
                self.memory.started.insert(id.clone());
            }
            if let Some(death) = health.dead {
                self.memory.dead.insert(id, death);
            }
        }
    }

    /// The pod with the status that this worker computed last, if the API does not have it yet.
    fn overlay(&self, pod: &Pod) -> Pod {
        let mut pod = pod.clone();
        let Some(own) = &self.status else { return pod };
        let theirs = pod.status.take().unwrap_or_default();
        let mut status = PodStatus {
            nominated_node_name: theirs.nominated_node_name,
            ..own.clone()
        };
        if is_terminal(theirs.phase.as_deref().unwrap_or_default()) {
            // Somebody else may end a pod too: the pod collector, when a node was away.
            (status.phase, status.reason, status.message) = (theirs.phase, theirs.reason, theirs.message);
        }
        let is_own = |type_: &str| OWN_CONDITIONS.contains(&type_);
        let mut conditions = own.conditions.clone().unwrap_or_default();
        conditions.retain(|condition| is_own(&condition.type_));
        conditions.extend(
            theirs
                .conditions
                .unwrap_or_default()
                .into_iter()
                .filter(|theirs| !is_own(&theirs.type_)),
        );
        status.conditions = Some(conditions);
        pod.status = Some(status);
        pod
    }

    /// Whether an earlier kubelet made the pod's sandbox.
    fn inherited(&self, pod: &Pod, sandboxes: &[PodSandbox]) -> bool {
        let age = |sandbox: &PodSandbox| clock::now().duration_since(sandbox.created_at).unsigned_abs();
        usable_sandbox(pod, sandboxes).is_some_and(|sandbox| age(sandbox) > self.context.elapsed())
    }

    fn report(&mut self, pod: &Arc<Pod>, sandboxes: &[PodSandbox], plan: &Plan, gone: bool) {
        let healths = self.prober.healths();
        let ready = healths
            .iter()
            .filter(|(_, health)| health.ready)
            .map(|(id, _)| id.clone())
            .collect();
        let started = healths
            .iter()
            .filter(|(_, health)| health.started)
            .map(|(id, _)| id.clone())
            .collect();
        let old_ip: Option<std::net::IpAddr> = pod
            .status
            .as_ref()
            .and_then(|status| status.pod_ip.as_deref())
            .and_then(|ip| ip.parse().ok());
        let mut waiting = plan.waiting.clone();
        self.waiting = plan.waiting.clone();
        for view in views(pod, sandboxes) {
            if let Some(trouble) = self.memory.trouble(view.spec) {
                let name = view.spec.name.clone();
                waiting.entry(name).or_insert_with(|| trouble.waiting.clone());
            }
        }
        let seen = Seen {
            waiting: &waiting,
            ready: &ready,
            started: &started,
            replaced: &self.memory.replaced,
            host_ip: self.context.options.node_ip,
            last_ip: usable_sandbox(pod, sandboxes).and_then(|sandbox| sandbox.ip).or(old_ip),
            runtime: &self.context.scheme(),
            ended: self.ended.as_ref(),
            gone,
            now: clock::now(),
        };
        let mut status = pod_status(pod, sandboxes, &seen);
        if old_ip.is_none() && self.inherited(pod, sandboxes) && mutant::active("B107") {
            // As if only who made a sandbox knew its address.
            (status.pod_ip, status.pod_ips) = (None, None);
        }
        if self.status.is_none() && self.inherited(pod, sandboxes) && mutant::active("O111") {
            // As if all began when the kubelet did.
            let conditions = status.conditions.iter_mut().flatten();
            conditions.for_each(|condition| condition.last_transition_time = Some(clock::now_time()));
        }
        self.status = Some(status.clone());
        // The overlay has this worker's own status; the writer compares with what the API has.
        if let Some(known) = &self.entry.desired().pod {
            let known = self.context.reporter.newest(known);
            if known.status.as_ref() != Some(&status) {
                self.context.reporter.report(&known, status, false);
            }
        }
    }
}

async fn doze(time: Option<Duration>) {
    match time {
        Some(time) => sleep_until(moment_after(time)).await,
        None => std::future::pending().await,
    }
}
