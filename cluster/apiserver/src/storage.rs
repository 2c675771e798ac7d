//! Where objects lie in the store, and how they are written: encoded once, stamped with the revision of their write.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use orrery_api::status::ApiError;
use orrery_store::{Outcome, Revision, Store, StoreError, Transaction, Value};

use crate::cache::{Cached, Hints};
use crate::resource::{AnyObject, AnyResource};

/// The prefix of everything that is stored.
pub const ROOT: &str = "/registry/";

/// The prefix of a kind's objects: `/registry/deployments.apps/`.
pub fn prefix(resource: &dyn AnyResource) -> String {
    format!("{ROOT}{}/", resource.info().qualified())
}

/// The key of an object.
pub fn key(resource: &dyn AnyResource, namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        format!("{}{name}", prefix(resource))
    } else {
        format!("{}{namespace}/{name}", prefix(resource))
    }
}

/// The prefix of a kind's objects in `namespace`; of all of them when it is empty.
pub fn namespace_prefix(resource: &dyn AnyResource, namespace: &str) -> String {
    if namespace.is_empty() {
        prefix(resource)
    } else {
        format!("{}{namespace}/", prefix(resource))
    }
}

/// The object as it was written: known once its transaction has committed.
#[derive(Clone, Default)]
pub struct Written(Arc<OnceLock<Bytes>>);

impl Written {
    /// The bytes. Only after the transaction committed.
    pub fn bytes(&self) -> Result<Bytes, ApiError> {
        self.0
            .get()
            .cloned()
            .ok_or_else(|| ApiError::internal("the write was acknowledged but never made"))
    }
}

/// The value of a write: `object`, stamped with the write's revision and encoded at that moment. The cache takes the
/// index from `hints` instead of decoding what was just encoded.
pub fn stamped(resource: &'static dyn AnyResource, mut object: Box<dyn AnyObject>, hints: &Hints) -> (Value, Written) {
    let written = Written::default();
    let slot = written.clone();
    let hints = hints.clone();
    let value = Value::at_revision(move |revision: Revision| {
        object.meta_mut().resource_version = Some(revision.to_string());
        let bytes = Bytes::from(object.to_json());
        hints.put(Cached::new(resource, object.as_ref(), bytes.clone(), revision));
        let _ = slot.0.set(bytes.clone());
        bytes
    });
    (value, written)
}

/// Commits `transaction`, telling failures of the store as the API does.
pub async fn commit(store: &Store, transaction: Transaction) -> Result<Outcome, ApiError> {
    store.commit(transaction).await.map_err(|error| store_failed(&error))
}

/// A failure of the store, as the API tells it.
pub fn store_failed(error: &StoreError) -> ApiError {
    ApiError::internal(format!("the store failed: {error}"))
}
