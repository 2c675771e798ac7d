//! Reading: one object, lists (whole or paged, fresh or from any time), watches.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderValue;
use orrery_api::clock;
use orrery_api::message::{Body, Response};
use orrery_api::status::ApiError;
use orrery_store::{Range, RangeError, Revision};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cache::Cached;
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

/// Where a paged list goes on: after `key`, at `revision`.
#[derive(Serialize, Deserialize)]
struct Continue {
    revision: Revision,
    key: String,
}

/// A page of a list.
struct Page {
    items: Vec<Arc<Cached>>,
    revision: Revision,
    next: Option<Continue>,
    remaining: Option<usize>,
}

impl ApiServer {
    /// Answers a GET of one object.
    pub(crate) async fn get(&self, path: &ResourcePath, query: &Query, shape: Shape) -> Result<Response, ApiError> {
        if let Some(revision) = query.number("resourceVersion")? {
            self.cache.catch_up(revision).await?;
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
        let page = self.page(path.resource, &selection, query).await?;
        let mut meta = json!({"resourceVersion": page.revision.to_string()});
        if let Some(next) = &page.next {
            let token = serde_json::to_vec(next).map_err(ApiError::internal)?;
            meta["continue"] = json!(URL_SAFE_NO_PAD.encode(token));
        }
        if let Some(remaining) = page.remaining {
            meta["remainingItemCount"] = json!(remaining);
        }
        let body = match shape {
            Shape::Object => list_body(path.resource, &meta, &page.items),
            shape => {
                let objects: Vec<Box<dyn AnyObject>> = page
                    .items
                    .iter()
                    .map(|item| path.resource.decode(&item.bytes).map_err(ApiError::internal))
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
            return self.page_of_store(resource, selection, Some(start.key), start.revision, limit);
        }
        if let (Some(revision), Some("Exact")) = (version, query.get("resourceVersionMatch")) {
            self.cache.catch_up(revision).await?;
            return self.page_of_store(resource, selection, None, revision, limit);
        }
        // No version asks for the newest state, 0 for any, another for one at least as new.
        self.cache
            .catch_up(version.unwrap_or_else(|| self.store.revision()))
            .await?;
        let listed = self.cache.list(resource, selection)?;
        let mut items = listed.items;
        let rest = if limit > 0 && items.len() > limit {
            items.len() - limit
        } else {
            0
        };
        if rest > 0 {
            items.truncate(limit);
        }
        let next = match items.last() {
            Some(last) if rest > 0 => Some(Continue {
                revision: listed.revision,
                key: last.key.clone(),
            }),
            _ => None,
        };
        let remaining = (rest > 0 && selection.is_everything()).then_some(rest);
        Ok(Page {
            items,
            revision: listed.revision,
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
            let mut range = Range::prefix(&prefix).at(revision).limit(PAGE_CHUNK);
            if let Some(after) = &after {
                range = range.after(after.as_str());
            }
            let result = self.store.range(range).map_err(|error| range_failed(&error))?;
            for (position, kv) in result.items.iter().enumerate() {
                let cached = Cached::read(resource, &kv.value, kv.mod_revision).map_err(ApiError::internal)?;
                if selection.matches(&cached) {
                    items.push(Arc::new(cached));
                }
                let remaining = result.remaining + result.items.len() - position - 1;
                if limit > 0 && items.len() == limit && remaining > 0 {
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
        let version = query.number("resourceVersion")?;
        let initial_events = query.is_set("sendInitialEvents");
        // Without a version, or with 0, a watch begins with the state there is.
        let after = version.filter(|version| *version > 0 && !initial_events);
        let timeout = match query.number("timeoutSeconds")? {
            Some(seconds) if seconds > 0 => Duration::from_secs(seconds.min(24 * 3600)),
            _ => self.random.jitter(WATCH_LIMIT, 1.0),
        };
        // The state must include everything acknowledged so far, and whatever revision the client has seen elsewhere.
        self.cache
            .catch_up(
                version
                    .unwrap_or(0)
                    .max(if after.is_none() { self.store.revision() } else { 0 }),
            )
            .await?;
        let (queue, initial, revision) = match self.cache.watch(path.resource, selection, after) {
            Ok(watch) => watch,
            Err(error) if error.code() == 410 => return Ok(stream_response(watch::refused(&error))),
            Err(error) => return Err(error),
        };
        Ok(stream_response(watch::body(Watch {
            cache: self.cache.clone(),
            resource: path.resource,
            queue,
            initial,
            initial_end: initial_events.then_some(revision),
            shape,
            bookmarks: query.is_set("allowWatchBookmarks"),
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

fn range_failed(error: &RangeError) -> ApiError {
    match error {
        RangeError::Compacted { .. } => ApiError::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
        ),
        other => ApiError::timeout(other.to_string()),
    }
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
    let object = resource.decode(&bytes).map_err(ApiError::internal)?;
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
