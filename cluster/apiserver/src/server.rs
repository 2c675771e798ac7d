//! The API server: a [`Service`] over a store. Who asks, may they, what for; then the handlers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, header};
use orrery_api::message::{Body, Identity, Request, Response, Service, Transport};
use orrery_api::mutant;
use orrery_api::random::Random;
use orrery_api::shared;
use orrery_api::status::ApiError;
use orrery_api::task::TaskGroup;
use orrery_store::{LeaseId, Revision, Store};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::allocation::Ranges;
use crate::authorization::{Attributes, authorize, authorize_path};
use crate::body::{self, FieldValidation};
use crate::bootstrap;
use crate::cache::WatchCache;
use crate::delete::{DeleteOptions, Deleted, success};
use crate::documents;
use crate::feed::{self, MakeFeed};
use crate::impersonation;
use crate::kinds::Kinds;
use crate::noderestriction;
use crate::patching;
use crate::read::object_response;
use crate::request::{Query, ResourcePath, Target, negotiate, parse_path, verb};
use crate::resource::AnyResource;
use crate::selection::Selection;
use crate::storage;
use crate::write::{Part, base_version};

/// Events are forgotten after so long (Kubernetes' `--event-ttl`).
const EVENT_LIFETIME: Duration = Duration::from_secs(3600);
/// Events of the same minute share a lease.
const EVENT_LEASE_REUSE: Duration = Duration::from_secs(60);
/// History is kept for so long (Kubernetes' `--etcd-compaction-interval`).
const COMPACTION_PERIOD: Duration = Duration::from_secs(300);

/// Finds the kubelets, for what only they know (logs).
pub trait NodeConnector: Send + Sync {
    /// A transport to the kubelet of `node`; `None` when there is none.
    fn connect(&self, node: &str) -> Option<Arc<dyn Transport>>;
}

/// Knows no kubelet.
pub struct NoNodes;

impl NodeConnector for NoNodes {
    fn connect(&self, _node: &str) -> Option<Arc<dyn Transport>> {
        None
    }
}

/// What an API server is told.
#[derive(Clone)]
pub struct Options {
    /// The addresses and ports of services.
    pub ranges: Ranges,
    /// Where pods reach this server: the endpoint of the service `kubernetes`.
    pub advertise: Option<(String, u16)>,
    /// How kubelets are reached.
    pub nodes: Arc<dyn NodeConnector>,
    /// The kinds that are served.
    pub kinds: Kinds,
    /// How the watch cache hears of the store's changes.
    pub feed: MakeFeed,
    /// A watcher for whom more events wait is ended; its client resumes where it was.
    pub watch_backlog: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            ranges: Ranges::default(),
            advertise: None,
            nodes: Arc::new(NoNodes),
            kinds: Kinds::default(),
            feed: feed::at_once(),
            watch_backlog: 10_000,
        }
    }
}

/// An API server over a store.
pub struct ApiServer {
    pub(crate) store: Store,
    pub(crate) cache: Arc<WatchCache>,
    pub(crate) options: Options,
    pub(crate) random: Random,
    event_lease: Mutex<Option<(LeaseId, Instant)>>,
}

impl ApiServer {
    /// A server over `store`. It answers once [`run`](Self::run) runs and its cache is filled.
    pub fn new(store: Store, options: Options, random: Random) -> Arc<Self> {
        let cache = Arc::new(WatchCache::new(
            store.clone(),
            options.kinds,
            options.feed.clone(),
            options.watch_backlog,
        ));
        Arc::new(ApiServer {
            store,
            cache,
            options,
            random: random.stream("apiserver"),
            event_lease: Mutex::new(None),
        })
    }

    /// The server's own work, for ever: the watch cache, the objects every cluster has, compaction.
    pub async fn run(self: &Arc<Self>) {
        let tasks = TaskGroup::new();
        let cache = self.cache.clone();
        tasks.spawn(async move { cache.run().await });
        let server = self.clone();
        tasks.spawn(async move { bootstrap::keep(&server).await });
        #[cfg(feature = "mutants")]
        tasks.spawn(crate::repair::run(self.clone()));
        let mut before: Revision = 0;
        loop {
            sleep(COMPACTION_PERIOD).await;
            let now = self.store.revision();
            if mutant::active("O160") {
                before = now;
            }
            if before > self.store.compact_revision()
                && let Err(error) = self.store.compact(before).await
            {
                orrery_api::log::line("apiserver", format_args!("cannot compact the store: {error}"));
            }
            before = now;
        }
    }

    /// Keeps the watch cache filled and does nothing else, for ever: for a store that is only looked at.
    pub async fn follow(&self) {
        self.cache.run().await;
    }

    /// Whether the server has what it needs to answer: the cache is filled and the first namespaces are there.
    pub fn is_ready(&self) -> bool {
        self.cache.is_ready()
            && self
                .store
                .get(&format!("{}namespaces/default", storage::ROOT))
                .is_some()
    }

