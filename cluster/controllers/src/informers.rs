//! The informers that all controllers of the process share: one a kind, and only of the kinds that somebody reads.
//!
//! A controller takes caches and adds handlers in its `new`; nothing is requested before [`Informers::run`].

use std::future::Future;
use std::pin::Pin;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Namespace, Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::meta::{Object, controller_of};
use orrery_api::mutant;
use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use orrery_client::{Cache, Change, Client, Informer, Resource};

use crate::kinds::CustomKind;

/// Index of pods by the name of their node; pods without one are not in it.
pub(crate) const BY_NODE: &str = "node";
/// Index by the uid of the controlling owner; objects without one stand under the empty string.
pub(crate) const BY_OWNER: &str = "owner";
/// Index of endpoint slices by `namespace/service`.
pub(crate) const BY_SERVICE: &str = "service";

/// Ready when a cache is filled.
type Filled = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One shared informer, before it runs.
pub(crate) struct Shared<K> {
    informer: Option<Informer<K>>,
    cache: Cache<K>,
    wanted: bool,
}

impl<K: Resource> Shared<K> {
    /// An informer that nobody wants yet.
    pub(crate) fn new(informer: Informer<K>) -> Self {
        let cache = informer.cache();
        Shared {
            informer: Some(informer),
            cache,
            wanted: false,
        }
    }

    /// The cache; asking for it makes the informer run.
    pub(crate) fn cache(&mut self) -> Cache<K> {
        self.wanted = true;
        self.cache.clone()
    }

    /// Adds a handler, called synchronously at each change: it may only put keys into queues.
    pub(crate) fn on_change(&mut self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        self.wanted = true;
        self.informer = self.informer.take().map(|informer| informer.on_change(handler));
    }

    /// Starts the informer in `tasks` if somebody wants it; the answer is ready when its cache is filled.
    fn start(mut self, tasks: &TaskGroup) -> Option<Filled> {
        let informer = self.informer.take().filter(|_| self.wanted)?;
        tasks.spawn(informer.run());
        let cache = self.cache;
        Some(Box::pin(async move { cache.wait_synced().await }))
    }
}

/// A handler of what happens to objects of any kind: the metadata, and whether the object is gone.
pub(crate) type OnMetadata = Box<dyn Fn(&ObjectMeta, bool) + Send + Sync>;

/// A [`Shared`] informer of whatever kind.
pub(crate) trait AnyShared: Send {
    /// The group and the kind.
    fn names(&self) -> (&'static str, &'static str);
    /// Adds a handler that needs no more than metadata.
    fn on_metadata(&mut self, handler: OnMetadata);
    /// Starts the informer, see [`Shared::start`].
    fn start_boxed(self: Box<Self>, tasks: &TaskGroup) -> Option<Filled>;
}

impl<K: Resource> AnyShared for Shared<K> {
    fn names(&self) -> (&'static str, &'static str) {
        (K::GROUP, K::KIND)
    }

    fn on_metadata(&mut self, handler: OnMetadata) {
        self.on_change(move |change| handler(change.object().metadata(), matches!(change, Change::Deleted(_))));
    }

    fn start_boxed(self: Box<Self>, tasks: &TaskGroup) -> Option<Filled> {
        self.start(tasks)
    }
}

/// The shared informers of the process.
pub(crate) struct Informers {
    /// Pods, by [`BY_NODE`] and [`BY_OWNER`].
    pub pods: Shared<Pod>,
    /// Replica sets, by [`BY_OWNER`].
    pub replica_sets: Shared<ReplicaSet>,
    /// Deployments.
    pub deployments: Shared<Deployment>,
    /// Services.
    pub services: Shared<Service>,
    /// Endpoints.
    pub endpoints: Shared<Endpoints>,
    /// Endpoint slices, by [`BY_SERVICE`].
    pub endpoint_slices: Shared<EndpointSlice>,
    /// Nodes.
    pub nodes: Shared<Node>,
    /// Leases, those of nodes (in the namespace `kube-node-lease`) and all others.
    pub leases: Shared<Lease>,
    /// Namespaces.
    pub namespaces: Shared<Namespace>,
    /// Service accounts.
    pub service_accounts: Shared<ServiceAccount>,
    /// Config maps.
    pub config_maps: Shared<ConfigMap>,
    /// Secrets.
    pub secrets: Shared<Secret>,
    /// Objects of custom kinds.
    pub custom: Vec<Box<dyn AnyShared>>,
}

impl Informers {
    /// Informers over `client`; none runs yet.
    pub(crate) fn new(client: &Client, random: &Random, custom: &[CustomKind]) -> Self {
        Informers {
            pods: Shared::new(
                Informer::<Pod>::new(client, &random.stream("pods"))
                    .index(BY_NODE, |pod: &Pod| {
                        pod.spec
                            .iter()
                            .filter_map(|spec| spec.node_name.clone())
                            .filter(|n| !n.is_empty())
                            .collect()
                    })
                    .index(BY_OWNER, owner_uid),
            ),
            replica_sets: Shared::new(
                Informer::<ReplicaSet>::new(client, &random.stream("replicasets")).index(BY_OWNER, owner_uid),
            ),
            deployments: Shared::new(Informer::new(client, &random.stream("deployments"))),
            services: Shared::new(Informer::new(client, &random.stream("services"))),
            endpoints: Shared::new(Informer::new(client, &random.stream("endpoints"))),
            endpoint_slices: Shared::new(
                Informer::<EndpointSlice>::new(client, &random.stream("endpointslices")).index(
                    BY_SERVICE,
                    |slice: &EndpointSlice| {
                        let service = slice.label("kubernetes.io/service-name");
                        service
                            .map(|service| format!("{}/{service}", slice.namespace()))
                            .into_iter()
                            .collect()
                    },
                ),
            ),
            nodes: Shared::new(Informer::new(client, &random.stream("nodes"))),
            leases: Shared::new(leases(client, random)),
            namespaces: Shared::new(Informer::new(client, &random.stream("namespaces"))),
            service_accounts: Shared::new(Informer::new(client, &random.stream("serviceaccounts"))),
            config_maps: Shared::new(Informer::new(client, &random.stream("configmaps"))),
            secrets: Shared::new(Informer::new(client, &random.stream("secrets"))),
            custom: custom.iter().map(|kind| kind.shared(client, random)).collect(),
        }
    }

    /// Starts the wanted informers in `tasks` and returns when all their caches are filled.
    pub(crate) async fn run(self, tasks: &TaskGroup) {
        let mut filled = vec![
            self.pods.start(tasks),
            self.replica_sets.start(tasks),
            self.deployments.start(tasks),
            self.services.start(tasks),
            self.endpoints.start(tasks),
            self.endpoint_slices.start(tasks),
            self.nodes.start(tasks),
            self.leases.start(tasks),
            self.namespaces.start(tasks),
            self.service_accounts.start(tasks),
            self.config_maps.start(tasks),
            self.secrets.start(tasks),
        ];
        filled.extend(self.custom.into_iter().map(|shared| shared.start_boxed(tasks)));
        for cache in filled.into_iter().flatten() {
            cache.await;
        }
    }
}

fn leases(client: &Client, random: &Random) -> Informer<Lease> {
    let informer = Informer::new(client, &random.stream("leases"));
    if mutant::active("O123") {
        return informer.namespace("kube-node-lease");
    }
    informer
}

fn owner_uid<K: Object>(object: &K) -> Vec<String> {
    vec![
        controller_of(object.metadata())
            .map(|owner| owner.uid.clone())
            .unwrap_or_default(),
    ]
}
