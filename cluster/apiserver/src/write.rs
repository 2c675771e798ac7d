//! Creating and changing objects: one transaction that compares and writes, tried again when somebody was faster.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::field;
use orrery_api::mutant;
use orrery_api::shared;
use orrery_api::status::ApiError;
use orrery_store::{Compare, KeyValue, Operation, Outcome, Transaction};

use crate::admission;
use crate::allocation;
use crate::delete;
use crate::metadata;
use crate::resource::{AnyObject, AnyResource};
use crate::server::ApiServer;
use crate::storage;

/// How often a write whose base changed meanwhile is tried again before the client hears of it.
const TRIES: usize = 16;
/// How many names are generated for an object before its creator hears that they are taken (as in Kubernetes).
const NAME_TRIES: usize = 8;

/// What part of an object a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything but status.
    Main,
    /// Only status.
    Status,
    /// A namespace's finalizers in its spec.
    Finalize,
}

/// An object as read for a change.
pub struct Current {
    /// Where and at which revision it lies.
    pub kv: KeyValue,
    /// The object.
    pub object: Arc<dyn AnyObject>,
}

impl ApiServer {
    /// Reads an object for a change; 404 when it is not there.
    pub(crate) fn current(&self, resource: &dyn AnyResource, namespace: &str, name: &str) -> Result<Current, ApiError> {
        let kv = self
            .store
            .get(&storage::key(resource, namespace, name))
            .ok_or_else(|| ApiError::not_found(&resource.info().qualified(), name))?;
        let object = resource.read(&kv.value).map_err(ApiError::internal)?;
        Ok(Current { kv, object })
    }

    /// Creates `object`; returns it as written, or as it would be in a dry run. A generated name that is taken is
    /// generated anew.
    pub(crate) async fn create(
        &self,
        resource: &'static dyn AnyResource,
        namespace: &str,
        object: Box<dyn AnyObject>,
        dry_run: bool,
    ) -> Result<Bytes, ApiError> {
        let meta = object.meta();
        let generates = meta.name.as_deref().unwrap_or_default().is_empty()
            && meta.generate_name.as_deref().is_some_and(|prefix| !prefix.is_empty());
        for _ in 1..if generates { NAME_TRIES } else { 1 } {
            let outcome = self
                .create_once(resource, namespace, object.boxed_clone(), dry_run)
                .await;
            match outcome {
                Err(error) if error.reason() == "AlreadyExists" => {}
                outcome => return outcome,
            }
        }
        self.create_once(resource, namespace, object, dry_run).await
    }

