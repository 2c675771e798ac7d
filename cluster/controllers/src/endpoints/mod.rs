//! Keeps the `Endpoints` object of each service with a selector: the older form of endpoint slices, which `kubectl get
//! endpoints` and many programs still read.
//!
//! Its name is its service's, so a create that raced is refused and an update rests on the revision it saw; the object
//! goes when the server confirms that the service is gone. Objects of services without a selector are their users'.

mod subsets;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::meta::{Object, ObjectKey};
use orrery_api::mutant;
use orrery_client::{Api, Cache, Change, DeleteParams, Error, Next, WorkQueue, process_with};

use crate::informers::Informers;
use crate::{Context, backends, retry};
use subsets::Content;

/// On an `Endpoints` object that old components use as their election's lock; never touched.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// Keeps the endpoints of services.
pub(crate) struct EndpointsController {
    services: Cache<Service>,
    pods: Cache<Pod>,
    endpoints: Cache<Endpoints>,
    api: Api<Endpoints>,
    service_api: Api<Service>,
    queue: WorkQueue<ObjectKey>,
    workers: usize,
}

impl EndpointsController {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(context: &Context, informers: &mut Informers) -> Self {
        let queue = retry::queue();
        let services = informers.services.cache();
        informers.services.on_change({
            let queue = queue.clone();
            move |change| queue.add(change.key())
        });
        informers.pods.on_change({
            let (queue, services) = (queue.clone(), services.clone());
            move |change| backends::enqueue_services_of(&queue, &services, change)
        });
        informers.endpoints.on_change({
            let queue = queue.clone();
            move |change| {
                let ours = change.object().label(subsets::MANAGED_BY) == Some(subsets::MANAGER);
                if (ours || matches!(change, Change::Deleted(_))) && !mutant::active("O147") {
                    queue.add(change.key());
                }
            }
        });
        EndpointsController {
            services,
            pods: informers.pods.cache(),
            endpoints: informers.endpoints.cache(),
            api: Api::new(&context.client),
            service_api: Api::new(&context.client),
            queue,
            workers: context.options.workers,
        }
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        process_with(self.workers, &self.queue, |key| self.reconcile(key)).await;
    }

    async fn reconcile(&self, key: ObjectKey) -> Result<Next, Error> {
        let current = self.endpoints.get(&key);
        let Some(service) = self.services.get(&key) else {
            if let Some(current) = current
                && !mutant::active("O141")
            {
                self.remove(&key, &current).await?;
            }
            return Ok(Next::Done);
        };
        if service.is_terminating() || (!backends::is_selecting(&service) && !mutant::active("O148")) {
            return Ok(Next::Done);
        }
        let pods = self.pods.in_namespace(&key.namespace);
        let pods: Vec<&Pod> = pods
            .iter()
            .map(|pod| &**pod)
            .filter(|pod| backends::selects(&service, pod))
            .collect();
        let changed = backends::last_change(&service, pods.iter().copied()).map(backends::stamp);
        let content = subsets::content(&service, pods);
        let content = match &current {
            // The event of this write brings the service back here.
            Some(current) => subsets::without_moved(content, current),
            None => content,
        };
        if let Some(endpoints) = plan(&service, content, changed, current.as_deref()) {
            match current {
                Some(_) => self.api.replace(&endpoints).await?,
                None => self.api.create(&endpoints).await?,
            };
        }
        Ok(Next::Done)
    }

    /// Removes the object of a service that is gone; the cache alone does not prove that it is.
    async fn remove(&self, key: &ObjectKey, endpoints: &Arc<Endpoints>) -> Result<(), Error> {
        if endpoints.annotation(LEADER).is_some() || endpoints.is_terminating() {
            return Ok(());
        }
        match self.service_api.get(key).await {
            // The service is back: its event is under way.
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        match self.api.delete(key, &DeleteParams::exactly(&**endpoints)).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

/// The object to write for `service`, on the base of `current`; `None` when it is right as it is.
fn plan(
    service: &Service,
    content: Content,
    changed: Option<String>,
    current: Option<&Endpoints>,
) -> Option<Endpoints> {
    let labels = labels(service);
    if let Some(current) = current {
        let shown = current.subsets.as_deref().unwrap_or_default();
        let truncated = current.annotation(subsets::OVER_CAPACITY).is_some();
        if current.metadata.labels.as_ref() == Some(&labels)
            && truncated == content.truncated
            && (shown == content.subsets || (addresses(shown).eq(addresses(&content.subsets)) && mutant::active("O77")))
        {
            return None;
        }
    }
    let mut metadata = match current {
        Some(current) => current.metadata.clone(),
        None => ObjectMeta {
            namespace: service.metadata.namespace.clone(),
            name: service.metadata.name.clone(),
            ..ObjectMeta::default()
        },
    };
    metadata.labels = Some(labels);
    let mut annotations = metadata.annotations.take().unwrap_or_default();
    let mut set = |name: &str, value: Option<String>| match value {
        Some(value) => drop(annotations.insert(name.to_owned(), value)),
        None => drop(annotations.remove(name)),
    };
    set(backends::LAST_CHANGE, changed);
    set(
        subsets::OVER_CAPACITY,
        content.truncated.then(|| "truncated".to_owned()),
    );
    metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    Some(Endpoints {
        metadata,
        subsets: (!content.subsets.is_empty()).then_some(content.subsets),
    })
}

fn addresses(subsets: &[EndpointSubset]) -> impl Iterator<Item = Option<&Vec<EndpointAddress>>> {
    subsets.iter().map(|subset| subset.addresses.as_ref())
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(backends::HEADLESS);
    if backends::is_headless(service) {
        labels.insert(backends::HEADLESS.to_owned(), String::new());
    }
    labels.insert(subsets::MANAGED_BY.to_owned(), subsets::MANAGER.to_owned());
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service() -> Service {
        let service = json!({
            "metadata": {"namespace": "a", "name": "s", "labels": {"team": "x"}},
            "spec": {"selector": {"app": "x"}, "clusterIP": "None"}
        });
        serde_json::from_value(service).expect("a service")
    }

    #[test]
    fn a_plan_is_done_once() {
        let first = plan(&service(), Content::default(), None, None).expect("a new object");
        assert_eq!(first.label(backends::HEADLESS), Some(""));
        assert_eq!(first.label("team"), Some("x"));
        assert_eq!(
            plan(&service(), Content::default(), Some("later".into()), Some(&first)),
            None
        );
    }

    #[test]
    fn a_label_of_the_service_is_followed() {
        let first = plan(&service(), Content::default(), None, None).expect("a new object");
        let mut service = service();
        service.metadata.labels = None;
        let second = plan(&service, Content::default(), Some("t".into()), Some(&first)).expect("a change");
        assert_eq!(second.label("team"), None);
        assert_eq!(second.annotation(backends::LAST_CHANGE), Some("t"));
    }
}
