//! Reading: one object, lists (whole or paged, fresh or from any time), watches.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderValue;
use orrery_api::clock;
use orrery_api::field;
use orrery_api::message::{Body, Response};
use orrery_api::mutant;
use orrery_api::status::ApiError;
use orrery_store::{Range, RangeError, Revision};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cache::{Cached, Listed, is_too_large, too_large_version};
use crate::request::{Query, ResourcePath, Shape};
use crate::resource::{AnyObject, AnyResource};
use crate::selection::Selection;
use crate::server::{ApiServer, json_response};
use crate::storage;
use crate::table;
use crate::watch::{self, Watch};

/// The shortest time after which the server ends a watch that names none; at most twice as long.
const WATCH_LIMIT: Duration = Duration::from_secs(30 * 60);
/// So many keys are read at once while a page is filled.
const PAGE_CHUNK: usize = 500;

/// Where a paged list goes on: after `key`, at `revision`; 0 is whichever is the newest by then.
#[derive(Serialize, Deserialize)]
struct Continue {
    revision: Revision,
    key: String,
}

impl Continue {
    /// What clients send back without looking into it.
    fn token(&self) -> Result<String, ApiError> {
        let json = serde_json::to_vec(self).map_err(ApiError::internal)?;
        Ok(URL_SAFE_NO_PAD.encode(json))
    }
}

/// A page of a list.
pub(crate) struct Page {
    pub(crate) items: Vec<Arc<Cached>>,
    revision: Revision,
    next: Option<Continue>,
    remaining: Option<usize>,
}

impl ApiServer {
    /// Answers a GET of one object.
    pub(crate) async fn get(&self, path: &ResourcePath, query: &Query, shape: Shape) -> Result<Response, ApiError> {
        if let Some(revision) = query.number("resourceVersion")? {
            self.cache.catch_up(path.resource, revision).await?;
        }
        let kv = self
            .store
            .get(&storage::key(path.resource, &path.namespace, &path.name))
            .ok_or_else(|| ApiError::not_found(&path.resource.info().qualified(), &path.name))?;
        object_response(path.resource, 200, kv.value, shape, query)
    }

    /// Answers a GET of a collection.
    pub(crate) async fn list(&self, path: &ResourcePath, query: &Query, shape: Shape) -> Result<Response, ApiError> {
        let selection = Selection::of(path, query)?;
        check_options(query, false)?;
        let page = self.page(path.resource, &selection, query).await?;
        let mut meta = json!({"resourceVersion": page.revision.to_string()});
        if let Some(next) = &page.next {
            meta["continue"] = json!(next.token()?);
        }
        if let Some(remaining) = page.remaining {
            meta["remainingItemCount"] = json!(remaining);
        }
        let body = match shape {
            Shape::Object => list_body(path.resource, &meta, &page.items),
            shape => {
                let objects: Vec<Arc<dyn AnyObject>> = page
                    .items
                    .iter()
                    .map(|item| path.resource.read(&item.bytes).map_err(ApiError::internal))
                    .collect::<Result<_, _>>()?;
                let objects = objects.iter().map(AsRef::as_ref);
                let value = match shape {
                    Shape::Table(version) => table::table(
                        path.resource,
                        objects,
                        meta,
                        include(query)?,
                        version,
                        true,
                        clock::now(),
                    ),
                    _ => table::partial_metadata_list(objects, meta, "v1"),
                };
                Bytes::from(value.to_string())
            }
        };
        Ok(json_response(200, body))
    }

