//! The recorder: where the world's taps write down what they see, if somebody wants to know.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;

use super::{Event, Request, RuntimeState, What};
use crate::model::{Asked, Seen};

/// Bodies of requests are kept up to so many bytes.
pub const BODY: usize = 8 << 10;

/// Takes events in while it is on; does nothing while it is off.
#[derive(Clone, Default)]
pub struct Recorder(Option<Arc<Mutex<Tape>>>);

#[derive(Default)]
struct Tape {
    events: Vec<Event>,
    /// Nobody wants to know any more.
    closed: bool,
    requests: u64,
    faults: u64,
    /// Runtime events tell of containers by id alone once they run: where, and of which pod.
    places: std::collections::BTreeMap<String, (String, String)>,
}

impl Recorder {
    /// A recorder that records.
    pub fn on() -> Self {
        Recorder(Some(Arc::default()))
    }

    /// Whether it records.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Writes down what happened at `now`, if it records.
    pub fn note(&self, now: Duration, what: impl FnOnce() -> What) {
        self.with(|tape| tape.add(now, what()));
    }

    fn with<R>(&self, change: impl FnOnce(&mut Tape) -> R) -> Option<R> {
        let tape = self.0.as_ref()?;
        Some(change(&mut tape.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Writes down a request; its number.
    pub fn asked(&self, asked: &Asked, uri: &http::Uri, body: &Bytes) -> u64 {
        self.with(|tape| {
            tape.requests += 1;
            let kept = &body[..body.len().min(BODY)];
            let request = Request {
                number: tape.requests,
                client: asked.client.clone(),
                method: asked.method.to_string(),
                uri: uri.to_string(),
                named: if asked.method == http::Method::POST {
                    name_of(body)
                } else {
                    String::new()
                },
                base: asked.base,
                uid: asked.uid.clone(),
                body: String::from_utf8_lossy(kept).into_owned(),
            };
            tape.add(asked.at, What::Asked(request));
            tape.requests
        })
        .unwrap_or(0)
    }

    /// A fault begins to strike; its number.
    pub fn fault_begins(&self, now: Duration, kind: &str) -> u64 {
        self.with(|tape| {
            tape.faults += 1;
            let (fault, kind) = (tape.faults, kind.to_owned());
            let text = String::new();
            tape.add(now, What::FaultBegins { fault, kind, text });
            tape.faults
        })
        .unwrap_or(0)
    }

    /// Takes in a line of the trace. What a fault says of itself directly after its begin is its text.
    pub fn said(&self, now: Duration, actor: &str, line: &str) {
        self.with(|tape| {
            if actor == "fault"
                && let Some(Event {
                    what: What::FaultBegins { text, .. },
                    ..
                }) = tape.events.last_mut()
                && text.is_empty()
            {
                line.clone_into(text);
                return;
            }
            let (actor, text) = (actor.to_owned(), line.to_owned());
            tape.add(now, What::Said { actor, text });
        });
    }

    /// Takes in what the witness is told of, as far as it is no write and no request.
    pub fn seen(&self, now: Duration, seen: &Seen<'_>) {
        self.with(|tape| tape.see(now, seen));
    }

    /// Reads the frames of the watch `stream` as its client gets them; none while nothing is recorded.
    pub fn reader(&self, stream: u64) -> Option<Reader> {
        self.is_on().then(|| Reader {
            recorder: self.clone(),
            stream,
            buffer: BytesMut::new(),
        })
    }

    /// Everything so far. What happens from now on is not kept: a run that does not end may go on behind this.
    pub fn close(&self) -> Vec<Event> {
        self.with(|tape| {
            tape.closed = true;
            std::mem::take(&mut tape.events)
        })
        .unwrap_or_default()
    }
}

impl Tape {
    fn add(&mut self, at: Duration, what: What) {
        if !self.closed {
            self.events.push(Event { at, what });
        }
    }

    fn see(&mut self, now: Duration, seen: &Seen<'_>) {
        match seen {
            Seen::Answered(asked, answered) => self.add(
                now,
                What::Answered {
                    request: asked.number,
                    status: answered.status,
                    revision: answered.revision,
                },
            ),
            Seen::WatchOpened {
                stream,
                client,
                selection,
                from,
                ..
            } => self.add(
                now,
                What::WatchOpened {
                    stream: *stream,
                    client: (*client).to_owned(),
                    resource: selection.resource.to_string(),
                    namespace: selection.namespace.clone(),
                    from: *from,
                },
            ),
            Seen::WatchClosed { stream } => self.add(now, What::WatchClosed { stream: *stream }),
            Seen::SandboxReady {
                machine,
                pod_uid,
                sandbox,
                ..
            } => self.begin(now, machine, pod_uid, sandbox, RuntimeState::SandboxUp),
            Seen::ContainerStarted {
                machine,
                pod_uid,
                container,
                name,
                ..
            } => self.begin(
                now,
                machine,
                pod_uid,
                container,
                RuntimeState::Started((*name).to_owned()),
            ),
            Seen::ContainerStopping { container, .. } => self.go_on(now, container, RuntimeState::Stopping),
            Seen::SandboxGone { sandbox } => self.go_on(now, sandbox, RuntimeState::SandboxDown),
            Seen::ContainerEnded { container, .. } => self.go_on(now, container, RuntimeState::Ended),
            _ => {}
        }
    }

    fn begin(&mut self, now: Duration, machine: &str, pod_uid: &str, id: &str, state: RuntimeState) {
        self.places
            .insert(id.to_owned(), (machine.to_owned(), pod_uid.to_owned()));
        self.go_on(now, id, state);
    }

    fn go_on(&mut self, now: Duration, id: &str, state: RuntimeState) {
        let Some((machine, pod_uid)) = self.places.get(id).cloned() else {
            return;
        };
        let id = id.to_owned();
        self.add(
            now,
            What::Runtime {
                machine,
                pod_uid,
                id,
                state,
            },
        );
    }
}

/// Reads a watch's frames on the client's side.
pub struct Reader {
    recorder: Recorder,
    stream: u64,
    buffer: BytesMut,
}

impl Reader {
    /// Takes in a frame that the client gets now.
    pub fn read(&mut self, now: Duration, bytes: &Bytes) {
        #[derive(Deserialize)]
        struct Line<'a> {
            r#type: &'a str,
            #[serde(default)]
            object: Partial,
        }
        self.buffer.extend_from_slice(bytes);
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line = self.buffer.split_to(end + 1);
            let Ok(line) = serde_json::from_slice::<Line<'_>>(&line) else {
                continue;
            };
            let meta = line.object.metadata;
            self.recorder.note(now, || What::Shown {
                stream: self.stream,
                kind: line.r#type.to_owned(),
                revision: meta.resource_version.parse().unwrap_or(0),
                namespace: meta.namespace,
                name: meta.name,
            });
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Partial {
    metadata: Meta,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    name: String,
    namespace: String,
    resource_version: String,
}

/// The name in an object's metadata; empty if there is none.
fn name_of(body: &[u8]) -> String {
    serde_json::from_slice::<Partial>(body)
        .map(|partial| partial.metadata.name)
        .unwrap_or_default()
}