    async fn create_once(
        &self,
        resource: &'static dyn AnyResource,
        namespace: &str,
        mut object: Box<dyn AnyObject>,
        dry_run: bool,
    ) -> Result<Bytes, ApiError> {
        let info = resource.info();
        place(resource, object.as_mut(), namespace)?;
        if object
            .meta()
            .resource_version
            .as_deref()
            .is_some_and(|version| !version.is_empty())
        {
            return Err(ApiError::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        metadata::stamp_new(object.meta_mut(), resource.has_generation(), &self.random);
        let look = |object: &dyn AnyObject| {
            let name = object.meta().name.as_deref().unwrap_or_default();
            match info.namespaced {
                true => self.namespace_is_open(resource, namespace, name).map(Some),
                false => Ok(None),
            }
        };
        // Before the object is judged, as in Kubernetes: in a namespace that is not there no account is, either.
        let mut namespace_stays = look(object.as_ref())?;
        complete(resource, object.as_mut(), |account| {
            let key = format!("{}serviceaccounts/{namespace}/{account}", storage::ROOT);
            self.store.get(&key).is_some()
        })?;
        let name = object.meta().name.clone().unwrap_or_default();
        let key = storage::key(resource, namespace, &name);
        for _ in 0..TRIES {
            let mut candidate = object.boxed_clone();
            let errors = allocation::allocate(
                candidate.as_mut(),
                &BTreeSet::new(),
                &self.options.ranges,
                &self.store,
                &self.random,
            );
            refuse_invalid(resource, &name, errors)?;
            let mut transaction = Transaction::new().when(Compare::Absent {
                key: key.as_str().into(),
            });
            if let Some(stays) = namespace_stays {
                // Nothing may come to live in a namespace that goes: its state is part of the comparison.
                transaction = transaction.when(stays);
            }
            if dry_run {
                if self.store.get(&key).is_some() {
                    return Err(self.taken(resource, namespace, &name));
                }
                return Ok(Bytes::from(candidate.to_json()));
            }
            for claim in allocation::claims(candidate.as_ref()) {
                transaction = transaction
                    .when(Compare::Absent {
                        key: claim.as_str().into(),
                    })
                    .put(claim, Bytes::from(key.clone()));
            }
            let lease = self.event_lease(resource).await?;
            let (value, written) = storage::stamped(resource, candidate, self.cache.hints());
            transaction = transaction.then(Operation::Put {
                key: key.as_str().into(),
                value,
                lease,
            });
            match storage::commit(&self.store, transaction).await? {
                Outcome::Committed { .. } => return written.bytes(),
                Outcome::Conflict { key: at, .. } if *at == *key => {
                    return Err(self.taken(resource, namespace, &name));
                }
                // The namespace changed, or an address was taken meanwhile: look again.
                Outcome::Conflict { .. } => namespace_stays = look(object.as_ref())?,
            }
        }
        Err(ApiError::conflict(
            &info.qualified(),
            &name,
            "too many writers; please try again",
        ))
    }

    /// 409 for the name of an object that is there; it says so if the object is about to go.
    fn taken(&self, resource: &dyn AnyResource, namespace: &str, name: &str) -> ApiError {
        let mut error = ApiError::already_exists(&resource.info().qualified(), name);
        let current = self.current(resource, namespace, name);
        if current.is_ok_and(|current| current.object.meta().deletion_timestamp.is_some()) {
            error.0.message = Some(format!("object is being deleted: {}", error.message()));
        }
        error
    }

    /// The comparison under which `namespace` still takes new objects; 404 or 403 when it does not.
    pub(crate) fn namespace_is_open(
        &self,
        resource: &dyn AnyResource,
        namespace: &str,
        name: &str,
    ) -> Result<Compare, ApiError> {
        let key = format!("{}namespaces/{namespace}", storage::ROOT);
        let Some(kv) = self.store.get(&key) else {
            return Err(ApiError::not_found("namespaces", namespace));
        };
        let is_going = shared::decode::<Namespace>(&kv.value)
            .map_err(ApiError::internal)?
            .metadata
            .deletion_timestamp
            .is_some();
        if is_going {
            let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
            let mut error = ApiError::forbidden(&resource.info().qualified(), name, &why);
            let details = error.0.details.get_or_insert_default();
            details.causes = Some(vec![k8s_openapi::apimachinery::pkg::apis::meta::v1::StatusCause {
                reason: Some("NamespaceTerminating".to_owned()),
                message: Some(format!("namespace {namespace} is being terminated")),
                field: Some("metadata.namespace".to_owned()),
            }]);
            return Err(error);
        }
        if mutant::active("O31") {
            return Ok(Compare::Exists { key: kv.key.clone() });
        }
        Ok(Compare::ModRevision {
            key: kv.key.clone(),
            is: kv.mod_revision,
        })
    }

    /// Changes an object: `change` makes the new state of the current one, and is asked again when somebody was faster,
    /// unless the client's state is of one revision and no other (`once`).
    #[allow(clippy::too_many_arguments, reason = "each is a part of what the request says")]
    pub(crate) async fn update(
        &self,
        resource: &'static dyn AnyResource,
        namespace: &str,
        name: &str,
        part: Part,
        once: bool,
        dry_run: bool,
        mut change: impl FnMut(&Current) -> Result<Box<dyn AnyObject>, ApiError>,
    ) -> Result<Bytes, ApiError> {
        let info = resource.info();
        for _ in 0..TRIES {
            let current = self.current(resource, namespace, name)?;
            let old = current.object.as_ref();
            let mut new = change(&current)?;
            is_at(new.meta(), resource.info().namespaced, namespace, name)?;
            place(resource, new.as_mut(), namespace)?;
            let base = base_version(new.meta());
            if base.is_none() && !resource.allows_unconditional_update() {
                let fault = field::Error::invalid("metadata.resourceVersion", 0, "must be specified for an update");
                return Err(ApiError::invalid(&info.qualified(), name, &[fault]));
            }
            let is_stale = base.is_some_and(|base| Some(base) != old.meta().resource_version);
            if is_stale && (once || !mutant::active("O85")) {
                return Err(ApiError::stale(&info.qualified(), name));
            }
            if let (Some(wanted), Some(uid)) = (new.meta().uid.as_deref(), old.meta().uid.as_deref())
                && !wanted.is_empty()
                && wanted != uid
                && !mutant::active("O44")
            {
                let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}");
                return Err(ApiError::conflict(&info.qualified(), name, &why));
            }
            self.settle(resource, part, new.as_mut(), old, name)?;
            if new.equals(old) {
                // A write that changes nothing is none: no revision, no event.
                return Ok(current.kv.value);
            }
            let json = new.to_json();
            if json == *current.kv.value {
                return Ok(current.kv.value);
            }
            let goes = delete::is_finished(resource, new.as_ref());
            if dry_run {
                return Ok(Bytes::from(json));
            }
            let key = current.kv.key.clone();
            let is = current.kv.mod_revision;
            let mut transaction = Transaction::new().when(Compare::ModRevision { key: key.clone(), is });
            let before = allocation::claims(old);
            let after = if goes {
                BTreeSet::new()
            } else {
                allocation::claims(new.as_ref())
            };
            for claim in after.difference(&before) {
                let claim_key: orrery_store::Key = claim.as_str().into();
                transaction = transaction
                    .when(Compare::Absent { key: claim_key.clone() })
                    .put(claim_key, Bytes::copy_from_slice(key.as_bytes()));
            }
            for claim in before.difference(&after) {
                transaction = transaction.then(Operation::Delete {
                    key: claim.as_str().into(),
                    last: None,
                });
            }
            let (value, written) = storage::restamped(resource, new, json, self.cache.hints());
            transaction = transaction.then(if goes {
                Operation::Delete {
                    key: key.clone(),
                    last: Some(value),
                }
            } else {
                Operation::Put {
                    key: key.clone(),
                    value,
                    // An event that is seen again lives on.
                    lease: self.event_lease(resource).await?.or(current.kv.lease),
                }
            });
            match storage::commit(&self.store, transaction).await? {
                Outcome::Committed { .. } => return written.bytes(),
                Outcome::Conflict { .. } if once => return Err(ApiError::stale(&info.qualified(), name)),
                Outcome::Conflict { .. } => {}
            }
        }
        Err(ApiError::stale(&info.qualified(), name))
    }

    /// Makes the new state what may be written: server's fields put back, defaults set, faults found.
    fn settle(
        &self,
        resource: &'static dyn AnyResource,
        part: Part,
        new: &mut dyn AnyObject,
        old: &dyn AnyObject,
        name: &str,
    ) -> Result<(), ApiError> {
        new.meta_mut().resource_version = old.meta().resource_version.clone();
        metadata::keep_immutable(new.meta_mut(), old.meta());
        resource.set_defaults(new);
        let errors = match part {
            Part::Main => {
                resource.prepare_update(new, old);
                let held = allocation::claims(old);
                let mut errors = resource.validate_update(new, old);
                errors.extend(allocation::allocate(
                    new,
                    &held,
                    &self.options.ranges,
                    &self.store,
                    &self.random,
                ));
                errors
            }
            Part::Status => {
                // Which of the metadata stay is the kind's rule, as in Kubernetes: most keep none from a status writer.
                resource.prepare_status_update(new, old);
                resource.validate_status_update(new, old)
            }
            Part::Finalize => resource.validate(new),
        };
        if part == Part::Main && resource.has_generation() && resource.spec_changed(new, old) {
            new.meta_mut().generation = Some(old.meta().generation.unwrap_or(0) + 1);
        }
        let mut all = metadata::validate(new.meta(), resource);
        all.extend(metadata::validate_update(new.meta(), old.meta()));
        all.extend(errors);
        refuse_invalid(resource, name, all)
    }
}

/// The revision that a write says it is based on; `0` says nothing, as in Kubernetes.
pub fn base_version(meta: &ObjectMeta) -> Option<String> {
    meta.resource_version
        .clone()
        .filter(|version| !matches!(version.as_str(), "" | "0"))
}

/// 400 unless an object says that it is what its path names.
pub fn is_at(meta: &ObjectMeta, namespaced: bool, namespace: &str, name: &str) -> Result<(), ApiError> {
    let refuse = |why: String| Err(ApiError::bad_request(why));
    let own = meta.name.as_deref().unwrap_or_default();
    if own.is_empty() {
        return refuse(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        ));
    }
    if own != name {
        return refuse(format!(
            "the name of the object ({own}) does not match the name on the URL ({name})"
        ));
    }
    let own = meta.namespace.as_deref().unwrap_or_default();
    if namespaced && !own.is_empty() && own != namespace {
        return refuse(format!(
            "the namespace of the object ({own}) does not match the namespace on the request ({namespace})"
        ));
    }
    Ok(())
}

