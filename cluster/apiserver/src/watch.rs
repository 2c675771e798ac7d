//! A watch as its client sees it: one JSON line an event, bookmarks in between, an end after a while.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use orrery_api::clock;
use orrery_api::message::{Body, Frame};
use orrery_api::status::ApiError;
use orrery_api::task::Alarm;
use orrery_store::Revision;
use serde_json::json;
use tokio::time::Instant;

use crate::cache::{CacheEvent, Cached, WatchCache, restamped};
use crate::request::Shape;
use crate::resource::AnyResource;
use crate::table::{self, Include};
use crate::watchers::{Seen, WatchQueue};

/// How often a client hears that nothing happened, so that it can resume from there and knows that we live: a little
/// more often than kube-apiserver's every minute or so, since our clients give a watch up when it is silent.
pub const BOOKMARK_PERIOD: Duration = Duration::from_secs(50);

/// Everything a watch needs for its life.
pub struct Watch {
    /// Where bookmarks come from.
    pub cache: Arc<WatchCache>,
    /// The kind.
    pub resource: &'static dyn AnyResource,
    /// The events.
    pub queue: Arc<WatchQueue>,
    /// Objects to show as added first.
    pub initial: Vec<Arc<Cached>>,
    /// Whether to mark the end of the initial objects, and their revision.
    pub initial_end: Option<Revision>,
    /// How objects are shown.
    pub shape: Shape,
    /// How much of each object rides along in a table's rows.
    pub include: Include,
    /// Whether the client understands bookmarks.
    pub bookmarks: bool,
    /// When the server ends the watch.
    pub until: Instant,
}

struct State {
    watch: Watch,
    lines: VecDeque<Bytes>,
    alarm: Alarm,
    next_bookmark: Instant,
    first_table: bool,
}

/// The watch as a body.
pub fn body(mut watch: Watch) -> Body {
    let next_bookmark = Instant::now() + BOOKMARK_PERIOD;
    let initial = std::mem::take(&mut watch.initial);
    let alarm = Alarm::at(next_bookmark.min(watch.until));
    let mut state = State {
        alarm,
        next_bookmark,
        lines: VecDeque::new(),
        first_table: true,
        watch,
    };
    for object in initial {
        let line = state.line(Seen::Added, &object);
        state.lines.push_back(line);
    }
    if let Some(revision) = state.watch.initial_end {
        let line = state.bookmark(revision, true);
        state.lines.push_back(line);
    }
    Body::stream(stream::unfold(state, |mut state| async move {
        Some((state.next().await?, state))
    }))
}

/// A watch that cannot begin: its only event says why.
pub fn refused(error: &ApiError) -> Body {
    let mut line = BytesMut::from(&b"{\"type\":\"ERROR\",\"object\":"[..]);
    line.put_slice(&error.to_json());
    line.put_slice(b"}\n");
    Body::Full(line.freeze())
}

impl State {
    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if !self.lines.is_empty() {
                return Some(Ok(self.take_lines()));
            }
            // Looked at here too: events that never stop must not keep a watch beyond its end.
            if Instant::now() >= self.watch.until {
                return None;
            }
            tokio::select! {
                biased;
                events = self.watch.queue.next() => {
                    for (seen, event) in events? {
                        let line = self.event_line(seen, &event);
                        self.lines.push_back(line);
                    }
                }
                () = self.alarm.passed() => {
                    let now = Instant::now();
                    if now >= self.watch.until {
                        return None;
                    }
                    self.next_bookmark = now + BOOKMARK_PERIOD;
                    self.alarm.reset(self.next_bookmark.min(self.watch.until));
                    let progress = self.watch.cache.progress(self.watch.resource, &self.watch.queue);
                    if let Some(revision) = progress.filter(|_| self.watch.bookmarks) {
                        let line = self.bookmark(revision, false);
                        self.lines.push_back(line);
                    }
                }
            }
        }
    }

    fn take_lines(&mut self) -> Bytes {
        if self.lines.len() == 1 {
            return self.lines.pop_front().unwrap_or_default();
        }
        let mut all = BytesMut::with_capacity(self.lines.iter().map(Bytes::len).sum());
        for line in self.lines.drain(..) {
            all.put_slice(&line);
        }
        all.freeze()
    }

    fn event_line(&mut self, seen: Seen, event: &CacheEvent) -> Bytes {
        let resource = self.watch.resource;
        if self.watch.shape == Shape::Object {
            return event.line(seen, || object_line(seen, &shown(resource, seen, event)));
        }
        self.line(seen, &shown(resource, seen, event))
    }

    fn line(&mut self, seen: Seen, object: &Cached) -> Bytes {
        match self.watch.shape {
            Shape::Object => object_line(seen, object),
            shape => {
                let headers = std::mem::replace(&mut self.first_table, false);
                match self.watch.resource.read(&object.bytes) {
                    Ok(typed) => {
                        let value = match shape {
                            Shape::Table(version) => table::of_one(
                                self.watch.resource,
                                typed.as_ref(),
                                self.watch.include,
                                version,
                                headers,
                                clock::now(),
                            ),
                            _ => table::partial_metadata(typed.as_ref(), "v1"),
                        };
                        let line = json!({"type": title(seen), "object": value});
                        Bytes::from(format!("{line}\n"))
                    }
                    Err(_) => object_line(seen, object),
                }
            }
        }
    }

    /// How far the watch has come, in the shape of its objects.
    fn bookmark(&self, revision: Revision, initial_end: bool) -> Bytes {
        let info = self.watch.resource.info();
        match self.watch.shape {
            Shape::Object => object_bookmark(info.kind, &info.api_version(), revision, initial_end),
            Shape::Metadata => object_bookmark("PartialObjectMetadata", "meta.k8s.io/v1", revision, initial_end),
            Shape::Table(version) => {
                // The columns are left to the first table with a row.
                let value = table::empty(self.watch.resource, revision, version);
                Bytes::from(format!("{}\n", json!({"type": "BOOKMARK", "object": value})))
            }
        }
    }
}

/// The object as an event shows it. One that matches no longer shows its state while it did, at the event's revision.
fn shown(resource: &dyn AnyResource, seen: Seen, event: &CacheEvent) -> Arc<Cached> {
    match (&event.previous, seen, event.deleted) {
        (Some(previous), Seen::Deleted, false) => restamped(resource, previous, event.revision),
        _ => event.object.clone(),
    }
}

fn title(seen: Seen) -> &'static str {
    match seen {
        Seen::Added => "ADDED",
        Seen::Modified => "MODIFIED",
        Seen::Deleted => "DELETED",
    }
}

fn object_line(seen: Seen, object: &Cached) -> Bytes {
    let mut line = BytesMut::with_capacity(object.bytes.len() + 40);
    line.put_slice(b"{\"type\":\"");
    line.put_slice(title(seen).as_bytes());
    line.put_slice(b"\",\"object\":");
    line.put_slice(&object.bytes);
    line.put_slice(b"}\n");
    line.freeze()
}

fn object_bookmark(kind: &str, version: &str, revision: Revision, initial_end: bool) -> Bytes {
    let end = if initial_end {
        r#","annotations":{"k8s.io/initial-events-end":"true"}"#
    } else {
        ""
    };
    // Written by hand, since there are many: each watch has one every half minute.
    Bytes::from(format!(
        concat!(
            r#"{{"type":"BOOKMARK","object":{{"kind":"{}","apiVersion":"{}","metadata":"#,
            r#"{{"resourceVersion":"{}","creationTimestamp":null{}}}}}}}"#,
            "\n"
        ),
        kind, version, revision, end
    ))
}
