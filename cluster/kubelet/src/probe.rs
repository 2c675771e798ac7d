//! Probes: whether containers have started, are alive, and are ready.
//!
//! Each running container with probes has a task of its own, which ends with it. The verdicts wake the pod's worker,
//! which restarts what is dead and tells who is ready.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Spec, Pod, Probe};
use orrery_api::meta::Object;
use orrery_api::task::TaskGroup;
use orrery_api::{clock, mutant};
use orrery_client::EventKind;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::context::Context;
use crate::handler::{Failure, Handler};
use crate::plan::at_least_a_second;
use crate::runtime::{ContainerState, PodSandbox};
use crate::view::{View, api_status, host_network, views};

/// What the probes have found out about a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// It has started.
    pub started: bool,
    /// It is ready.
    pub ready: bool,
    /// It has to be restarted.
    pub dead: Option<Death>,
}

/// Why a container has to be restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// The message for the event.
    pub message: String,
    /// How long it may take to end, if the probe that failed says so for itself (KEP-2238).
    pub grace: Option<Duration>,
}

type Healths = Arc<Mutex<BTreeMap<String, Health>>>;

fn lock(healths: &Healths) -> MutexGuard<'_, BTreeMap<String, Health>> {
    healths.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The probes of a pod's containers.
pub struct Prober {
    healths: Healths,
    tasks: BTreeMap<String, TaskGroup>,
    /// Whether the pod is being deleted: nobody asks any more whether what ends is alive.
    going: watch::Sender<bool>,
}

impl Default for Prober {
    fn default() -> Self {
        Prober {
            healths: Healths::default(),
            tasks: BTreeMap::new(),
            going: watch::Sender::new(false),
        }
    }
}

/// One probe of one container.
struct Check {
    kind: &'static str,
    /// What it does; none if that cannot be done, because no port of the container has the name.
    handler: Option<Handler>,
    /// How long after its start the container is left alone.
    initial_delay: Duration,
    period: Duration,
    timeout: Duration,
    success_threshold: i32,
    failure_threshold: i32,
    /// How long a container that it finds dead may take to end, if that is said.
    grace: Option<Duration>,
}

impl Check {
    /// What it does. One that cannot be done says nothing of the container, neither good nor bad.
    fn handler(&self) -> Result<&Handler, Failure> {
        let handler = self.handler.as_ref();
        handler.ok_or_else(|| Failure::Runtime("the container has no port of the probe's name".to_owned()))
    }

    /// What is told of a failure.
    fn told(&self, failure: &Failure) -> String {
        match failure {
            Failure::Container(why) => format!("{} probe failed: {why}", self.kind),
            Failure::Runtime(why) => format!("{} probe errored and resulted in unknown state: {why}", self.kind),
        }
    }
}

/// How often in a row a probe has succeeded, or failed.
#[derive(Default)]
struct Streak {
    good: i32,
    bad: i32,
}

impl Streak {
    /// Counts the `result` of a probe; whether the container is well, once enough have said the same. A probe that the
    /// runtime could not carry out counts for nothing.
    fn verdict(&mut self, check: &Check, result: &Result<(), Failure>) -> Option<bool> {
        match result {
            Ok(()) => {
                let kept = if self.bad > 0 && mutant::active("O89") {
                    self.bad
                } else {
                    0
                };
                (self.good, self.bad) = (self.good + 1, kept);
                (self.good >= check.success_threshold).then_some(true)
            }
            Err(Failure::Container(_)) => {
                (self.good, self.bad) = (0, self.bad + 1);
                (self.bad >= check.failure_threshold).then_some(false)
            }
            Err(Failure::Runtime(_)) => None,
        }
    }
}

/// Everything a container's probe task needs.
struct Patient {
    context: Arc<Context>,
    pod: Arc<Pod>,
    name: String,
    id: String,
    started_at: Timestamp,
    healths: Healths,
    wake: Arc<Notify>,
    going: watch::Receiver<bool>,
}

impl Prober {
    /// Probes what runs, and nothing else.
    pub fn attend(&mut self, context: &Arc<Context>, pod: &Arc<Pod>, sandboxes: &[PodSandbox], wake: &Arc<Notify>) {
        self.going
            .send_if_modified(|going| pod.is_terminating() && !std::mem::replace(going, true));
        let views = views(pod, sandboxes);
        let mut running = BTreeSet::new();
        for view in &views {
            let Some((container, sandbox)) = view.current else {
                continue;
            };
            let ContainerState::Running { started_at } = container.state else {
                continue;
            };
            running.insert(container.id.clone());
            if lock(&self.healths).contains_key(&container.id) {
                continue;
            }
            let ip = if host_network(pod) {
                Some(context.options.node_ip)
            } else {
                sandbox.ip
            };
            let mut health = first_health(pod, view, &container.id);
            let is_found = age(started_at) > FRESH;
            if is_found && !health.ready && mutant::active("O109") {
                health.dead = Some(Death {
                    message: format!("Container {} is not ready, will be restarted", container.name),
                    grace: None,
                });
            }
            lock(&self.healths).insert(container.id.clone(), health);
            let patient = Patient {
                context: context.clone(),
                pod: pod.clone(),
                name: container.name.clone(),
                id: container.id.clone(),
                started_at,
                healths: self.healths.clone(),
                wake: wake.clone(),
                going: self.going.subscribe(),
            };
            if let Some(ip) = ip
                && let Some(task) = patient.task(view.spec, ip)
            {
                let group = TaskGroup::new();
                group.spawn(task);
                self.tasks.insert(container.id.clone(), group);
            }
        }
        self.tasks.retain(|id, _| running.contains(id));
        lock(&self.healths).retain(|id, _| running.contains(id));
    }

