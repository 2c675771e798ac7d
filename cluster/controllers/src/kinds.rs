//! Kinds as values: what can be done to an object whose kind is only known when the program runs.
//!
//! The collector and the namespace controller treat all kinds alike; of an object they need its metadata.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Namespace, Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, NamespaceResourceScope};
use orrery_api::meta::ObjectKey;
use orrery_api::random::Random;
use orrery_client::{Api, Client, DeleteParams, Error, Informer, ListParams, Patch, Resource};
use serde::{Deserialize, Serialize};

use crate::informers::{AnyShared, Shared};

/// One kind of object.
pub(crate) trait Kind: Send + Sync {
    /// The group; empty for the core's.
    fn group(&self) -> &'static str;
    /// The kind, for example `Pod`.
    fn kind(&self) -> &'static str;
    /// The resource and group, for example `replicasets.apps`.
    fn resource(&self) -> String;
    /// Whether its objects live in namespaces.
    fn is_namespaced(&self) -> bool;
    /// The metadata of an object as the server has it now; `None` when the server says that there is no such object.
    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<ObjectMeta>, Error>>;
    /// The metadata of all objects, of one namespace if it is not empty, as the server has them now. Of a kind
    /// that is not served there are none.
    fn list<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<Vec<ObjectMeta>, Error>>;
    /// Deletes an object; one that is gone is a success.
    fn delete<'a>(&'a self, key: &'a ObjectKey, params: &'a DeleteParams) -> BoxFuture<'a, Result<(), Error>>;
    /// Changes an object, and answers its metadata; `None` when it is gone.
    fn patch<'a>(&'a self, key: &'a ObjectKey, patch: &'a Patch) -> BoxFuture<'a, Result<Option<ObjectMeta>, Error>>;
}

struct Typed<K> {
    api: Api<K>,
    namespaced: bool,
}

impl<K: Resource> Kind for Typed<K> {
    fn group(&self) -> &'static str {
        K::GROUP
    }

    fn kind(&self) -> &'static str {
        K::KIND
    }

    fn resource(&self) -> String {
        if K::GROUP.is_empty() {
            K::URL_PATH_SEGMENT.to_owned()
        } else {
            format!("{}.{}", K::URL_PATH_SEGMENT, K::GROUP)
        }
    }

    fn is_namespaced(&self) -> bool {
        self.namespaced
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<ObjectMeta>, Error>> {
        Box::pin(async move { found(key, self.api.get(key).await) })
    }

    fn list<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<Vec<ObjectMeta>, Error>> {
        Box::pin(async move {
            let namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
            let list = match self
                .api
                .list(&ListParams {
                    namespace,
                    ..ListParams::default()
                })
                .await
            {
                Err(error) if error.is_not_found() => return Ok(Vec::new()),
                other => other?,
            };
            Ok(list.items.into_iter().map(|object| object.metadata().clone()).collect())
        })
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey, params: &'a DeleteParams) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            match self.api.delete(key, params).await {
                Err(error) if is_absent(key, &error) => Ok(()),
                other => other,
            }
        })
    }

    fn patch<'a>(&'a self, key: &'a ObjectKey, patch: &'a Patch) -> BoxFuture<'a, Result<Option<ObjectMeta>, Error>> {
        Box::pin(async move { found(key, self.api.patch(key, patch).await) })
    }
}

