//! Typed calls: one [`Api`] a kind, objects named by [`ObjectKey`].

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, header};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use orrery_api::message::Request;
use orrery_api::meta::{Object, ObjectKey};
use orrery_api::shared;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::client::Client;
use crate::error::Error;
use crate::watch::WatchStream;

/// A kind that can be sent, read and shared, decoded once for all who read it: every kind of k8s-openapi with
/// `ObjectMeta`.
pub trait Resource: Object + Serialize + DeserializeOwned + Clone + Send + Sync + 'static {}

impl<K: Object + Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Resource for K {}

/// What to list or watch.
#[derive(Debug, Clone, Default)]
pub struct ListParams {
    /// Only this namespace.
    pub namespace: Option<String>,
    /// A label selector.
    pub labels: Option<String>,
    /// A field selector.
    pub fields: Option<String>,
    /// At most so many, with a token for the rest.
    pub limit: Option<u64>,
    /// The token of the page before.
    pub continue_token: Option<String>,
    /// How fresh: none asks for the newest state, `0` for any.
    pub resource_version: Option<String>,
}

/// Part or all of a list, at one revision.
#[derive(Debug, Clone)]
pub struct ObjectList<K> {
    /// The objects, ordered by key.
    pub items: Vec<Arc<K>>,
    /// The revision of the list.
    pub resource_version: String,
    /// The token for the next page, if there is one.
    pub continue_token: Option<String>,
}

/// A change to an object by its difference.
#[derive(Debug, Clone)]
pub enum Patch {
    /// RFC 6902.
    Json(Value),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' strategic merge patch.
    Strategic(Value),
}

/// What becomes of dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Propagation {
    /// The collector deletes them later.
    Background,
    /// They go first.
    Foreground,
    /// They stay, without the owner.
    Orphan,
}

/// How to delete, and on what condition.
#[derive(Debug, Clone, Default)]
pub struct DeleteParams {
    /// Only the object with this uid.
    pub uid: Option<String>,
    /// Only at this revision.
    pub resource_version: Option<String>,
    /// Seconds until containers are killed; the object's own when absent.
    pub grace_period_seconds: Option<i64>,
    /// What becomes of dependents.
    pub propagation: Option<Propagation>,
}

impl DeleteParams {
    /// Deletes `object` and no other of its name.
    pub fn of(object: &impl Object) -> Self {
        DeleteParams {
            uid: Some(object.uid().to_owned()),
            ..DeleteParams::default()
        }
    }

    /// Deletes `object` only as it was seen.
    pub fn exactly(object: &impl Object) -> Self {
        DeleteParams {
            uid: Some(object.uid().to_owned()),
            resource_version: object.metadata().resource_version.clone(),
            ..DeleteParams::default()
        }
    }

    /// With a grace period of `seconds`.
    pub fn grace(mut self, seconds: i64) -> Self {
        self.grace_period_seconds = Some(seconds);
        self
    }

    /// With `propagation`.
    pub fn propagation(mut self, propagation: Propagation) -> Self {
        self.propagation = Some(propagation);
        self
    }

    fn to_body(&self) -> Value {
        let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        if self.uid.is_some() || self.resource_version.is_some() {
            let mut preconditions = json!({});
            if let Some(uid) = &self.uid {
                preconditions["uid"] = json!(uid);
            }
            if let Some(version) = &self.resource_version {
                preconditions["resourceVersion"] = json!(version);
            }
            body["preconditions"] = preconditions;
        }
        if let Some(seconds) = self.grace_period_seconds {
            body["gracePeriodSeconds"] = json!(seconds);
        }
        if let Some(propagation) = self.propagation {
            body["propagationPolicy"] = json!(propagation);
        }
        body
    }
}

/// The API of one kind.
pub struct Api<K> {
    client: Client,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Api<K> {
    fn clone(&self) -> Self {
        Api {
            client: self.client.clone(),
            kind: PhantomData,
        }
    }
}

impl<K: Resource> Api<K> {
    /// The kind's API over `client`.
    pub fn new(client: &Client) -> Self {
        Api {
            client: client.clone(),
            kind: PhantomData,
        }
    }

    /// Reads one object.
    pub async fn get(&self, key: &ObjectKey) -> Result<Arc<K>, Error> {
        self.call(Method::GET, object_path::<K>(key, None), None).await
    }

