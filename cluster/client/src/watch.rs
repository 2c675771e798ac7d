//! A watch as the server sends it: one JSON document a line, read as lines come.

use bytes::{Buf, BytesMut};
use futures_util::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use orrery_api::message::Body;
use orrery_api::status::ApiError;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::Resource;
use crate::error::Error;

/// A step of a watch.
#[derive(Debug)]
pub enum WatchEvent<K> {
    /// The object is new, or begins to match.
    Added(K),
    /// The object changed.
    Modified(K),
    /// The object is gone, or matches no longer; its last state.
    Deleted(K),
    /// Nothing changed up to this revision.
    Bookmark(String),
}

/// The events of a watch; ends when the server ends it.
pub struct WatchStream<K> {
    body: Body,
    buffer: BytesMut,
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
            buffer: BytesMut::new(),
            kind: std::marker::PhantomData,
        }
    }

    /// The next event; `None` when the watch has ended. The caller sets the deadline; safe to cancel.
    pub async fn next(&mut self) -> Option<Result<WatchEvent<K>, Error>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end).freeze();
                self.buffer.advance(1);
                if line.is_empty() {
                    continue;
                }
                return Some(read(&line));
            }
            match self.body.next().await? {
                Ok(frame) => self.buffer.extend_from_slice(&frame),
                Err(error) => return Some(Err(Error::Decode(error.to_string()))),
            }
        }
    }
}

fn read<K: Resource>(line: &[u8]) -> Result<WatchEvent<K>, Error> {
    let unreadable = |error: serde_json::Error| Error::Decode(error.to_string());
    let line: Line<'_> = serde_json::from_slice(line).map_err(unreadable)?;
    let object = line.object.get();
    match line.r#type {
        "ADDED" => serde_json::from_str(object).map(WatchEvent::Added).map_err(unreadable),
        "MODIFIED" => serde_json::from_str(object)
            .map(WatchEvent::Modified)
            .map_err(unreadable),
        "DELETED" => serde_json::from_str(object)
            .map(WatchEvent::Deleted)
            .map_err(unreadable),
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
