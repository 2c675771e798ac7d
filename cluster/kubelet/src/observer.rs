//! What the runtime has, looked at no more often than needed, and who must be woken when it changes.
//!
//! One task lists everything: when the runtime tells of a change, when a worker has acted and wants to see, and now and
//! then in any case, since events may be lost. Many requests to look are answered by one list that began after them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use orrery_api::task::within;
use orrery_api::{log, mutant};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use crate::backoff::go_duration;
use crate::runtime::{ContainerRuntime, EventStream, PodSandbox};

/// How long listing may take before the runtime is thought to hang.
const LIST_LIMIT: Duration = Duration::from_secs(60);
/// How often to look while the runtime tells no events.
const BLIND_PERIOD: Duration = Duration::from_secs(1);
/// How long no look may succeed before the node is not ready.
const BLIND_LIMIT: Duration = Duration::from_secs(180);
/// Events come in bursts; one look serves those of a moment.
const BURST: Duration = Duration::from_millis(10);

#[derive(Default)]
struct State {
    pods: BTreeMap<String, Arc<Vec<PodSandbox>>>,
    asked: u64,
}

/// Looks at the runtime on behalf of all workers.
pub struct Observer {
    runtime: Arc<dyn ContainerRuntime>,
    period: Duration,
    state: Mutex<State>,
    /// When a look last succeeded; before the first, since when somebody tries.
    looked: Mutex<Instant>,
    ask: Notify,
    /// The number of the last request to look that has been served.
    served: watch::Sender<u64>,
}

impl Observer {
    /// An observer of `runtime` that looks every `period` even if nothing is said to change.
    pub fn new(runtime: Arc<dyn ContainerRuntime>, period: Duration) -> Self {
        Observer {
            runtime,
            period,
            state: Mutex::default(),
            looked: Mutex::new(Instant::now()),
            ask: Notify::new(),
            served: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the runtime had of the pod with `uid` when it was last looked at.
    pub fn last(&self, uid: &str) -> Arc<Vec<PodSandbox>> {
        self.lock().pods.get(uid).cloned().unwrap_or_default()
    }

    /// Waits for a look that begins after now, for as long as the runtime hangs.
    pub async fn look(&self) {
        let ticket = {
            let mut state = self.lock();
            state.asked += 1;
            state.asked
        };
        let mut served = self.served.subscribe();
        self.ask.notify_one();
        // The sender lives in `self`.
        let _ = served.wait_for(|served| *served >= ticket).await;
    }

    /// Why the node cannot be relied on, if the runtime could not be looked at for three minutes. The words are those
    /// of Kubernetes' pod lifecycle event generator: a runtime may say who it is and still be at a loss for its
    /// containers.
    pub fn trouble(&self) -> Option<String> {
        let blind = self.looked.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        (blind > BLIND_LIMIT && !mutant::active("O20")).then(|| {
            let (blind, limit) = (Duration::from_secs(blind.as_secs()), BLIND_LIMIT);
            format!(
                "PLEG is not healthy: pleg was last seen active {} ago; threshold is {}",
                go_duration(blind),
                go_duration(limit)
            )
        })
    }

    /// The uids of all pods that the runtime has anything of.
    pub fn uids(&self) -> Vec<String> {
        self.lock().pods.keys().cloned().collect()
    }

    /// Looks for ever; `changed` is told which pods changed.
    pub async fn run(&self, changed: impl Fn(Vec<String>) + Send + Sync) {
        let mut events: Option<EventStream> = None;
        let mut failures = 0;
        loop {
            if events.is_none() {
                events = within(LIST_LIMIT, self.runtime.events())
                    .await
                    .ok()
                    .and_then(Result::ok);
            }
            let ticket = self.lock().asked;
            let listed = match within(LIST_LIMIT, self.runtime.list_pods()).await {
                Ok(Ok(pods)) => Ok(pods),
                Ok(Err(error)) => Err(error.to_string()),
                Err(elapsed) => Err(elapsed.to_string()),
            };
            match listed {
                Ok(pods) => {
                    failures = 0;
                    let uids = self.take(pods);
                    self.served.send_replace(ticket);
                    if !uids.is_empty() {
                        changed(uids);
                    }
                }
                Err(why) => {
                    failures += 1;
                    if failures == 3 {
                        log::line("kubelet", format_args!("the container runtime does not answer: {why}"));
                    }
                    sleep(BLIND_PERIOD).await;
                    continue;
                }
            }
            if self.lock().asked > ticket {
                continue;
            }
            let period = if events.is_some() {
                self.period
            } else {
                self.period.min(BLIND_PERIOD)
            };
            let mut ended = false;
            tokio::select! {
                biased;
                () = self.ask.notified() => {}
                event = next(&mut events) => {
                    ended = event.is_none();
                    sleep(BURST).await;
                }
                () = sleep(period), if !mutant::active("O06") => {}
            }
            if let Some(stream) = &mut events {
                // Whatever else is waiting is covered by the next look.
                let mut left = 1000;
                while !ended && left > 0 {
                    match futures_util::FutureExt::now_or_never(stream.next()) {
                        Some(Some(_)) => left -= 1,
                        Some(None) => ended = true,
                        None => break,
                    }
                }
            }
            if ended {
                events = None;
            }
        }
    }

    /// Takes a list; returns the uids of the pods that changed.
    fn take(&self, pods: Vec<PodSandbox>) -> Vec<String> {
        let mut fresh: BTreeMap<String, Vec<PodSandbox>> = BTreeMap::new();
        for mut pod in pods {
            pod.containers
                .sort_by(|a, b| (&a.name, a.attempt, &a.id).cmp(&(&b.name, b.attempt, &b.id)));
            fresh.entry(pod.pod.uid.clone()).or_default().push(pod);
        }
        let mut state = self.lock();
        let mut changed: Vec<String> = state
            .pods
            .keys()
            .filter(|uid| !fresh.contains_key(*uid))
            .cloned()
            .collect();
        let mut pods = BTreeMap::new();
        for (uid, mut sandboxes) in fresh {
            sandboxes.sort_by(|a, b| (a.attempt, a.created_at, &a.id).cmp(&(b.attempt, b.created_at, &b.id)));
            let old = state.pods.get(&uid).filter(|old| ***old == sandboxes).cloned();
            let entry = old.unwrap_or_else(|| {
                changed.push(uid.clone());
                Arc::new(sandboxes)
            });
            pods.insert(uid, entry);
        }
        state.pods = pods;
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        changed
    }
}

async fn next(events: &mut Option<EventStream>) -> Option<String> {
    match events {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}
