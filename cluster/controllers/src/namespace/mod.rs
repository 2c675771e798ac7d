//! Empties namespaces that are being deleted, and lets them go when nothing is left.
//!
//! *Observe*: a terminating namespace, and by live lists what is in it. *Act*: delete everything, pods before what they
//! may still need; tell in conditions what remains; when the server says that nothing does, remove the namespace's
//! finalizer. Nothing new can come in meanwhile: the server admits no creation in a terminating namespace.

mod conditions;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::clock;
use orrery_api::meta::{Object, ObjectKey};
use orrery_api::mutant;
use orrery_client::{Api, Cache, Change, DeleteParams, Error, Next, WorkQueue, process_with};

use crate::informers::Informers;
use crate::kinds::{self, Kind};
use crate::{Context, retry};
use conditions::Remains;

/// The finalizer of every namespace, which stands for its content.
const FINALIZER: &str = "kubernetes";
/// When to look again at what could not end at once.
const PAUSE: Duration = Duration::from_secs(2);

/// Empties namespaces that are being deleted.
pub(crate) struct NamespaceController {
    namespaces: Cache<Namespace>,
    api: Api<Namespace>,
    kinds: Vec<Box<dyn Kind>>,
    queue: WorkQueue<String>,
    workers: usize,
}

/// What there is of a kind in a namespace.
async fn list(kind: &dyn Kind, namespace: &str) -> Result<Vec<ObjectMeta>, Error> {
    match kind.list(namespace).await {
        // As if there was nothing of what cannot be listed.
        Err(_) if mutant::active("O113") => Ok(Vec::new()),
        listed => listed,
    }
}

/// Whether things may be made in the namespace.
pub(crate) fn is_in_use(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    !namespace.is_terminating() && phase != Some("Terminating")
}

impl NamespaceController {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(context: &Context, informers: &mut Informers) -> Self {
        let queue = retry::queue();
        informers.namespaces.on_change({
            let queue = queue.clone();
            move |change| {
                let is_new = matches!(change, Change::Added(_));
                if change.object().is_terminating() && !(is_new && mutant::active("O230")) {
                    queue.add(change.object().name().to_owned());
                }
            }
        });
        let client = context.client.clone().named("namespace-controller");
        NamespaceController {
            namespaces: informers.namespaces.cache(),
            api: Api::new(&context.client),
            kinds: kinds::in_namespaces(&client, &context.options.custom_kinds),
            queue,
            workers: context.options.workers,
        }
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        process_with(self.workers, &self.queue, |name| self.reconcile(name)).await;
    }

    async fn reconcile(&self, name: String) -> Result<Next, Error> {
        let key = ObjectKey::new("", &name);
        let cached = self
            .namespaces
            .get(&key)
            .filter(|namespace| namespace.is_terminating() && is_held(namespace));
        let Some(cached) = cached else { return Ok(Next::Done) };
        // Everything in it is about to go: first make sure that it is this namespace, and that it really ends.
        let namespace = match self.api.get(&key).await {
            Ok(live) if live.uid() == cached.uid() && live.is_terminating() && is_held(&live) => live,
            Ok(_) => return Ok(Next::Done),
            Err(error) if error.is_not_found() => return Ok(Next::Done),
            Err(error) => return Err(error),
        };
        let remains = self.empty(&name).await?;
        let namespace = self.tell(Arc::unwrap_or_clone(namespace), &remains).await?;
        if !remains.is_empty() {
            return Ok(Next::After(PAUSE));
        }
        self.release(namespace).await?;
        Ok(Next::Done)
    }

    /// Deletes what is in the namespace; answers what is left.
    async fn empty(&self, name: &str) -> Result<Remains, Error> {
        let mut remains = Remains::default();
        for kind in &self.kinds {
            let resource = kind.resource();
            let objects = list(&**kind, name).await?;
            if objects.is_empty() {
                continue;
            }
            for object in objects.iter().filter(|object| object.deletion_timestamp.is_none()) {
                let params = DeleteParams {
                    uid: object.uid.clone(),
                    ..DeleteParams::default()
                };
                match kind.delete(&ObjectKey::of(object), &params).await {
                    Ok(()) => {}
                    // Another of its name by now: the next look finds it.
                    Err(error) if error.is_conflict() => {}
                    Err(error) if error.outcome_unknown() => return Err(error),
                    Err(error) => remains.failures.push(format!("{resource}: {}", error.words())),
                }
            }
            let left = list(&**kind, name).await?;
            remains.count(&resource, &left);
            if kind.kind() == "Pod" && !left.is_empty() && !mutant::active("O189") {
                // Pods may need what else is in the namespace until they have ended.
                break;
            }
        }
        if !remains.is_empty() {
            return Ok(remains);
        }
        // What was looked at first may have been made again while the rest was deleted.
        for kind in &self.kinds {
            remains.count(&kind.resource(), &list(&**kind, name).await?);
        }
        Ok(remains)
    }

    async fn tell(&self, mut namespace: Namespace, remains: &Remains) -> Result<Namespace, Error> {
        let status = namespace.status.get_or_insert_default();
        let current = status.conditions.as_deref().unwrap_or_default();
        let Some(conditions) = conditions::plan(current, remains, &clock::now_time()) else {
            return Ok(namespace);
        };
        status.conditions = Some(conditions);
        status.phase = Some("Terminating".to_owned());
        self.api.replace_status(&namespace).await.map(Arc::unwrap_or_clone)
    }

    /// Removes the finalizer that stands for the content.
    async fn release(&self, mut namespace: Namespace) -> Result<(), Error> {
        let key = namespace.key();
        if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        match self.api.put_subresource(&key, "finalize", &namespace).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether the namespace waits for its content to go.
fn is_held(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten());
    finalizers.into_iter().any(|finalizer| finalizer == FINALIZER)
}
