//! Keeps each service's endpoint slices: which addresses answer for it, on which ports, and in what condition.
//!
//! Slices have random names, so a second create is a second slice. Therefore nothing is planned on a cache that lags
//! the controller's own last write, and nothing is created but after a look at the server's newest state: a write whose
//! answer was lost, a restart and a late watch all end there. Slices of a deleted service are the collector's to
//! remove; services without a selector, and slices that others keep, are not touched.

mod plan;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use orrery_api::meta::{Object, ObjectKey};
use orrery_api::mutant;
use orrery_api::random::Random;
use orrery_client::{Api, Cache, Change, DeleteParams, Error, ListParams, Next, WorkQueue, process_with};

use crate::backends;
use crate::informers::{BY_NODE, BY_SERVICE, Informers};
use crate::{Context, retry};
use plan::Plan;

/// So many tries wait for a cache that lags; then the server is asked.
const PATIENCE: u32 = 6;

/// Why a service is tried again.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Api(#[from] Error),
    #[error("the cache of endpoint slices is older than this controller's last write")]
    Stale,
}

/// What this process last did to a service's slices.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct LastWrite {
    /// The highest revision that a write of ours was given.
    revision: u64,
    /// A write may have happened that has no known revision.
    unknown: bool,
}

/// Keeps each service's endpoint slices.
pub(crate) struct EndpointSliceController {
    services: Cache<Service>,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    slices: Cache<EndpointSlice>,
    api: Api<EndpointSlice>,
    queue: WorkQueue<ObjectKey>,
    random: Random,
    writes: Mutex<BTreeMap<ObjectKey, LastWrite>>,
    workers: usize,
}

impl EndpointSliceController {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(context: &Context, informers: &mut Informers) -> Self {
        let queue = retry::queue();
        let services = informers.services.cache();
        let pods = informers.pods.cache();
        informers.services.on_change({
            let queue = queue.clone();
            move |change| queue.add(change.key())
        });
        informers.pods.on_change({
            let (queue, services) = (queue.clone(), services.clone());
            move |change| backends::enqueue_services_of(&queue, &services, change)
        });
        informers.nodes.on_change({
            let (queue, services, pods) = (queue.clone(), services.clone(), pods.clone());
            move |change| {
                if let Change::Updated { old, new } = change
                    && (plan::zone(old) == plan::zone(new) || mutant::active("O143"))
                {
                    return;
                }
                for pod in pods.by_index(BY_NODE, change.object().name()) {
                    backends::enqueue_services_of(&queue, &services, &Change::Added(pod));
                }
            }
        });
        informers.endpoint_slices.on_change({
            let queue = queue.clone();
            move |change| {
                let service = service_of(change.object());
                // Users may relabel a slice: then it is missing where it was.
                if let Change::Updated { old, .. } = change
                    && let Some(former) = service_of(old).filter(|former| Some(former) != service.as_ref())
                {
                    queue.add(former);
                }
                if let Some(service) = service {
                    queue.add(service);
                }
            }
        });
        EndpointSliceController {
            services,
            pods,
            nodes: informers.nodes.cache(),
            slices: informers.endpoint_slices.cache(),
            api: Api::new(&context.client),
            queue,
            random: context.random.stream("endpointslice-names"),
            writes: Mutex::default(),
            workers: context.options.workers,
        }
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        process_with(self.workers, &self.queue, |key| self.reconcile(key)).await;
    }

    async fn reconcile(&self, key: ObjectKey) -> Result<Next, Failure> {
        let Some(service) = self.services.get(&key) else {
            self.writes.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            return Ok(Next::Done);
        };
        if service.is_terminating() || !backends::is_selecting(&service) || !speaks_ipv4(&service) {
            return Ok(Next::Done);
        }
        let last = self.last_write(&key);
        let lags = self.slices.revision() < last.revision && !mutant::active("B59");
        if lags && !last.unknown && self.queue.failures(&key) < PATIENCE {
            return Err(Failure::Stale);
        }
        let asked = lags || last.unknown;
        let slices = if asked {
            self.list(&key).await?
        } else {
            self.cached(&key)
        };
        let mut plan = self.plan(&service, &slices);
        if !plan.create.is_empty() && !asked && !mutant::is_on("B59") {
            plan = self.plan(&service, &self.list(&key).await?);
        }
        self.act(&key, plan).await?;
        Ok(Next::Done)
    }