    /// Lists objects.
    pub async fn list(&self, params: &ListParams) -> Result<ObjectList<K>, Error> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            metadata: ListMeta,
            #[serde(borrow, default)]
            items: Vec<&'a RawValue>,
        }
        let mut path = collection_path::<K>(params.namespace.as_deref().unwrap_or_default());
        push_query(&mut path, params, &[]);
        let answer = self.client.fetch(request(Method::GET, path, None)).await?;
        let wire: Wire<'_> = serde_json::from_slice(&answer).map_err(unreadable)?;
        let items = wire.items.iter().map(|item| shared::decode_part(item.get().as_bytes()));
        Ok(ObjectList {
            items: items.collect::<Result<_, _>>().map_err(unreadable)?,
            resource_version: wire.metadata.resource_version.unwrap_or_default(),
            continue_token: wire.metadata.continue_.filter(|token| !token.is_empty()),
        })
    }

    /// Watches objects from the revision in `params`; events come as the server sends them, for at most
    /// `timeout_seconds`.
    pub async fn watch(&self, params: &ListParams, timeout_seconds: u64) -> Result<WatchStream<K>, Error> {
        let mut path = collection_path::<K>(params.namespace.as_deref().unwrap_or_default());
        let timeout = timeout_seconds.to_string();
        push_query(
            &mut path,
            params,
            &[
                ("watch", "true"),
                ("allowWatchBookmarks", "true"),
                ("timeoutSeconds", &timeout),
            ],
        );
        let response = self.client.open(request(Method::GET, path, None)).await?;
        Ok(WatchStream::new(response.into_body()))
    }

    /// Creates `object` in its namespace.
    pub async fn create(&self, object: &K) -> Result<Arc<K>, Error> {
        let path = typed(collection_path::<K>(object.namespace()));
        self.call(Method::POST, path, Some(json_body(object)?)).await
    }

    /// Replaces an object; succeeds only if its resourceVersion is the newest.
    pub async fn replace(&self, object: &K) -> Result<Arc<K>, Error> {
        self.call(
            Method::PUT,
            typed(object_path::<K>(&object.key(), None)),
            Some(json_body(object)?),
        )
        .await
    }

    /// Replaces an object's status; succeeds only if its resourceVersion is the newest.
    pub async fn replace_status(&self, object: &K) -> Result<Arc<K>, Error> {
        self.call(
            Method::PUT,
            typed(object_path::<K>(&object.key(), Some("status"))),
            Some(json_body(object)?),
        )
        .await
    }

    /// Changes an object.
    pub async fn patch(&self, key: &ObjectKey, patch: &Patch) -> Result<Arc<K>, Error> {
        self.send_patch(object_path::<K>(key, None), patch).await
    }

    /// Changes an object's status.
    pub async fn patch_status(&self, key: &ObjectKey, patch: &Patch) -> Result<Arc<K>, Error> {
        self.send_patch(object_path::<K>(key, Some("status")), patch).await
    }

    /// Whether a write to `object` that was answered with `refusal` can never succeed, because the object is gone or
    /// another has its name. A conflict may have other causes, so the server is asked.
    ///
    /// # Errors
    ///
    /// Why the server did not say so. Whose the name is must be known before anything is done about it.
    pub async fn is_gone(&self, object: &K, refusal: &Error) -> Result<bool, Error> {
        if !refusal.is_conflict() {
            return Ok(refusal.is_not_found());
        }
        match self.get(&object.key()).await {
            Ok(live) => Ok(live.uid() != object.uid()),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Deletes an object, or begins to.
    pub async fn delete(&self, key: &ObjectKey, params: &DeleteParams) -> Result<(), Error> {
        let body = (Bytes::from(params.to_body().to_string()), "application/json");
        self.client
            .fetch(request(Method::DELETE, object_path::<K>(key, None), Some(body)))
            .await
            .map(drop)
    }

    /// Posts to a subresource, for example `binding`.
    pub async fn post_subresource<B: Serialize>(&self, key: &ObjectKey, name: &str, body: &B) -> Result<(), Error> {
        let path = object_path::<K>(key, Some(name));
        self.client
            .fetch(request(Method::POST, path, Some(json_body(body)?)))
            .await
            .map(drop)
    }

    /// Puts to a subresource, for example a namespace's `finalize`.
    pub async fn put_subresource<B: Serialize>(&self, key: &ObjectKey, name: &str, body: &B) -> Result<(), Error> {
        let path = object_path::<K>(key, Some(name));
        self.client
            .fetch(request(Method::PUT, path, Some(json_body(body)?)))
            .await
            .map(drop)
    }

    async fn send_patch(&self, path: String, patch: &Patch) -> Result<Arc<K>, Error> {
        let (value, content_type) = match patch {
            Patch::Json(value) => (value, "application/json-patch+json"),
            Patch::Merge(value) => (value, "application/merge-patch+json"),
            Patch::Strategic(value) => (value, "application/strategic-merge-patch+json"),
        };
        self.call(
            Method::PATCH,
            typed(path),
            Some((Bytes::from(value.to_string()), content_type)),
        )
        .await
    }

    fn call(
        &self,
        method: Method,
        path: String,
        body: Option<(Bytes, &'static str)>,
    ) -> impl Future<Output = Result<Arc<K>, Error>> + Send {
        let answer = self.client.fetch(request(method, path, body));
        async { shared::decode(&answer.await?).map_err(unreadable) }
    }
}

fn request(method: Method, path: String, body: Option<(Bytes, &'static str)>) -> Request {
    let (bytes, content_type) = body.unwrap_or((Bytes::new(), ""));
    let mut builder = http::Request::builder().method(method).uri(path);
    if !content_type.is_empty() {
        builder = builder.header(header::CONTENT_TYPE, content_type);
    }
    builder
        .body(bytes)
        .expect("paths are percent-encoded and headers are constants")
}

/// What a type holds has no unknown fields: the server need not look for them.
fn typed(mut path: String) -> String {
    path.push_str("?fieldValidation=Ignore");
    path
}

fn json_body<B: Serialize>(body: &B) -> Result<(Bytes, &'static str), Error> {
    let bytes = serde_json::to_vec(body).map_err(|error| Error::Decode(error.to_string()))?;
    Ok((Bytes::from(bytes), "application/json"))
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::Decode(error.to_string())
}

fn collection_path<K: k8s_openapi::Resource>(namespace: &str) -> String {
    let mut path = if K::GROUP.is_empty() {
        format!("/api/{}", K::VERSION)
    } else {
        format!("/apis/{}/{}", K::GROUP, K::VERSION)
    };
    if !namespace.is_empty() {
        path.push_str("/namespaces/");
        path.push_str(&percent_encode(namespace));
    }
    path.push('/');
    path.push_str(K::URL_PATH_SEGMENT);
    path
}

fn object_path<K: k8s_openapi::Resource>(key: &ObjectKey, subresource: Option<&str>) -> String {
    let mut path = collection_path::<K>(&key.namespace);
    path.push('/');
    path.push_str(&percent_encode(&key.name));
    if let Some(subresource) = subresource {
        path.push('/');
        path.push_str(subresource);
    }
    path
}

fn push_query(path: &mut String, params: &ListParams, more: &[(&str, &str)]) {
    let limit = params.limit.map(|limit| limit.to_string());
    let own = [
        ("labelSelector", params.labels.as_deref()),
        ("fieldSelector", params.fields.as_deref()),
        ("limit", limit.as_deref()),
        ("continue", params.continue_token.as_deref()),
        ("resourceVersion", params.resource_version.as_deref()),
    ];
    let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
    for (position, (name, value)) in own.chain(more.iter().copied()).enumerate() {
        path.push(if position == 0 { '?' } else { '&' });
        path.push_str(name);
        path.push('=');
        path.push_str(&percent_encode(value));
    }
}

/// What a part of a path or a query can say plainly: the unreserved characters of RFC 3986.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `text` as a part of a path or a query.
pub fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::{Node, Pod};
    use orrery_api::message::{Body, Response, Transport, TransportError};
    use orrery_api::status::ApiError;

    use super::*;

    #[test]
    fn paths_are_those_of_kubernetes() {
        assert_eq!(collection_path::<Pod>(""), "/api/v1/pods");
        assert_eq!(
            collection_path::<Deployment>("a"),
            "/apis/apps/v1/namespaces/a/deployments"
        );
        assert_eq!(
            object_path::<Node>(&ObjectKey::new("", "n"), Some("status")),
            "/api/v1/nodes/n/status"
        );
    }

    #[test]
    fn queries_are_escaped() {
        let params = ListParams {
            labels: Some("a in (b,c)".into()),
            limit: Some(2),
            ..ListParams::default()
        };
        let mut path = String::from("/x");
        push_query(&mut path, &params, &[("watch", "true")]);
        assert_eq!(path, "/x?labelSelector=a%20in%20%28b%2Cc%29&limit=2&watch=true");
    }

    /// A server that has one answer.
    struct Answer(u16, Value);

    #[async_trait]
    impl Transport for Answer {
        async fn send(&self, _: Request) -> Result<Response, TransportError> {
            let body = Body::Full(Bytes::from(self.1.to_string()));
            Ok(http::Response::builder().status(self.0).body(body).expect("a response"))
        }
    }

    /// Whether the pod `a` with the uid 1 is gone, where a write to it is refused so and a look at it answered so.
    async fn is_gone(refusal: ApiError, code: u16, body: Value) -> Result<bool, Error> {
        let client = Client::new(Arc::new(Answer(code, body)), "test");
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "a", "uid": "1"}})).expect("a pod");
        Api::new(&client).is_gone(&pod, &Error::Api(refusal)).await
    }

    #[tokio::test]
    async fn a_conflict_tells_of_an_object_that_is_gone_only_if_the_server_says_so() {
        let conflict = || ApiError::stale("pods", "a");
        let pod = |uid: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "uid": uid}});
        assert!(!is_gone(conflict(), 200, pod("1")).await.expect("an answer"));
        assert!(is_gone(conflict(), 200, pod("2")).await.expect("an answer"));
        let status = |code: u16, reason: &str| json!({"kind": "Status", "code": code, "reason": reason});
        assert!(
            is_gone(conflict(), 404, status(404, "NotFound"))
                .await
                .expect("an answer")
        );
        let unknown = is_gone(conflict(), 503, status(503, "ServiceUnavailable")).await;
        assert!(unknown.is_err(), "nobody knows");
        // Nobody is asked.
        assert!(
            is_gone(ApiError::not_found("pods", "a"), 200, pod("1"))
                .await
                .expect("no question")
        );
        assert!(
            !is_gone(ApiError::timeout("later"), 404, status(404, "NotFound"))
                .await
                .expect("no question")
        );
    }
}
