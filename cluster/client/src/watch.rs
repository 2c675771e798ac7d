//! A watch as the server sends it: one JSON document a line, read as lines come.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use memchr::memchr;
use orrery_api::message::Body;
use orrery_api::shared;
use orrery_api::status::ApiError;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::Resource;
use crate::error::Error;

/// A step of a watch.
#[derive(Debug)]
pub enum WatchEvent<K> {
    /// The object is new, or begins to match.
    Added(Arc<K>),
    /// The object changed.
    Modified(Arc<K>),
    /// The object is gone, or matches no longer; its last state.
    Deleted(Arc<K>),
    /// Nothing changed up to this revision.
    Bookmark(String),
}

/// The events of a watch; ends when the server ends it.
pub struct WatchStream<K> {
    body: Body,
    /// What has come and was not read. A frame that nothing waited for is not copied.
    unread: Bytes,
    kind: std::marker::PhantomData<fn() -> K>,
}

#[derive(Deserialize)]
struct Line<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: BookmarkMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMeta {
    resource_version: String,
}

impl<K: Resource> WatchStream<K> {
    pub(crate) fn new(body: Body) -> Self {
        WatchStream {
            body,
            unread: Bytes::new(),
            kind: std::marker::PhantomData,
        }
    }

    /// The next event; `None` when the watch has ended. The caller sets the deadline; safe to cancel.
    pub async fn next(&mut self) -> Option<Result<WatchEvent<K>, Error>> {
        // What was looked at is not looked at again when more comes.
        let mut looked_at = 0;
        loop {
            let unlooked = &self.unread[looked_at..];
            if let Some(end) = memchr(b'\n', unlooked) {
                let line = self.unread.split_to(looked_at + end);
                self.unread.advance(1);
                looked_at = 0;
                if line.is_empty() {
                    continue;
                }
                return Some(read(&line));
            }
            looked_at = self.unread.len();
            match self.body.next().await? {
                Ok(frame) if self.unread.is_empty() => self.unread = frame,
                Ok(frame) => {
                    let mut longer = BytesMut::with_capacity(self.unread.len() + frame.len());
                    longer.extend_from_slice(&self.unread);
                    longer.extend_from_slice(&frame);
                    self.unread = longer.freeze();
                }
                Err(error) => return Some(Err(Error::Decode(error.to_string()))),
            }
        }
    }
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::Decode(error.to_string())
}

fn read<K: Resource>(line: &[u8]) -> Result<WatchEvent<K>, Error> {
    if let Some(event) = read_change(line) {
        return Ok(event);
    }
    let line: Line<'_> = serde_json::from_slice(line).map_err(unreadable)?;
    let object = line.object.get();
    let decoded = || shared::decode_part(object.as_bytes()).map_err(unreadable);
    match line.r#type {
        "ADDED" => decoded().map(WatchEvent::Added),
        "MODIFIED" => decoded().map(WatchEvent::Modified),
        "DELETED" => decoded().map(WatchEvent::Deleted),
        "BOOKMARK" => {
            let bookmark: Bookmark = serde_json::from_str(object).map_err(unreadable)?;
            Ok(WatchEvent::Bookmark(bookmark.metadata.resource_version))
        }
        "ERROR" => {
            let status: Status = serde_json::from_str(object).map_err(unreadable)?;
            Err(Error::Api(ApiError(Box::new(status))))
        }
        other => Err(Error::Decode(format!("unknown watch event {other:?}"))),
    }
}

/// Reads the line of a change as every server writes it. `None` for any other line, and for one that is not what it
/// looks like: what lies between the frame's first and last byte must be an object by itself.
fn read_change<K: Resource>(line: &[u8]) -> Option<WatchEvent<K>> {
    let rest = line.strip_prefix(br#"{"type":""#)?.strip_suffix(b"}")?;
    let end = memchr(b'"', rest)?;
    let (kind, rest) = rest.split_at(end);
    let object = || shared::decode_part(rest.strip_prefix(br#"","object":"#)?).ok();
    match kind {
        b"ADDED" => object().map(WatchEvent::Added),
        b"MODIFIED" => object().map(WatchEvent::Modified),
        b"DELETED" => object().map(WatchEvent::Deleted),
        _ => None,
    }
}
