//! A small API server in memory, for tests of whole controllers.
//!
//! It keeps what controllers rely on: revisions, uids, preconditions, finalizers, propagation, merge patches, lists
//! with equality selectors and watches; and it can hold back the events of a resource, so that caches lag, or forget
//! them, so that caches are filled anew, and decide over the fate of requests. It has no admission or validation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use orrery_api::message::{Body, Direct, Identity, Request, Response, Service, Transport, TransportError};
use orrery_api::random::Random;
use orrery_api::status::ApiError;
use orrery_api::task::TaskGroup;
use orrery_client::{Client, Resource};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::Options;

type Key = (String, String, String);

struct Event {
    resource: String,
    namespace: String,
    line: String,
}

/// What becomes of a request on its way to the server.
pub(crate) enum Fate {
    /// It arrives, and so does its answer.
    Arrives,
    /// It is refused, and not carried out.
    Refused(ApiError),
    /// It is carried out, and no answer ever comes.
    Unanswered,
}

/// A way to the server on which requests meet their fate.
struct Way {
    server: Direct,
    decide: Box<dyn Fn(&Request) -> Fate + Send + Sync>,
}

#[async_trait]
impl Transport for Way {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        match (self.decide)(&request) {
            Fate::Arrives => self.server.send(request).await,
            Fate::Refused(error) => Ok(error.into_response()),
            Fate::Unanswered => {
                self.server.send(request).await?;
                std::future::pending().await
            }
        }
    }
}

/// Decides that the first request that is meant meets `fate`; all others arrive.
pub(crate) fn first(
    is_meant: impl Fn(&Request) -> bool + Send + Sync + 'static,
    fate: Fate,
) -> impl Fn(&Request) -> Fate + Send + Sync + 'static {
    let fate = Mutex::new(Some(fate));
    move |request: &Request| {
        if !is_meant(request) {
            return Fate::Arrives;
        }
        let fate = fate.lock().unwrap_or_else(PoisonError::into_inner).take();
        fate.unwrap_or(Fate::Arrives)
    }
}

#[derive(Default)]
struct State {
    revision: u64,
    uids: u64,
    objects: BTreeMap<Key, Value>,
    events: Vec<Event>,
    held: BTreeSet<String>,
    /// By resource: the revision from which on watches can be resumed.
    kept: BTreeMap<String, usize>,
    lost: BTreeMap<String, usize>,
    calls: Vec<String>,
}

/// The server. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Server {
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
}

/// What a path names.
struct Target {
    key: Key,
    subresource: Option<String>,
    query: BTreeMap<String, String>,
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn direct(&self) -> Direct {
        Direct::new(Arc::new(self.clone()), Identity::new("test", &["system:masters"]))
    }

    /// A client of this server.
    pub(crate) fn client(&self) -> Client {
        Client::new(Arc::new(self.direct()), "test")
    }

    /// Runs the controllers against this server for as long as the answer lives.
    pub(crate) fn run(&self, options: Options) -> TaskGroup {
        let tasks = TaskGroup::new();
        tasks.spawn(crate::run(self.client(), options, Random::from_number(1)));
        tasks
    }

    /// The same, on a way on which `decide` decides over each request.
    pub(crate) fn run_over(
        &self,
        options: Options,
        decide: impl Fn(&Request) -> Fate + Send + Sync + 'static,
    ) -> TaskGroup {
        let way = Way {
            server: self.direct(),
            decide: Box::new(decide),
        };
        let tasks = TaskGroup::new();
        let client = Client::new(Arc::new(way), "test");
        tasks.spawn(crate::run(client, options, Random::from_number(1)));
        tasks
    }

    /// Makes or replaces an object, as a user or another component would.
    pub(crate) fn put(&self, resource: &str, object: Value) -> Value {
        let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
        let key = (resource.to_owned(), text("namespace"), text("name"));
        let stored = self.state().write(key, object);
        self.wake.notify_waiters();
        stored
    }