    /// The failure of the store, if it has failed.
    pub fn failure(&self) -> Option<String> {
        self.store.failure().map(|error| error.to_string())
    }

    /// Waits until the store fails, and says why: what is acknowledged must not be lost, so nothing more is. The
    /// process should end, and be started again.
    pub async fn failed(&self) -> String {
        self.store.failed().await.to_string()
    }

    /// The lease under which a new event expires; none for other kinds.
    pub(crate) async fn event_lease(&self, resource: &dyn AnyResource) -> Result<Option<LeaseId>, ApiError> {
        if resource.info().kind != "Event" {
            return Ok(None);
        }
        let known = *self.event_lease.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((lease, _)) = known.filter(|(_, since)| since.elapsed() < EVENT_LEASE_REUSE) {
            return Ok(Some(lease));
        }
        let lifetime = EVENT_LIFETIME + EVENT_LEASE_REUSE;
        let lease = self
            .store
            .grant(lifetime)
            .await
            .map_err(|error| storage::store_failed(&error))?;
        *self.event_lease.lock().unwrap_or_else(PoisonError::into_inner) = Some((lease, Instant::now()));
        Ok(Some(lease))
    }

    async fn answer(&self, request: &Request) -> Result<Response, ApiError> {
        let identity = impersonation::acting(request)?;
        let identity = identity.as_deref();
        let path = match parse_path(self.options.kinds, request.uri().path()) {
            Ok(Target::Resource(path)) => path,
            Ok(Target::Other(segments)) => {
                authorize_path(identity, request.method(), request.uri().path())?;
                return documents::answer(self, request, &segments);
            }
            Err(error) => {
                identity.ok_or_else(ApiError::unauthorized)?;
                return Err(error);
            }
        };
        let identity = identity.ok_or_else(ApiError::unauthorized)?;
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let verb = verb(request.method(), &path, &query).ok_or_else(ApiError::method_not_allowed)?;
        authorize(
            identity,
            &Attributes {
                verb,
                info: path.resource.info(),
                subresource: &path.subresource,
                namespace: &path.namespace,
                name: &path.name,
            },
        )?;
        self.check_node(identity, &path, &query, verb).await?;
        let answer = self.answer_resource(&path, &query, verb, identity, request).await;
        let Some(deprecation) = path.resource.deprecation() else {
            return answer;
        };
        let response = answer.unwrap_or_else(ApiError::into_response);
        Ok(warn(response, &[deprecation.to_owned()]))
    }

