//! A small API server of services and slices: lists, watches, nothing else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use orrery_api::message::{Body, Direct, Identity, Request, Response, Service};
use orrery_client::Client;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::broadcast;

/// What the server holds.
pub struct Api {
    state: Mutex<State>,
    events: broadcast::Sender<(&'static str, String)>,
    /// While set, slices cannot be listed.
    pub slices_fail: AtomicBool,
}

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<(&'static str, String), Value>,
}

/// The last word of the path of slices.
pub const SLICES: &str = "endpointslices";
/// The last word of the path of services.
pub const SERVICES: &str = "services";

impl Api {
    pub fn new() -> Arc<Self> {
        let (events, _) = broadcast::channel(100);
        Arc::new(Api {
            state: Mutex::default(),
            events,
            slices_fail: AtomicBool::new(false),
        })
    }

    pub fn client(self: &Arc<Self>) -> Client {
        let identity = Identity::node("here");
        Client::new(Arc::new(Direct::new(self.clone(), identity)), "test")
    }

    /// Creates or replaces an object.
    pub fn put(&self, kind: &'static str, name: &str, object: &impl Serialize) {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        let mut object = serde_json::to_value(object).unwrap();
        object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        object["metadata"]["uid"] = json!(name);
        let is_new = state.objects.insert((kind, name.to_string()), object.clone()).is_none();
        self.tell(kind, if is_new { "ADDED" } else { "MODIFIED" }, &object);
    }

    pub fn delete(&self, kind: &'static str, name: &str) {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        if let Some(mut object) = state.objects.remove(&(kind, name.to_string())) {
            object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
            self.tell(kind, "DELETED", &object);
        }
    }

    fn tell(&self, kind: &'static str, event: &str, object: &Value) {
        let _ = self
            .events
            .send((kind, format!("{}\n", json!({ "type": event, "object": object }))));
    }

    fn list(&self, kind: &'static str) -> Value {
        let state = self.state.lock().unwrap();
        let items: Vec<_> = state
            .objects
            .iter()
            .filter(|((of, _), _)| *of == kind)
            .map(|(_, object)| object)
            .collect();
        json!({ "metadata": { "resourceVersion": state.revision.to_string() }, "items": items })
    }

    /// The events after `revision`, for ever. What was missed between list and watch is told first.
    fn watch(&self, kind: &'static str, revision: u64) -> Body {
        let state = self.state.lock().unwrap();
        let receiver = self.events.subscribe();
        let missed = state.objects.iter().filter(|((of, _), object)| {
            *of == kind
                && object["metadata"]["resourceVersion"]
                    .as_str()
                    .unwrap()
                    .parse::<u64>()
                    .unwrap()
                    > revision
        });
        let missed: String = missed
            .map(|(_, object)| format!("{}\n", json!({ "type": "ADDED", "object": object })))
            .collect();
        let later = futures_util::stream::unfold(receiver, move |mut receiver| async move {
            loop {
                let (of, line) = receiver.recv().await.ok()?;
                if of == kind {
                    return Some((Ok(Bytes::from(line)), receiver));
                }
            }
        });
        let first = futures_util::stream::iter([Ok(Bytes::from(missed))]);
        Body::stream(futures_util::StreamExt::chain(first, later))
    }
}

#[async_trait]
impl Service for Api {
    async fn call(&self, request: Request) -> Response {
        let kind = if request.uri().path().ends_with(SLICES) {
            SLICES
        } else {
            SERVICES
        };
        if kind == SLICES && self.slices_fail.load(Ordering::Relaxed) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        }
        let query = request.uri().query().unwrap_or_default();
        let revision = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        if query.contains("watch=") {
            return Response::new(self.watch(kind, revision.and_then(|text| text.parse().ok()).unwrap_or(0)));
        }
        Response::new(Body::Full(Bytes::from(self.list(kind).to_string())))
    }
}