    /// An object.
    pub(crate) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.state()
            .objects
            .get(&(resource.to_owned(), namespace.to_owned(), name.to_owned()))
            .cloned()
    }

    /// The objects of a resource as their type.
    pub(crate) fn list<K: Resource>(&self) -> Vec<K> {
        let state = self.state();
        let objects = state
            .objects
            .iter()
            .filter(|((resource, ..), _)| resource == K::URL_PATH_SEGMENT);
        objects
            .map(|(_, object)| serde_json::from_value(object.clone()).expect("stored objects are readable"))
            .collect()
    }

    /// Deletes an object, whatever its finalizers say.
    pub(crate) fn remove(&self, resource: &str, namespace: &str, name: &str) {
        self.state()
            .erase(&(resource.to_owned(), namespace.to_owned(), name.to_owned()));
        self.wake.notify_waiters();
    }

    /// Deletes an object the way a user does, with a propagation policy.
    pub(crate) fn delete(&self, resource: &str, namespace: &str, name: &str, propagation: &str) {
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        let options = json!({"propagationPolicy": propagation});
        self.state().delete(&key, &options).expect("the object is there");
        self.wake.notify_waiters();
    }

    /// Holds back the events of a resource, or lets them go.
    pub(crate) fn hold(&self, resource: &str, hold: bool) {
        let mut state = self.state();
        if hold {
            state.held.insert(resource.to_owned())
        } else {
            state.held.remove(resource)
        };
        drop(state);
        self.wake.notify_waiters();
    }

    /// Forgets the events of a resource so far: whoever has not been told of all of them has to list anew.
    pub(crate) fn expire(&self, resource: &str) {
        let mut state = self.state();
        let kept = state.events.len();
        state.kept.insert(resource.to_owned(), kept);
        drop(state);
        self.wake.notify_waiters();
    }

    /// Lets the next `count` writes to a resource happen without telling their outcome.
    pub(crate) fn lose_answers(&self, resource: &str, count: usize) {
        self.state().lost.insert(resource.to_owned(), count);
    }

    /// The revision: how many changes there were.
    pub(crate) fn revision(&self) -> u64 {
        self.state().revision
    }

    /// The writes of controllers so far: method and path.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.state()
            .calls
            .iter()
            .filter(|call| !call.starts_with("GET"))
            .cloned()
            .collect()
    }

    fn answer(&self, request: &Request) -> Result<Value, ApiError> {
        let Some(target) = target(request.uri()) else {
            return Err(ApiError::no_such_path());
        };
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let mut state = self.state();
        state
            .calls
            .push(format!("{} {}", request.method(), request.uri().path()));
        let Target {
            key,
            subresource,
            query,
        } = target;
        let current = state.objects.get(&key).cloned();
        let not_found = || ApiError::not_found(&key.0, &key.2);
        match *request.method() {
            Method::GET if key.2.is_empty() => Ok(state.list(&key, query.get("labelSelector"))),
            Method::GET => current.ok_or_else(not_found),
            Method::POST => {
                let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let key = (key.0, key.1, name);
                if state.objects.contains_key(&key) {
                    return Err(ApiError::already_exists(&key.0, &key.2));
                }
                Ok(state.write(key, body))
            }
            Method::PUT => {
                let current = current.ok_or_else(not_found)?;
                fresh(&key, &current, &body["metadata"])?;
                let mut next = body;
                if subresource.as_deref() == Some("status") {
                    next = Value::Object(current.as_object().cloned().unwrap_or_default());
                    next["status"] =
                        serde_json::from_slice::<Value>(request.body()).unwrap_or_default()["status"].take();
                } else if subresource.is_none() {
                    next["status"] = current["status"].clone();
                }
                Ok(state.write(key, next))
            }
            Method::PATCH => {
                let mut next = current.ok_or_else(not_found)?;
                fresh(&key, &next, &body["metadata"])?;
                merge(&mut next, &body);
                Ok(state.write(key, next))
            }
            Method::DELETE => {
                let current = current.ok_or_else(not_found)?;
                fresh(&key, &current, &body["preconditions"])?;
                state.delete(&key, &body)
            }
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    fn watch(&self, (resource, namespace, _): Key, from: u64) -> Response {
        let at = usize::try_from(from).unwrap_or(usize::MAX);
        let start = (self.clone(), resource, namespace, at);
        let lines = stream::unfold(start, |(server, resource, namespace, mut at)| async move {
            loop {
                // Registered before looking, so that no event is missed in between.
                let wake = server.wake.clone();
                let woken = wake.notified();
                {
                    let state = server.state();
                    if state.kept.get(&resource).is_some_and(|kept| at < *kept) {
                        drop(state);
                        let error = ApiError::expired("too old resource version");
                        let line = format!("{}\n", json!({"type": "ERROR", "object": error.0}));
                        return Some((Ok(Bytes::from(line)), (server, resource, namespace, usize::MAX)));
                    }
                    while !state.held.contains(&resource) && at < state.events.len() {
                        let event = &state.events[at];
                        at += 1;
                        let is_there = namespace.is_empty() || event.namespace == namespace;
                        if event.resource == resource && is_there {
                            let line = Bytes::from(event.line.clone());
                            drop(state);
                            return Some((Ok(line), (server, resource, namespace, at)));
                        }
                    }
                }
                woken.await;
            }
        });
        http::Response::new(Body::stream(lines))
    }
}

impl State {
    fn loses(&mut self, request: &Request) -> bool {
        let resource = target(request.uri()).map(|target| target.key.0).unwrap_or_default();
        match self.lost.get_mut(&resource) {
            Some(count) if *count > 0 && *request.method() != Method::GET => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }

    fn list(&self, key: &Key, selector: Option<&String>) -> Value {
        let wanted: Vec<(&str, &str)> = selector
            .into_iter()
            .flat_map(|selector| selector.split(','))
            .filter_map(|term| term.split_once('='))
            .collect();
        let items = self.objects.iter().filter(|((resource, namespace, _), object)| {
            let labels = &object["metadata"]["labels"];
            *resource == key.0
                && (key.1.is_empty() || *namespace == key.1)
                && wanted.iter().all(|(name, value)| labels[*name].as_str() == Some(value))
        });
        let items: Vec<&Value> = items.map(|(_, object)| object).collect();
        json!({"metadata": {"resourceVersion": self.revision.to_string()}, "items": items})
    }

    /// One revision, one event: the revision is the length of the history.
    fn tell(&mut self, resource: &str, kind: &str, object: &mut Value) {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        self.events.push(Event {
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            line,
        });
    }

    fn write(&mut self, key: Key, mut object: Value) -> Value {
        let old = self.objects.get(&key).cloned();
        if object["metadata"]["uid"].is_null() {
            self.uids += 1;
            let uid = old.as_ref().map_or(json!(format!("uid-{}", self.uids)), |old| {
                old["metadata"]["uid"].clone()
            });
            object["metadata"]["uid"] = uid;
        }
        if object["metadata"]["creationTimestamp"].is_null() {
            object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let going = !object["metadata"]["deletionTimestamp"].is_null();
        if going && !held(&object["metadata"]["finalizers"]) && !held(&object["spec"]["finalizers"]) && key.0 != "pods"
        {
            self.erase(&key);
            return object;
        }
        self.tell(&key.0, if old.is_some() { "MODIFIED" } else { "ADDED" }, &mut object);
        self.objects.insert(key, object.clone());
        object
    }

    fn delete(&mut self, key: &Key, options: &Value) -> Result<Value, ApiError> {
        let mut object = self
            .objects
            .get(key)
            .cloned()
            .ok_or_else(|| ApiError::not_found(&key.0, &key.2))?;
        let finalizer = match options["propagationPolicy"].as_str() {
            Some("Foreground") => Some("foregroundDeletion"),
            Some("Orphan") => Some("orphan"),
            _ => None,
        };
        if let Some(finalizer) = finalizer {
            let mut finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
            finalizers.push(json!(finalizer));
            object["metadata"]["finalizers"] = json!(finalizers);
        }
        if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:01Z");
        }
        if key.0 == "pods" && !held(&object["metadata"]["finalizers"]) {
            self.erase(key);
            return Ok(object);
        }
        if key.0 == "namespaces" {
            object["status"]["phase"] = json!("Terminating");
        }
        Ok(self.write(key.clone(), object))
    }

    fn erase(&mut self, key: &Key) {
        if let Some(mut object) = self.objects.remove(key) {
            self.tell(&key.0, "DELETED", &mut object);
        }
    }
}

#[async_trait]
impl Service for Server {
    async fn call(&self, request: Request) -> Response {
        if let Some(target) = target(request.uri()).filter(|target| target.query.contains_key("watch")) {
            let from = target
                .query
                .get("resourceVersion")
                .and_then(|version| version.parse().ok())
                .unwrap_or(0);
            return self.watch(target.key, from);
        }
        let mut answer = self.answer(&request);
        self.wake.notify_waiters();
        if self.state().loses(&request) {
            answer = Err(ApiError::timeout("the answer is lost"));
        }
        match answer {
            Ok(value) => {
                let mut response = http::Response::new(Body::Full(Bytes::from(value.to_string())));
                *response.status_mut() = StatusCode::OK;
                response
            }
            Err(error) => error.into_response(),
        }
    }
}

/// Whether a list of finalizers holds its object.
fn held(finalizers: &Value) -> bool {
    finalizers.as_array().is_some_and(|list| !list.is_empty())
}

/// Whether the revision and uid that a writer names are the object's.
fn fresh(key: &Key, current: &Value, named: &Value) -> Result<(), ApiError> {
    for name in ["uid", "resourceVersion"] {
        if named[name].is_string() && named[name] != current["metadata"][name] {
            return Err(ApiError::stale(&key.0, &key.2));
        }
    }
    Ok(())
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().map(|target| target.remove(name));
        } else {
            merge(&mut target[name], value);
        }
    }
}

fn target(uri: &http::Uri) -> Option<Target> {
    let mut parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let prefix = if *parts.first()? == "api" { 2 } else { 3 };
    let mut parts = parts.split_off(prefix.min(parts.len()));
    let mut namespace = "";
    if parts.len() > 2 && parts[0] == "namespaces" && !matches!(parts[2], "status" | "finalize") {
        namespace = parts[1];
        parts = parts.split_off(2);
    }
    let text = |at: usize| parts.get(at).map(|part| (*part).to_owned());
    let decode = |value: &str| value.replace("%2F", "/").replace("%3D", "=").replace("%2C", ",");
    let query = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    Some(Target {
        key: (text(0)?, namespace.to_owned(), text(1).unwrap_or_default()),
        subresource: text(2),
        query: query.map(|(name, value)| (name.to_owned(), decode(value))).collect(),
    })
}

/// Waits until `holds`, for at most ten seconds; panics with `what` when it never does.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}
