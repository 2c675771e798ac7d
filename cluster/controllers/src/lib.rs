//! The reconcile loops, one module a controller.
//!
//! A controller reads as three parts: *observe* (which caches), *plan* (pure, the whole truth of the controller), *act*
//! (through the API, with preconditions). Each has the same shape: `new` registers its handlers with the shared
//! [`informers`] and keeps the caches it reads; `run` works off its queue for ever and is first polled when every
//! shared cache is filled. Leader election is not done here: who assembles the process wraps it around [`run`].

mod backends;
#[cfg(test)]
mod behaviour_tests;
mod deployment;
mod endpoints;
mod endpointslice;
#[cfg(test)]
mod fake;
mod garbagecollector;
mod informers;
mod kinds;
mod namespace;
mod nodelifecycle;
mod ownership;
mod podgc;
mod pods;
mod replicaset;
mod retry;
mod rootca;
mod serviceaccount;
#[cfg(test)]
mod unanswered_tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use orrery_api::mutant;
use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use orrery_client::{Client, Recorder};

use crate::informers::Informers;
pub use crate::kinds::CustomKind;

/// What the controllers are told from outside.
#[derive(Debug, Clone)]
pub struct Options {
    /// The cluster's certificate authority in PEM, published as the config map `kube-root-ca.crt` of every namespace.
    pub cluster_ca: String,
    /// How long a node may be silent before it counts as unreachable.
    pub node_monitor_grace: Duration,
    /// How many pods a second may be evicted from a zone's failed nodes.
    pub node_eviction_rate: f64,
    /// How many finished pods are kept before the oldest are removed; 0 keeps all.
    pub terminated_pod_threshold: usize,
    /// Custom kinds, whose objects are collected and go with their namespaces.
    pub custom_kinds: Vec<CustomKind>,
    /// How many objects each of the workload controllers reconciles at once.
    pub workers: usize,
}

impl Default for Options {
    /// The defaults of kube-controller-manager, with an empty certificate authority.
    fn default() -> Self {
        Options {
            cluster_ca: String::new(),
            node_monitor_grace: Duration::from_secs(50),
            node_eviction_rate: 0.1,
            terminated_pod_threshold: 12_500,
            custom_kinds: Vec::new(),
            workers: 5,
        }
    }
}

/// What every controller is given.
#[derive(Clone)]
pub(crate) struct Context {
    /// The way to the API.
    pub client: Client,
    /// Chance; a controller takes its own stream of it.
    pub random: Random,
    /// What the process was told.
    pub options: Arc<Options>,
    /// The tasks of the process, for a controller whose parts run beside its `run`.
    pub tasks: Arc<TaskGroup>,
}

impl Context {
    /// The same for a part that names itself to the API.
    pub(crate) fn named(&self, part: &str) -> Self {
        Context {
            client: self.client.clone().named(part),
            ..self.clone()
        }
    }

    /// A recorder of events that name `component` as their source.
    pub(crate) fn recorder(&self, component: &str) -> Recorder {
        let recorder = Recorder::new(&self.client, component, None, &self.random.stream(component));
        let writer = recorder.clone();
        self.tasks.spawn(async move { writer.run().await });
        recorder
    }
}

/// The collector's place among the controllers, for mutant B74, whose collector does not wait for the others' caches.
const COLLECTOR: usize = 5;

type Controller = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs all controllers; never returns. Dropping the future stops every task of theirs.
pub async fn run(client: Client, options: Options, random: Random) {
    let tasks = Arc::new(TaskGroup::new());
    // A controller may keep the group by its context; this ends the tasks, and with them the controllers, all the same.
    let _guard = AbortOnDrop(tasks.clone());
    let context = Context {
        client: client.clone(),
        random: random.clone(),
        options: Arc::new(options),
        tasks,
    };
    let mut informers = Informers::new(&client, &random, &context.options.custom_kinds);
    let mut controllers: Vec<Controller> = vec![
        Box::pin(deployment::DeploymentController::new(&context, &mut informers).run()),
        Box::pin(replicaset::ReplicaSetController::new(&context, &mut informers).run()),
        Box::pin(endpoints::EndpointsController::new(&context, &mut informers).run()),
        Box::pin(endpointslice::EndpointSliceController::new(&context, &mut informers).run()),
        Box::pin(nodelifecycle::NodeLifecycleController::new(&context, &mut informers).run()),
        Box::pin(garbagecollector::GarbageCollector::new(&context, &mut informers).run()),
        Box::pin(namespace::NamespaceController::new(&context, &mut informers).run()),
        Box::pin(serviceaccount::ServiceAccountController::new(&context, &mut informers).run()),
        Box::pin(rootca::RootCaController::new(&context, &mut informers).run()),
        Box::pin(podgc::PodGc::new(&context, &mut informers).run()),
    ];
    // Nobody decides on half a picture: a cache that is still being filled looks like a cluster with little in it.
    if mutant::is_on("B74") {
        context.tasks.spawn(controllers.remove(COLLECTOR));
    }
    informers.run(&context.tasks).await;
    for controller in controllers {
        context.tasks.spawn(controller);
    }
    std::future::pending().await
}

struct AbortOnDrop(Arc<TaskGroup>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}
