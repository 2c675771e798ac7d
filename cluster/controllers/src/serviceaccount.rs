//! Keeps the service account `default` in every namespace that is in use.
//!
//! *Observe*: namespaces and service accounts. *Plan*: it is missing. *Act*: create it; a create that raced is refused.

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::meta::{Object, ObjectKey};
use orrery_api::mutant;
use orrery_client::{Api, Cache, Change, Error, Next, WorkQueue, process};

use crate::informers::Informers;
use crate::{Context, namespace, retry};

/// The account of pods that name none.
const NAME: &str = "default";

/// Keeps the default service accounts.
pub(crate) struct ServiceAccountController {
    namespaces: Cache<Namespace>,
    accounts: Cache<ServiceAccount>,
    api: Api<ServiceAccount>,
    queue: WorkQueue<String>,
}

impl ServiceAccountController {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(context: &Context, informers: &mut Informers) -> Self {
        let queue = retry::queue();
        informers.namespaces.on_change({
            let queue = queue.clone();
            move |change| queue.add(change.object().name().to_owned())
        });
        informers.service_accounts.on_change({
            let queue = queue.clone();
            move |change| {
                if matches!(change, Change::Deleted(account) if account.name() == NAME) && !mutant::active("O49") {
                    queue.add(change.object().namespace().to_owned());
                }
            }
        });
        ServiceAccountController {
            namespaces: informers.namespaces.cache(),
            accounts: informers.service_accounts.cache(),
            api: Api::new(&context.client),
            queue,
        }
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        process(self.queue.clone(), |namespace| self.reconcile(namespace)).await
    }

    async fn reconcile(&self, namespace: String) -> Result<Next, Error> {
        let in_use = self
            .namespaces
            .get(&ObjectKey::new("", &namespace))
            .is_some_and(|it| namespace::is_in_use(&it));
        if !in_use || self.accounts.get(&ObjectKey::new(&namespace, NAME)).is_some() {
            return Ok(Next::Done);
        }
        let account = ServiceAccount {
            metadata: ObjectMeta {
                namespace: Some(namespace),
                name: Some(NAME.to_owned()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        match self.api.create(&account).await {
            Err(error) if !error.is_already_exists() => Err(error),
            _ => Ok(Next::Done),
        }
    }
}