    async fn answer_resource(
        &self,
        path: &ResourcePath,
        query: &Query,
        verb: &str,
        identity: &Identity,
        request: &Request,
    ) -> Result<Response, ApiError> {
        match (path.subresource.as_str(), verb) {
            ("", _) => self.answer_main(path, query, verb, identity, request).await,
            ("status", "get") => self.get(path, query, negotiate(request)?).await,
            ("status", "update" | "patch") => self.change(path, query, Part::Status, identity, request).await,
            ("scale", "get" | "update" | "patch") => self.scale(path, query, request).await,
            ("binding", "create") => self.bind(path, query, request).await,
            ("eviction", "create") => self.evict(path, query, request).await,
            ("finalize", "update") => self.finalize(path, query, negotiate(request)?, request).await,
            ("log", "get") => self.log(path, query, request.uri().query().unwrap_or_default()).await,
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    async fn answer_main(
        &self,
        path: &ResourcePath,
        query: &Query,
        verb: &str,
        identity: &Identity,
        request: &Request,
    ) -> Result<Response, ApiError> {
        let shape = negotiate(request)?;
        let resource = path.resource;
        match verb {
            "get" => self.get(path, query, shape).await,
            "list" => self.list(path, query, shape).await,
            "watch" => self.watch(path, query, shape).await,
            "create" if path.name.is_empty() => {
                let validation = FieldValidation::of(query)?;
                let mut warnings = Vec::new();
                let object = body::read_object(resource, request, validation, &mut warnings)?;
                noderestriction::check_create(identity, path, object.as_ref())?;
                let bytes = self.create(resource, &path.namespace, object, query.dry_run()?).await?;
                let created = resource.read(&bytes).map_err(ApiError::internal)?;
                warnings.extend(resource.warnings(created.as_ref(), None));
                Ok(warn(object_response(resource, 201, bytes, shape, query)?, &warnings))
            }
            "update" | "patch" => self.change(path, query, Part::Main, identity, request).await,
            "delete" => {
                let options = delete_options(query, request)?;
                let deleted = self.delete(resource, &path.namespace, &path.name, &options).await?;
                match deleted {
                    Deleted::Going(bytes) => object_response(resource, 200, bytes, shape, query),
                    Deleted::Gone(bytes) if resource.returns_deleted() => {
                        object_response(resource, 200, bytes, shape, query)
                    }
                    Deleted::Gone(bytes) => Ok(json_response(200, success(resource, &path.name, &bytes))),
                }
            }
            "deletecollection" => self.delete_collection(path, query, request).await,
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    /// PUT and PATCH of an object or its status.
    async fn change(
        &self,
        path: &ResourcePath,
        query: &Query,
        part: Part,
        identity: &Identity,
        request: &Request,
    ) -> Result<Response, ApiError> {
        let shape = negotiate(request)?;
        let resource = path.resource;
        let info = resource.info();
        let validation = FieldValidation::of(query)?;
        let mut warnings = Vec::new();
        let mut old = None;
        let mut put = None;
        if *request.method() == Method::PUT {
            put = Some(body::read_object(resource, request, validation, &mut warnings)?);
        } else {
            patching::check_media_type(request)?;
        }
        let once = put.as_ref().is_some_and(|object| base_version(object.meta()).is_some());
        let bytes = self
            .update(
                resource,
                &path.namespace,
                &path.name,
                part,
                once,
                query.dry_run()?,
                |current| {
                    let new = match &put {
                        Some(object) => object.boxed_clone(),
                        None => {
                            let original: Value = shared::read(&current.kv.value).map_err(ApiError::internal)?;
                            let patched = patching::apply(request, original, &info.api_version(), info.kind)?;
                            warnings.clear();
                            body::read_checked(resource, patched, validation, &mut warnings)?
                        }
                    };
                    noderestriction::check_update(identity, new.as_ref(), current.object.as_ref())?;
                    old = Some(current.object.clone());
                    Ok(new)
                },
            )
            .await?;
        let object = resource.read(&bytes).map_err(ApiError::internal)?;
        warnings.extend(resource.warnings(object.as_ref(), old.as_deref()));
        Ok(warn(object_response(resource, 200, bytes, shape, query)?, &warnings))
    }

    /// DELETE of a collection: each object that is selected, one by one.
    async fn delete_collection(
        &self,
        path: &ResourcePath,
        query: &Query,
        request: &Request,
    ) -> Result<Response, ApiError> {
        let selection = Selection::of(path, query)?;
        let options = delete_options(query, request)?;
        let all = self.newest(path.resource, &selection, 0).await?;
        for item in &all.items {
            match self.delete(path.resource, &item.namespace, &item.name, &options).await {
                Ok(_) => {}
                Err(error) if error.code() == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let status = serde_json::json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
        Ok(json_response(200, Bytes::from(status.to_string())))
    }
}

/// The options of a deletion: in the body, or in the query of clients that send none.
fn delete_options(query: &Query, request: &Request) -> Result<DeleteOptions, ApiError> {
    let mut options = DeleteOptions::default();
    if !request.body().is_empty() {
        let value = body::read_value(request)?;
        options = serde_json::from_value(value).map_err(|error| ApiError::bad_request(error.to_string()))?;
    }
    if let Some(seconds) = query.number("gracePeriodSeconds")? {
        options.grace_period_seconds = Some(seconds as i64);
    }
    if let Some(policy) = query.get("propagationPolicy") {
        options.propagation_policy = Some(policy.to_owned());
    }
    if query.dry_run()? {
        options.dry_run = Some(vec!["All".to_owned()]);
    }
    Ok(options)
}

/// A JSON response.
pub fn json_response(code: u16, body: Bytes) -> Response {
    let mut response = http::Response::new(Body::Full(body));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// All warnings of an answer together; beyond it each is cut, and then the rest is left out (Kubernetes' limits, in
/// characters).
const WARNINGS_LIMIT: usize = 4096;
const WARNING_CUT: usize = 256;

/// Adds warnings, which kubectl shows to its user (RFC 7234's `Warning`, code 299).
fn warn(mut response: Response, warnings: &[String]) -> Response {
    let is_long = warnings.iter().map(|warning| warning.chars().count()).sum::<usize>() > WARNINGS_LIMIT;
    let mut room = WARNINGS_LIMIT;
    for (position, warning) in warnings.iter().enumerate() {
        let cut = if is_long { WARNING_CUT } else { WARNINGS_LIMIT };
        let text: String = warning.chars().take(cut.min(room)).collect();
        if text.is_empty() || warnings[..position].contains(warning) {
            continue;
        }
        room -= text.chars().count();
        // Headers carry UTF-8 as it is, but no control characters.
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        let text = text.replace(char::is_control, " ");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{text}\"").as_bytes()) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

#[async_trait]
impl Service for ApiServer {
    async fn call(&self, request: Request) -> Response {
        let mut response = self.answer(&request).await.unwrap_or_else(ApiError::into_response);
        if *request.method() == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&self.random.uid()) {
            headers.insert("audit-id", id);
        }
        headers
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-cache, private"));
        response
    }
}
