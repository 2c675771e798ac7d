//! Where objects lie in the store, and how they are written: encoded once, stamped with the revision of their write.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use memchr::memmem;
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
    // Every request names a key: its parts are put together without the machinery of formatting.
    let info = resource.info();
    let place = if namespace.is_empty() { "" } else { "/" };
    let dot = if info.group.is_empty() { "" } else { "." };
    [ROOT, info.plural, dot, info.group, "/", namespace, place, name].concat()
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
pub fn stamped(resource: &'static dyn AnyResource, object: Box<dyn AnyObject>, hints: &Hints) -> (Value, Written) {
    written_as(resource, object, None, hints)
}

/// As [`stamped`], of an object whose encoding with the revision it is based on, `json`, is known already: then nothing
/// but the revision is put into it.
pub fn restamped(
    resource: &'static dyn AnyResource,
    object: Box<dyn AnyObject>,
    json: Vec<u8>,
    hints: &Hints,
) -> (Value, Written) {
    let known = Encoded::of(object.as_ref(), json);
    written_as(resource, object, known, hints)
}

fn written_as(
    resource: &'static dyn AnyResource,
    mut object: Box<dyn AnyObject>,
    known: Option<Encoded>,
    hints: &Hints,
) -> (Value, Written) {
    let written = Written::default();
    let slot = written.clone();
    let hints = hints.clone();
    let value = Value::at_revision(move |revision: Revision| {
        object.meta_mut().resource_version = Some(revision.to_string());
        let bytes = known.map_or_else(|| Bytes::from(object.to_json()), |known| known.at(revision));
        hints.put(Cached::new(resource, object.as_ref(), bytes.clone(), revision));
        resource.know(object, &bytes);
        let _ = slot.0.set(bytes.clone());
        bytes
    });
    (value, written)
}

/// An object's encoding, and where in it the revision stands.
struct Encoded {
    json: Vec<u8>,
    revision: Range<usize>,
}

impl Encoded {
    /// None if the place cannot be told: an annotation may have the same name and value.
    fn of(object: &dyn AnyObject, json: Vec<u8>) -> Option<Self> {
        let own = object.meta().resource_version.as_deref()?;
        // Within a string its quotes would be escaped.
        let text = format!("\"resourceVersion\":\"{own}\"");
        let mut places = memmem::find_iter(&json, &text);
        let (Some(place), None) = (places.next(), places.next()) else {
            return None;
        };
        let end = place + text.len() - 1;
        let revision = end - own.len()..end;
        Some(Encoded { json, revision })
    }

    fn at(&self, revision: Revision) -> Bytes {
        let revision = revision.to_string();
        let (before, after) = (&self.json[..self.revision.start], &self.json[self.revision.end..]);
        [before, revision.as_bytes(), after].concat().into()
    }
}

/// Commits `transaction`, telling failures of the store as the API does.
pub async fn commit(store: &Store, transaction: Transaction) -> Result<Outcome, ApiError> {
    store.commit(transaction).await.map_err(|error| store_failed(&error))
}

/// A failure of the store, as the API tells it.
pub fn store_failed(error: &StoreError) -> ApiError {
    ApiError::internal(format!("the store failed: {error}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use proptest::prelude::*;

    use super::*;

    fn map(texts: &[String]) -> BTreeMap<String, String> {
        texts
            .iter()
            .zip(texts.iter().rev())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    proptest! {
        #[test]
        fn putting_the_revision_into_an_encoding_is_encoding_anew(
            texts in proptest::collection::vec(
                prop_oneof![Just("resourceVersion".to_owned()), Just("7".to_owned()), Just("\"resourceVersion\":\"7\"".to_owned()), ".{0,8}"],
                0..6,
            ),
            own in proptest::option::of(Just("7".to_owned())),
            revision in 1..1000_u64,
        ) {
            let mut object = ConfigMap {
                metadata: ObjectMeta { annotations: Some(map(&texts)), resource_version: own, ..ObjectMeta::default() },
                data: Some(map(&texts)),
                ..ConfigMap::default()
            };
            let known = Encoded::of(&object, object.to_json());
            let ambiguous = map(&texts).get("resourceVersion").is_some_and(|value| value == "7");
            prop_assert_eq!(known.is_some(), object.metadata.resource_version.is_some() && !ambiguous);
            object.metadata.resource_version = Some(revision.to_string());
            if let Some(known) = known {
                prop_assert_eq!(known.at(revision), object.to_json());
            }
        }
    }
}