    fn plan(&self, service: &Service, slices: &[Arc<EndpointSlice>]) -> Plan {
        let pods = self.pods.in_namespace(service.namespace());
        let pods: Vec<&Pod> = pods
            .iter()
            .map(|pod| &**pod)
            .filter(|pod| backends::selects(service, pod))
            .collect();
        let node_of = |node: &str| self.nodes.get(&ObjectKey::new("", node));
        let desired = plan::desired(service, pods.iter().copied(), node_of);
        let changed = backends::last_change(service, pods).map(backends::stamp);
        plan::plan(service, desired, slices, changed, plan::CAPACITY)
    }

    async fn act(&self, key: &ObjectKey, plan: Plan) -> Result<(), Error> {
        // New slices first: an endpoint that moves is rather told of twice for a moment than not at all.
        for mut slice in plan.create {
            slice.metadata.name = Some(name_of_slice(&key.name, &self.random.suffix(5)));
            self.note(key, self.api.create(&slice).await.map(Some))?;
        }
        for slice in plan.update {
            self.note(key, self.api.replace(&slice).await.map(Some))?;
        }
        for slice in plan.delete {
            match self.api.delete(&slice.key(), &DeleteParams::exactly(&*slice)).await {
                Err(error) if error.is_not_found() => {}
                other => self.note(key, other.map(|()| None))?,
            }
        }
        Ok(())
    }

    /// Remembers how a write ended.
    fn note(&self, key: &ObjectKey, result: Result<Option<Arc<EndpointSlice>>, Error>) -> Result<(), Error> {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let last = writes.entry(key.clone()).or_default();
        match &result {
            Ok(slice) => last.revision = last.revision.max(slice.as_ref().map_or(0, |slice| slice.revision())),
            Err(error) => last.unknown |= error.outcome_unknown(),
        }
        result.map(drop)
    }

    fn last_write(&self, key: &ObjectKey) -> LastWrite {
        let writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.get(key).copied().unwrap_or_default()
    }

    fn cached(&self, key: &ObjectKey) -> Vec<Arc<EndpointSlice>> {
        let mut slices = self.slices.by_index(BY_SERVICE, &key.to_string());
        slices.retain(|slice| slice.label(plan::MANAGED_BY) == Some(plan::MANAGER) || mutant::active("O146"));
        slices
    }

    /// The service's slices as the server has them now. The cache has to reach this state before it is believed again.
    async fn list(&self, key: &ObjectKey) -> Result<Vec<Arc<EndpointSlice>>, Error> {
        let labels = format!(
            "{}={},{}={}",
            plan::SERVICE_NAME,
            key.name,
            plan::MANAGED_BY,
            plan::MANAGER
        );
        let params = ListParams {
            namespace: Some(key.namespace.clone()),
            labels: Some(labels),
            ..ListParams::default()
        };
        let list = self.api.list(&params).await?;
        let revision = list.items.iter().map(|slice| slice.revision()).max().unwrap_or(0);
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let last = writes.entry(key.clone()).or_default();
        *last = LastWrite {
            revision: last.revision.max(revision),
            unknown: false,
        };
        Ok(list.items)
    }
}

/// The service for which this controller keeps `slice`, if it does.
fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.label(plan::SERVICE_NAME)?;
    (slice.label(plan::MANAGED_BY) == Some(plan::MANAGER)).then(|| ObjectKey::new(slice.namespace(), name))
}

/// The name of a slice: that of its service, cut so that the suffix fits into a name's 253 letters.
fn name_of_slice(service: &str, suffix: &str) -> String {
    let prefix: String = service.chars().take(247).collect();
    format!("{prefix}-{suffix}")
}

fn speaks_ipv4(service: &Service) -> bool {
    let families = service
        .spec
        .as_ref()
        .and_then(|spec| spec.ip_families.as_deref())
        .unwrap_or_default();
    families.is_empty() || families.iter().any(|family| family == "IPv4")
}