    /// What is known of the running containers, by id.
    pub fn healths(&self) -> BTreeMap<String, Health> {
        lock(&self.healths).clone()
    }
}

/// What has run for longer when it is first probed was started by an earlier life of the kubelet; for mutants.
const FRESH: Duration = Duration::from_secs(5);

/// How long ago a container started, by the machine's clock; nothing if that was put back since.
fn age(started_at: Timestamp) -> Duration {
    Duration::try_from(clock::now().duration_since(started_at)).unwrap_or_default()
}

/// When to probe again that was to probe at `due`: every period, however long a probe takes. Of the ticks that were
/// missed only the last one is made up for, as a ticker of Kubernetes' kubelet does.
fn next_tick(due: Instant, period: Duration, now: Instant) -> Instant {
    let mut next = due + period;
    while next + period <= now {
        next += period;
    }
    next
}

/// What holds of a container before its probes have spoken. A container that a kubelet finds running at its start is
/// what the API says of it: a restart of the kubelet makes nothing unready.
fn first_health(pod: &Pod, view: &View<'_>, id: &str) -> Health {
    let known = api_status(pod, &view.spec.name).filter(|status| {
        status
            .container_id
            .as_deref()
            .and_then(|known| known.split_once("://"))
            .is_some_and(|(_, known)| known == id)
    });
    let started = view.spec.startup_probe.is_none() || known.is_some_and(|known| known.started == Some(true));
    let ready = started && (view.spec.readiness_probe.is_none() || known.is_some_and(|known| known.ready));
    Health {
        started,
        ready,
        dead: None,
    }
}

fn check(kind: &'static str, probe: Option<&Probe>, spec: &Spec, ip: IpAddr) -> Option<Check> {
    let probe = probe?;
    let seconds = |seconds: Option<i32>, default: i32, least: i32| {
        Duration::from_secs(u64::try_from(seconds.filter(|own| *own > 0).unwrap_or(default).max(least)).unwrap_or(0))
    };
    let thresholds = |own: Option<i32>, default: i32| own.filter(|own| *own > 0).unwrap_or(default);
    let (successes, failures) = (
        thresholds(probe.success_threshold, 1),
        thresholds(probe.failure_threshold, 3),
    );
    Some(Check {
        kind,
        handler: Handler::of_probe(probe, spec, ip),
        initial_delay: seconds(probe.initial_delay_seconds, 0, 0),
        period: seconds(probe.period_seconds, 10, 1),
        timeout: seconds(probe.timeout_seconds, 1, 1),
        success_threshold: match successes > 1 && mutant::active("O201") {
            true => 1,
            false => successes,
        },
        failure_threshold: match failures > 3 && mutant::active("O200") {
            true => 3,
            false => failures,
        },
        grace: probe.termination_grace_period_seconds.map(at_least_a_second),
    })
}