    async fn page(&self, resource: &dyn AnyResource, selection: &Selection, query: &Query) -> Result<Page, ApiError> {
        let limit = query.number("limit")?.unwrap_or(0) as usize;
        let version = query.number("resourceVersion")?;
        if let Some(token) = query.get("continue") {
            let start: Continue = URL_SAFE_NO_PAD
                .decode(token)
                .ok()
                .and_then(|json| serde_json::from_slice(&json).ok())
                .ok_or_else(|| ApiError::bad_request("continue key is not valid"))?;
            if version.is_some_and(|version| version > 0) {
                return Err(ApiError::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let mut revision = match start.revision {
                0 => self.store.revision(),
                revision => revision,
            };
            if mutant::is_on("O47") && revision < self.store.compact_revision() && mutant::active("O47") {
                revision = self.store.revision();
            }
            let page = self.page_of_store(resource, selection, Some(start.key.clone()), revision, limit);
            return page.map_err(|error| match error.code() {
                410 => too_old_to_go_on(start.key),
                _ => error,
            });
        }
        // A page of a certain version is of exactly that one, unless it may be newer; so it is when asked for.
        let exact = match query.get("resourceVersionMatch") {
            Some(asked) => asked == "Exact",
            None => limit > 0,
        };
        if let Some(revision) = version.filter(|version| exact && *version > 0) {
            self.cache.catch_up(resource, revision).await?;
            return self.page_of_store(resource, selection, None, revision, limit);
        }
        // No version asks for the newest state, 0 for any, another for one at least as new.
        match version {
            None => self.newest(resource, selection, limit).await,
            Some(version) => {
                self.cache.catch_up(resource, version).await?;
                self.page_of_cache(resource, selection, limit)
            }
        }
    }

    /// The newest state, or the first page of it: out of the cache once that has seen what the store holds. When it
    /// stays behind, out of the store, as Kubernetes does (KEP-2340).
    pub(crate) async fn newest(
        &self,
        resource: &dyn AnyResource,
        selection: &Selection,
        limit: usize,
    ) -> Result<Page, ApiError> {
        match self.cache.catch_up(resource, self.store.revision()).await {
            Ok(()) => self.page_of_cache(resource, selection, limit),
            Err(error) if is_too_large(&error) => {
                self.page_of_store(resource, selection, None, self.store.revision(), limit)
            }
            Err(error) => Err(error),
        }
    }

    fn page_of_cache(&self, resource: &dyn AnyResource, selection: &Selection, limit: usize) -> Result<Page, ApiError> {
        let Listed { items, rest, revision } = self.cache.list(resource, selection, limit)?;
        let next = match items.last() {
            Some(last) if rest > 0 => Some(Continue {
                revision,
                key: last.key.clone(),
            }),
            _ => None,
        };
        let remaining = (rest > 0 && selection.is_everything()).then_some(rest);
        Ok(Page {
            items,
            revision,
            next,
            remaining,
        })
    }

    /// A page as of a revision of the past: out of the store, whose history goes back to the last compaction.
    fn page_of_store(
        &self,
        resource: &dyn AnyResource,
        selection: &Selection,
        mut after: Option<String>,
        revision: Revision,
        limit: usize,
    ) -> Result<Page, ApiError> {
        let prefix = storage::namespace_prefix(resource, &selection.namespace);
        let mut items: Vec<Arc<Cached>> = Vec::new();
        loop {
            let chunk = if limit > 0 && selection.is_everything() {
                limit.min(PAGE_CHUNK)
            } else {
                PAGE_CHUNK
            };
            let mut range = Range::prefix(&prefix).at(revision).limit(chunk);
            if let Some(after) = &after {
                range = range.after(after.as_str());
            }
            let result = self
                .store
                .range(range)
                .map_err(|error| range_failed(&error, revision))?;
            let indexed = self.cache.index(resource, &result.items)?;
            for (position, (kv, object)) in result.items.iter().zip(indexed).enumerate() {
                if selection.matches(&object) {
                    items.push(object);
                }
                let remaining = result.remaining + result.items.len() - position - 1;
                if limit > 0 && items.len() == limit && remaining > 0 {
                    let last = result.items.last().filter(|_| chunk > limit && mutant::active("O100"));
                    let kv = last.unwrap_or(kv);
                    return Ok(Page {
                        items,
                        revision,
                        next: Some(Continue {
                            revision,
                            key: kv.key.to_string(),
                        }),
                        remaining: selection.is_everything().then_some(remaining),
                    });
                }
            }
            match result.items.last() {
                Some(last) if result.more => after = Some(last.key.to_string()),
                _ => {
                    return Ok(Page {
                        items,
                        revision,
                        next: None,
                        remaining: None,
                    });
                }
            }
        }
    }

    /// Answers a watch.
    pub(crate) async fn watch(&self, path: &ResourcePath, query: &Query, shape: Shape) -> Result<Response, ApiError> {
        let selection = Selection::of(path, query)?;
        check_options(query, true)?;
        let include = match shape {
            Shape::Table(_) => include(query)?,
            _ => table::Include::Metadata,
        };
        let version = query.number("resourceVersion")?;
        let bookmarks = query.is_set("allowWatchBookmarks");
        let asked = query.flag("sendInitialEvents");
        // Without a version, or with 0, a watch begins with the state there is, unless the client says otherwise.
        let is_resumed = version.is_some_and(|version| version > 0);
        let initial_events = asked.unwrap_or(!is_resumed);
        let after = version.filter(|_| is_resumed && !initial_events);
        let timeout = match query.number("timeoutSeconds")? {
            Some(seconds) if seconds > 0 => Duration::from_secs(seconds.min(24 * 3600)),
            _ => self.random.jitter(WATCH_LIMIT, 1.0),
        };
        // No version asks for the newest state, 0 for any; who has seen a revision elsewhere may see no older one here.
        let fresh = version.unwrap_or_else(|| self.store.revision());
        self.cache.catch_up(path.resource, fresh).await?;
        let (queue, initial, revision) = match self.cache.watch(path.resource, selection, after, initial_events) {
            Ok(watch) => watch,
            Err(error) if error.code() == 410 => return Ok(stream_response(watch::refused(&error))),
            Err(error) => return Err(error),
        };
        Ok(stream_response(watch::body(Watch {
            cache: self.cache.clone(),
            resource: path.resource,
            queue,
            initial,
            initial_end: (asked == Some(true) && bookmarks).then_some(revision),
            shape,
            include,
            bookmarks,
            until: Instant::now() + timeout,
        })))
    }
}

fn stream_response(body: Body) -> Response {
    let mut response = http::Response::new(body);
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn range_failed(error: &RangeError, revision: Revision) -> ApiError {
    match error {
        RangeError::Compacted { .. } => ApiError::expired("The resourceVersion for the provided list is too old."),
        RangeError::Future { current } => too_large_version(revision, *current),
    }
}

/// 410 for a page of a state that is forgotten, with a token for who is content with the rest of the newest one.
fn too_old_to_go_on(key: String) -> ApiError {
    let mut error = ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    error.0.metadata.continue_ = Continue { revision: 0, key }.token().ok();
    error
}

/// 422 for options that contradict each other, as `ValidateListOptions` of apimachinery finds them.
fn check_options(query: &Query, watch: bool) -> Result<(), ApiError> {
    const FIELD: &str = "resourceVersionMatch";
    let mut faults = Vec::new();
    let mut forbid = |field: &str, why: &str| faults.push(field::Error::forbidden(field, why));
    let found = query.get(FIELD);
    let initial = query.flag("sendInitialEvents").is_some();
    let known: &[&str] = if watch {
        &["NotOlderThan"]
    } else {
        &["Exact", "NotOlderThan", ""]
    };
    if watch && initial && found != Some("NotOlderThan") {
        forbid(
            FIELD,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        );
    }
    if !watch && initial {
        forbid("sendInitialEvents", "sendInitialEvents is forbidden for list");
    }
    if let Some(found) = found {
        if watch && !initial {
            forbid(
                FIELD,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        if !watch && query.get("resourceVersion").is_none() {
            forbid(
                FIELD,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            );
        }
        if query.get("continue").is_some() {
            forbid(FIELD, "resourceVersionMatch is forbidden when continue is provided");
        }
        if found == "Exact" && !watch && query.get("resourceVersion") == Some("0") {
            forbid(
                FIELD,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            );
        }
        if !known.contains(&found) {
            faults.push(field::Error::not_supported(FIELD, found, known));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid("ListOptions.meta.k8s.io", "", &faults))
}

/// How much of each object rides along in a table's rows.
fn include(query: &Query) -> Result<table::Include, ApiError> {
    match query.get("includeObject") {
        None | Some("Metadata") => Ok(table::Include::Metadata),
        Some("None") => Ok(table::Include::None),
        Some("Object") => Ok(table::Include::Object),
        Some(other) => Err(ApiError::bad_request(format!(
            "unrecognized includeObject value: {other:?}"
        ))),
    }
}

/// A list: the objects' own bytes between a head and a tail.
fn list_body(resource: &dyn AnyResource, meta: &Value, items: &[Arc<Cached>]) -> Bytes {
    let info = resource.info();
    let size: usize = items.iter().map(|item| item.bytes.len() + 1).sum();
    let mut body = BytesMut::with_capacity(size + 256);
    let head = format!(
        "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{meta},\"items\":[",
        info.kind,
        info.api_version()
    );
    body.put_slice(head.as_bytes());
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            body.put_u8(b',');
        }
        body.put_slice(&item.bytes);
    }
    body.put_slice(b"]}");
    body.freeze()
}

/// An object in the shape that the client asked for.
pub fn object_response(
    resource: &dyn AnyResource,
    code: u16,
    bytes: Bytes,
    shape: Shape,
    query: &Query,
) -> Result<Response, ApiError> {
    if shape == Shape::Object {
        return Ok(json_response(code, bytes));
    }
    let object = resource.read(&bytes).map_err(ApiError::internal)?;
    let meta = json!({"resourceVersion": object.meta().resource_version});
    let value = match shape {
        Shape::Table(version) => {
            let one = std::iter::once(object.as_ref());
            table::table(resource, one, meta, include(query)?, version, true, clock::now())
        }
        _ => table::partial_metadata(object.as_ref(), "v1"),
    };
    Ok(json_response(code, Bytes::from(value.to_string())))
}
