//! Filter and score; binds pods to nodes.
//!
//! One pod at a time is decided on ([`mod@decide`]) over a state that is kept up to date change by change ([`state`]);
//! the pod counts on its node at once, and binding goes on beside the next decision ([`bind`]). Pods that fit nowhere
//! say why ([`telling`]), and wait for what may help them ([`queue`]). Not done: preemption, volumes, dynamic
//! resources, extenders.
//!
//! The API server refuses to bind a pod twice, but does not check capacity at a binding: that no node gets more than it
//! has rests on one scheduler deciding at a time, which leader election sees to.

mod affinity;
mod bind;
mod decide;
mod handlers;
mod queue;
mod resources;
#[cfg(feature = "mutants")]
mod snapshot;
mod state;
mod telling;
mod topology;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use orrery_api::meta::Object;
use orrery_api::mutant;
use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use orrery_client::{Api, Cache, Client, Informer, Recorder};

#[cfg(not(feature = "mutants"))]
use crate::decide::decide;
use crate::queue::{Queue, Turn};
use crate::state::{PodInfo, State};
use crate::telling::Told;

/// The first pause before something is asked of the API server again; doubled up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is left to do about a pod that was decided on.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the scheduler is told from outside.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only pods that name this scheduler are scheduled.
    pub scheduler_name: String,
}

impl Default for Options {
    /// The scheduler of pods that name none.
    fn default() -> Self {
        Options {
            scheduler_name: "default-scheduler".to_owned(),
        }
    }
}

/// Runs the scheduler; never returns. Dropping the future stops every task of it.
pub async fn run(client: Client, options: Options, random: Random) {
    let tasks = Arc::new(TaskGroup::new());
    let recorder = Recorder::new(&client, &options.scheduler_name, None, &random.stream("events"));
    let nodes: Informer<Node> = Informer::new(&client, &random.stream("nodes"));
    let pods: Informer<Pod> = Informer::new(&client, &random.stream("pods"));
    let namespaces: Informer<Namespace> = Informer::new(&client, &random.stream("namespaces"));
    let scheduler = Arc::new(Scheduler {
        state: Arc::default(),
        queue: Queue::default(),
        pods: pods.cache(),
        pod_api: Api::new(&client),
        node_api: Api::new(&client),
        recorder: recorder.clone(),
        random: random.stream("choice"),
        options,
        told: Mutex::default(),
        #[cfg(feature = "mutants")]
        snapshot: snapshot::Snapshot::default(),
    });
    let pods = pods.on_change(scheduler.pod_handler());
    let nodes = nodes.on_change(scheduler.node_handler());
    let namespaces = namespaces.on_change(scheduler.namespace_handler());
    let caches = (nodes.cache(), pods.cache(), namespaces.cache());
    tasks.spawn(async move { recorder.run().await });
    tasks.spawn(nodes.run());
    tasks.spawn(pods.run());
    tasks.spawn(namespaces.run());
    // On half a picture nodes would look empty that are full, and pods be welcome that others keep away.
    caches.0.wait_synced().await;
    caches.1.wait_synced().await;
    caches.2.wait_synced().await;
    let mut alarm = None;
    loop {
        let turn = scheduler.queue.next(&mut alarm).await;
        if let Some(work) = scheduler.clone().turn(turn) {
            tasks.spawn(work);
        }
    }
}

/// The shared parts of a running scheduler.
struct Scheduler {
    state: Arc<Mutex<State>>,
    queue: Queue,
    pods: Cache<Pod>,
    pod_api: Api<Pod>,
    node_api: Api<Node>,
    recorder: Recorder,
    random: Random,
    options: Options,
    /// What is told about each pod that fits nowhere, by uid.
    told: Mutex<BTreeMap<String, Told>>,
    #[cfg(feature = "mutants")]
    snapshot: snapshot::Snapshot,
}

impl Scheduler {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides on the pod whose turn it is; what is left to do, binding or telling, goes on beside the next turn.
    fn turn(self: Arc<Self>, turn: Turn) -> Option<Work> {
        let pod = self.pods.get(&turn.key).filter(|pod| pod.uid() == turn.uid);
        let Some(pod) = pod.filter(|pod| handlers::wants_a_node(pod, &self.options.scheduler_name)) else {
            self.queue.remove(&turn.uid);
            return None;
        };
        let info = PodInfo::new(pod.clone());
        let mut state = self.state();
        if state.is_placed(&turn.uid) {
            return None;
        }
        #[cfg(not(feature = "mutants"))]
        let decision = decide(&info, &state, &self.random);
        #[cfg(feature = "mutants")]
        let decision = self.snapshot.decide(&info, &state, &self.random);
        match decision {
            Ok(node) => {
                let uid = state
                    .nodes
                    .get(&node)
                    .and_then(|info| info.node.as_ref())
                    .map(|node| node.uid().to_owned());
                state.assume(info, &node);
                drop(state);
                Some(Box::pin(self.bind(pod, node, uid.unwrap_or_default())))
            }
            Err(why) => {
                drop(state);
                let telling = self.tell(&pod, &why.message);
                if mutant::is_on("B35") {
                    // Events may come while the pod is on its way to those that wait.
                    return Some(Box::pin(async move {
                        if let Some(telling) = telling {
                            telling.await;
                        }
                        self.queue.park(&turn.uid, why.events);
                    }));
                }
                self.queue.park(&turn.uid, why.events);
                telling
            }
        }
    }
}

#[cfg(test)]
mod tests;