impl Patient {
    /// The task that runs the container's probes; none if it has none.
    fn task(self, spec: &Spec, ip: IpAddr) -> Option<impl Future<Output = ()> + Send + 'static> {
        let startup = check("Startup", spec.startup_probe.as_ref(), spec, ip);
        let liveness = check("Liveness", spec.liveness_probe.as_ref(), spec, ip);
        let readiness = check("Readiness", spec.readiness_probe.as_ref(), spec, ip);
        if startup.is_none() && liveness.is_none() && readiness.is_none() {
            return None;
        }
        let probes_readiness = readiness.is_some();
        Some(async move {
            let started = self.health(|health| health.started);
            if let Some(startup) = startup.filter(|_| !started && !mutant::active("O177")) {
                match self.unless_going(self.watch(&startup, |_| {}, true)).await {
                    Some(true) => {}
                    Some(false) if mutant::active("O178") => return,
                    Some(false) => return self.bury("failed startup probe", startup.grace),
                    None => return,
                }
            }
            self.change(|health| {
                health.started = true;
                health.ready |= !probes_readiness;
            });
            tokio::join!(
                async {
                    let is_found = age(self.started_at) > FRESH;
                    if let Some(liveness) = liveness.filter(|_| !(is_found && mutant::active("O110")))
                        && self.unless_going(self.watch(&liveness, |_| {}, false)).await.is_some()
                    {
                        self.bury("failed liveness probe", liveness.grace);
                    }
                },
                async {
                    if let Some(readiness) = readiness {
                        let tell = |ready: bool| {
                            self.change(|health| health.ready = ready || (health.ready && mutant::active("O97")));
                        };
                        self.watch(&readiness, tell, false).await;
                    }
                }
            );
        })
    }

    /// What `work` comes to; nothing once the pod is being deleted.
    async fn unless_going<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut going = self.going.clone();
        tokio::select! {
            biased;
            _ = going.wait_for(|going| *going) => None,
            done = work => Some(done),
        }
    }

    /// Probes until the verdict is final: for startup the first verdict, for liveness the first bad one, for readiness
    /// never. Each verdict is told to `verdict`.
    async fn watch(&self, check: &Check, verdict: impl Fn(bool), first_is_final: bool) -> bool {
        // A kubelet that starts again finds containers that have been left alone for long enough.
        sleep(check.initial_delay.saturating_sub(age(self.started_at))).await;
        let mut streak = Streak::default();
        let mut due = Instant::now();
        loop {
            let context = &self.context;
            let (runtime, network) = (&*context.runtime, &*context.network);
            let result = match check.handler() {
                Ok(handler) => handler.run(runtime, network, &self.id, check.timeout).await,
                Err(failure) => Err(failure),
            };
            if let Err(failure) = &result {
                let message = check.told(failure);
                context.container_event(&self.pod, &self.name, EventKind::Warning, "Unhealthy", &message);
            }
            if let Some(is_good) = streak.verdict(check, &result) {
                verdict(is_good);
                if first_is_final || (!is_good && check.kind != "Readiness") {
                    return is_good;
                }
            }
            due = next_tick(due, check.period, Instant::now());
            sleep_until(due).await;
        }
    }

    fn health<T>(&self, read: impl FnOnce(&Health) -> T) -> T {
        read(lock(&self.healths).entry(self.id.clone()).or_default())
    }

    fn change(&self, change: impl FnOnce(&mut Health)) {
        let changed = {
            let mut healths = lock(&self.healths);
            let health = healths.entry(self.id.clone()).or_default();
            let before = health.clone();
            change(health);
            *health != before
        };
        if changed {
            self.wake.notify_one();
        }
    }

    fn bury(&self, why: &str, grace: Option<Duration>) {
        let message = format!("Container {} {why}, will be restarted", self.name);
        self.change(|health| health.dead = Some(Death { message, grace }));
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ExecAction;
    use serde_json::json;

    use super::*;

    #[test]
    fn probes_come_every_period_and_missed_ones_are_made_up_for_once() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let next = |now| next_tick(begin, Duration::from_secs(10), after(now));
        assert_eq!(next(0), after(10));
        assert_eq!(next(9), after(10));
        assert_eq!(next(15), after(10), "at once");
        assert_eq!(next(25), after(20), "at once, and then at 30");
    }

    #[test]
    fn a_probe_that_the_runtime_could_not_carry_out_counts_for_nothing() {
        let probe = Probe {
            failure_threshold: Some(2),
            success_threshold: Some(2),
            exec: Some(ExecAction::default()),
            ..Probe::default()
        };
        let check = check("Readiness", Some(&probe), &Spec::default(), [10, 0, 0, 1].into()).expect("a check");
        let mut streak = Streak::default();
        let mut after = |result: Result<(), Failure>| streak.verdict(&check, &result);
        let failed = || Err(Failure::Container("command exited with 1".to_owned()));
        let away = || Err(Failure::Runtime("connection refused".to_owned()));
        assert_eq!((after(away()), after(away()), after(away())), (None, None, None));
        assert_eq!(
            (after(failed()), after(away()), after(failed())),
            (None, None, Some(false))
        );
        assert_eq!((after(Ok(())), after(away()), after(Ok(()))), (None, None, Some(true)));
        assert_eq!((after(failed()), after(Ok(())), after(failed())), (None, None, None));
    }

    #[test]
    fn a_probe_of_a_port_that_nobody_has_named_stays_a_probe_and_comes_to_no_verdict() {
        let probe = |port: &str| -> Probe {
            serde_json::from_value(json!({"httpGet": {"port": port}, "failureThreshold": 1})).expect("a probe")
        };
        let container: Spec =
            serde_json::from_value(json!({"name": "web", "ports": [{"name": "http", "containerPort": 80}]}))
                .expect("a container");
        for kind in ["Startup", "Liveness", "Readiness"] {
            let of = |port: &str| check(kind, Some(&probe(port)), &container, [10, 0, 0, 1].into()).expect("a check");
            assert!(of("http").handler().is_ok());
            let lost = of("admin");
            let failure = lost.handler().expect_err("no such port");
            assert!(
                lost.told(&failure)
                    .contains("probe errored and resulted in unknown state")
            );
            assert_eq!(Streak::default().verdict(&lost, &Err(failure)), None);
        }
    }
}