fn found<K: Resource>(key: &ObjectKey, result: Result<Arc<K>, Error>) -> Result<Option<ObjectMeta>, Error> {
    match result {
        Ok(object) => Ok(Some(object.metadata().clone())),
        Err(error) if is_absent(key, &error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the server says that this very object is not there. A 404 that does not name it may mean that the kind is
/// not served, which says nothing of the object.
fn is_absent(key: &ObjectKey, error: &Error) -> bool {
    let Error::Api(status) = error else { return false };
    let name = status.details().and_then(|details| details.name.as_deref());
    error.is_not_found() && name == Some(key.name.as_str())
}

/// The kind of `K`, whose objects live in namespaces.
pub(crate) fn namespaced<K>(client: &Client) -> Box<dyn Kind>
where
    K: Resource + k8s_openapi::Resource<Scope = NamespaceResourceScope>,
{
    Box::new(Typed::<K> {
        api: Api::new(client),
        namespaced: true,
    })
}

fn cluster_wide<K>(client: &Client) -> Box<dyn Kind>
where
    K: Resource + k8s_openapi::Resource<Scope = k8s_openapi::ClusterResourceScope>,
{
    Box::new(Typed::<K> {
        api: Api::new(client),
        namespaced: false,
    })
}

/// A custom kind, whose objects own, are owned, and live in namespaces as all others do.
#[derive(Clone)]
pub struct CustomKind {
    kind: fn(&Client) -> Box<dyn Kind>,
    shared: fn(&Client, &Random) -> Box<dyn AnyShared>,
    name: &'static str,
}

impl fmt::Debug for CustomKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CustomKind").field(&self.name).finish()
    }
}

impl CustomKind {
    /// The kind of `K`. Of its objects nothing is read but the metadata.
    pub fn of<K>() -> Self
    where
        K: k8s_openapi::Resource + 'static,
    {
        CustomKind {
            kind: |client| {
                Box::new(Typed::<MetadataOf<K>> {
                    api: Api::new(client),
                    namespaced: std::any::TypeId::of::<K::Scope>() == std::any::TypeId::of::<NamespaceResourceScope>(),
                })
            },
            shared: |client, random| {
                let random = random.stream(K::URL_PATH_SEGMENT);
                Box::new(Shared::new(Informer::<MetadataOf<K>>::new(client, &random)))
            },
            name: K::KIND,
        }
    }

    /// The informer of its objects, which does not run yet.
    pub(crate) fn shared(&self, client: &Client, random: &Random) -> Box<dyn AnyShared> {
        (self.shared)(client, random)
    }
}

/// What the collector knows of an object of kind `K`.
#[derive(Serialize, Deserialize)]
struct MetadataOf<K> {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(skip)]
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for MetadataOf<K> {
    fn clone(&self) -> Self {
        MetadataOf {
            metadata: self.metadata.clone(),
            kind: PhantomData,
        }
    }
}

impl<K: k8s_openapi::Resource> k8s_openapi::Resource for MetadataOf<K> {
    const API_VERSION: &'static str = K::API_VERSION;
    const GROUP: &'static str = K::GROUP;
    const KIND: &'static str = K::KIND;
    const VERSION: &'static str = K::VERSION;
    const URL_PATH_SEGMENT: &'static str = K::URL_PATH_SEGMENT;
    type Scope = K::Scope;
}

impl<K: k8s_openapi::Resource> Metadata for MetadataOf<K> {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The kinds whose objects may own and be owned, in the order in which [`Informers`](crate::informers::Informers) are
/// asked for them, custom ones last. Events are left out, as in Kubernetes: there are many, and they end by themselves.
pub(crate) fn collected(client: &Client, custom: &[CustomKind]) -> Vec<Box<dyn Kind>> {
    let mut kinds = vec![
        namespaced::<Pod>(client),
        namespaced::<ReplicaSet>(client),
        namespaced::<Deployment>(client),
        namespaced::<Service>(client),
        namespaced::<Endpoints>(client),
        namespaced::<EndpointSlice>(client),
        namespaced::<ConfigMap>(client),
        namespaced::<Secret>(client),
        namespaced::<ServiceAccount>(client),
        namespaced::<Lease>(client),
        cluster_wide::<Namespace>(client),
        cluster_wide::<Node>(client),
    ];
    kinds.extend(custom.iter().map(|custom| (custom.kind)(client)));
    kinds
}

/// The kinds that a namespace may hold, pods first.
pub(crate) fn in_namespaces(client: &Client, custom: &[CustomKind]) -> Vec<Box<dyn Kind>> {
    let mut kinds = collected(client, custom);
    kinds.retain(|kind| kind.is_namespaced());
    kinds.push(namespaced::<Event>(client));
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use orrery_api::status::ApiError;

    #[test]
    fn only_a_404_that_names_the_object_says_that_it_is_absent() {
        let key = ObjectKey::new("a", "web");
        assert!(is_absent(&key, &Error::Api(ApiError::not_found("pods", "web"))));
        assert!(!is_absent(&key, &Error::Api(ApiError::no_such_path())));
        assert!(!is_absent(&key, &Error::Timeout));
    }
}
