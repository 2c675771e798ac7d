//! The kubelet: puts its parts together and runs them.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use k8s_openapi::api::core::v1::{Node, Pod};
use orrery_api::message::Service;
use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use orrery_client::{Cache, Change, Client, Informer, Recorder};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::context::Context;
use crate::heartbeat::{keep_lease, keep_node};
use crate::observer::Observer;
use crate::options::Options;
use crate::pods::{Message, Pods};
use crate::report::Reporter;
use crate::resources::Amounts;
use crate::runtime::{ContainerRuntime, PodNetwork};
use crate::service::Logs;

/// The agent of a node: makes its containers match its pods.
pub struct Kubelet {
    context: Arc<Context>,
    pods: Mutex<Option<Cache<Pod>>>,
}

impl Kubelet {
    /// A kubelet that reaches the API by `client`, runs pods on `runtime` and probes them over `network`.
    pub fn new(
        options: Options,
        client: Client,
        runtime: Arc<dyn ContainerRuntime>,
        network: Arc<dyn PodNetwork>,
        random: Random,
    ) -> Arc<Kubelet> {
        let random = random.stream("kubelet");
        let amounts = options.allocatable.as_ref().unwrap_or(&options.capacity).iter();
        let allocatable: Amounts = amounts
            .filter_map(|(name, amount)| Some((name.clone(), amount.parse().ok()?)))
            .collect();
        let context = Context {
            recorder: Recorder::new(&client, "kubelet", Some(&options.node_name), &random),
            observer: Observer::new(runtime.clone(), options.relist),
            reporter: Arc::new(Reporter::new(&client)),
            allocatable,
            random,
            started: Instant::now(),
            runtime_name: RwLock::new("docker".to_owned()),
            options,
            client,
            runtime,
            network,
        };
        Arc::new(Kubelet {
            context: Arc::new(context),
            pods: Mutex::default(),
        })
    }

    /// Runs until it is dropped. Containers go on without it, and are taken over by the next run.
    pub async fn run(&self) {
        let context = self.context.clone();
        let node_name = &context.options.node_name;
        let (sender, receiver) = mpsc::unbounded_channel();

        let node_changed = Arc::new(Notify::new());
        let wake = node_changed.clone();
        let node_informer = Informer::<Node>::new(&context.client, &context.random)
            .fields(&format!("metadata.name={node_name}"))
            .on_change(move |change| {
                if matches!(change, Change::Deleted(_)) {
                    wake.notify_one();
                }
            });
        let node = node_informer.cache();

        let changes = sender.clone();
        let pod_informer = Informer::<Pod>::new(&context.client, &context.random)
            .fields(&format!("spec.nodeName={node_name}"))
            .on_change(move |change| {
                // The receiver lives as long as the kubelet runs.
                let _ = changes.send(match change {
                    Change::Deleted(pod) => Message::Gone(pod.clone()),
                    other => Message::Pod(other.object().clone()),
                });
            });
        let pods = pod_informer.cache();
        *self.pods.lock().unwrap_or_else(PoisonError::into_inner) = Some(pods.clone());

        // The runtime's name is part of every container's status.
        if let Ok(Ok(version)) =
            orrery_api::task::within(std::time::Duration::from_secs(5), context.runtime.version()).await
        {
            *context.runtime_name.write().unwrap_or_else(PoisonError::into_inner) = version.name;
        }

        let tasks = TaskGroup::new();
        tasks.spawn(node_informer.run());
        tasks.spawn(pod_informer.run());
        tasks.spawn(context.reporter.clone().run());
        let own = context.clone();
        tasks.spawn(async move { own.recorder.run().await });
        let (own, cache) = (context.clone(), node.clone());
        tasks.spawn(async move { keep_node(&own, &cache, &node_changed).await });
        let (own, cache) = (context.clone(), node.clone());
        tasks.spawn(async move { keep_lease(&own, &cache).await });
        let (own, observed) = (context.clone(), sender.clone());
        tasks.spawn(async move {
            let tell = |uids| {
                let _ = observed.send(Message::Observed(uids));
            };
            own.observer.run(tell).await;
        });
        Pods::new(context, pods, node, sender).run(receiver).await;
    }

    /// Answers what the API server asks a kubelet: the logs of containers, and `/healthz`.
    pub fn service(self: &Arc<Self>) -> Arc<dyn Service> {
        Arc::new(Logs::new(self.clone()))
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The pods that the kubelet knows; none before it runs.
    pub(crate) fn pods(&self) -> Option<Cache<Pod>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