/// Puts an object where its path says; 400 when it says otherwise itself.
pub fn place(resource: &dyn AnyResource, object: &mut dyn AnyObject, namespace: &str) -> Result<(), ApiError> {
    let meta = object.meta_mut();
    let own = meta.namespace.as_deref().unwrap_or_default();
    if !resource.info().namespaced {
        meta.namespace = None;
        return Ok(());
    }
    if !own.is_empty() && own != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    meta.namespace = Some(namespace.to_owned());
    Ok(())
}

/// Completes a new object by the rules of its kind and of the cluster, and judges it by them: 403 or 422. `has_account`
/// tells whether a service account of the object's namespace is there.
pub fn complete(
    resource: &dyn AnyResource,
    object: &mut dyn AnyObject,
    has_account: impl FnOnce(&str) -> bool,
) -> Result<(), ApiError> {
    resource.set_defaults(object);
    resource.prepare_create(object);
    admission::on_create(resource, object, has_account)?;
    let mut errors = metadata::validate(object.meta(), resource);
    errors.extend(resource.validate(object));
    refuse_invalid(resource, object.meta().name.as_deref().unwrap_or_default(), errors)
}

/// 422 if there are faults.
pub fn refuse_invalid(resource: &dyn AnyResource, name: &str, errors: Vec<field::Error>) -> Result<(), ApiError> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(&resource.info().qualified_kind(), name, &errors))
    }
}
