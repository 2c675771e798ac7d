//! A server in this process, and a client that speaks raw HTTP messages to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Method};
use orrery_api::message::{Body, Direct, Identity, Request, Service, Transport};
use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use orrery_apiserver::feed::MakeFeed;
use orrery_apiserver::{ApiServer, Kinds, Options};
use orrery_store::{MemoryDisk, Store};
use serde_json::{Value, json};

/// A server that runs until it is dropped.
pub struct World {
    pub store: Store,
    pub server: Arc<ApiServer>,
    pub disk: Arc<MemoryDisk>,
    _tasks: TaskGroup,
}

/// An answer, read to its end.
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Answer {
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    pub fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    pub fn version(&self) -> u64 {
        let version = self.body["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        version.parse().expect("a revision")
    }

    pub fn warnings(&self) -> Vec<String> {
        let warnings = self.headers.get_all("warning").iter();
        warnings
            .map(|one| String::from_utf8_lossy(one.as_bytes()).into_owned())
            .collect()
    }

    pub fn names(&self) -> Vec<&str> {
        let items = self.body["items"].as_array().expect("a list");
        items
            .iter()
            .filter_map(|item| item["metadata"]["name"].as_str())
            .collect()
    }

    /// Asserts the code, and shows the body when it is another.
    #[track_caller]
    pub fn is(self, code: u16) -> Answer {
        assert_eq!(self.code, code, "{}", self.text);
        self
    }
}

/// Begins a test over an empty disk.
pub async fn world() -> World {
    World::on(Arc::new(MemoryDisk::new())).await
}

impl World {
    pub async fn on(disk: Arc<MemoryDisk>) -> World {
        let store = Store::open(disk.clone(), Default::default())
            .await
            .expect("the disk is sound");
        World::over(store, disk, Options::default()).await
    }

    /// A server that serves custom kinds, too.
    pub async fn serving(kinds: Kinds) -> World {
        let disk = Arc::new(MemoryDisk::new());
        let store = Store::open(disk.clone(), Default::default())
            .await
            .expect("the disk is sound");
        let options = Options {
            kinds,
            ..Options::default()
        };
        World::over(store, disk, options).await
    }

    /// Another server over the same store, with a feed of its own.
    pub async fn twin(&self, feed: MakeFeed) -> World {
        let options = Options {
            feed,
            ..Options::default()
        };
        World::over(self.store.clone(), self.disk.clone(), options).await
    }

    async fn over(store: Store, disk: Arc<MemoryDisk>, options: Options) -> World {
        let server = ApiServer::new(store.clone(), options, Random::from_number(7));
        let tasks = TaskGroup::new();
        let running = server.clone();
        tasks.spawn(async move { running.run().await });
        while !server.is_ready() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        World {
            store,
            server,
            disk,
            _tasks: tasks,
        }
    }

    pub fn direct(&self, identity: Identity) -> Direct {
        Direct::new(self.server.clone(), identity)
    }

    /// Ends the server as a stop would, and begins another on the same disk.
    pub async fn restart(self) -> World {
        let disk = self.disk.clone();
        self.store.close().await;
        drop(self);
        World::on(disk).await
    }

    pub async fn send(&self, identity: Option<Identity>, request: Request) -> http::Response<Body> {
        match identity {
            Some(identity) => self
                .direct(identity)
                .send(request)
                .await
                .expect("answers never fail here"),
            None => self.server.call(request).await,
        }
    }

    /// Sends as `identity` and reads the answer.
    pub async fn ask(&self, identity: Option<Identity>, request: Request) -> Answer {
        let response = self.send(identity, request).await;
        let (parts, body) = response.into_parts();
        let bytes = tokio::time::timeout(Duration::from_secs(20), body.collect()).await;
        let bytes = bytes.expect("an answer ends").expect("no body breaks off here");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_str(&text).unwrap_or_default(),
            text,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(admin(), request(Method::GET, path, "", "")).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(
            admin(),
            request(Method::POST, path, "application/json", &body.to_string()),
        )
        .await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask(
            admin(),
            request(Method::PUT, path, "application/json", &body.to_string()),
        )
        .await
    }

    /// Patches; `kind` is `merge`, `json` or `strategic`.
    pub async fn patch(&self, kind: &str, path: &str, body: Value) -> Answer {
        let media = match kind {
            "json" => "application/json-patch+json",
            "merge" => "application/merge-patch+json",
            _ => "application/strategic-merge-patch+json",
        };
        self.ask(admin(), request(Method::PATCH, path, media, &body.to_string()))
            .await
    }

    pub async fn delete(&self, path: &str, options: Value) -> Answer {
        let body = if options.is_null() {
            String::new()
        } else {
            options.to_string()
        };
        self.ask(admin(), request(Method::DELETE, path, "application/json", &body))
            .await
    }

    /// Opens a watch.
    pub async fn watch(&self, path: &str) -> Lines {
        self.watch_as("application/json", path).await
    }

    /// Opens a watch whose objects have the shape that `accept` asks for.
    pub async fn watch_as(&self, accept: &'static str, path: &str) -> Lines {
        let mut asked = request(Method::GET, path, "", "");
        asked
            .headers_mut()
            .insert("accept", http::HeaderValue::from_static(accept));
        let response = self.send(admin(), asked).await;
        assert_eq!(response.status(), 200);
        Lines {
            body: response.into_body(),
            buffer: String::new(),
        }
    }
}

/// The lines of a watch.
pub struct Lines {
    body: Body,
    buffer: String,
}

impl Lines {
    /// The next event; `None` at the end of the watch.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.buffer.split_once('\n') {
                let event = serde_json::from_str(line).expect("a line is an event");
                self.buffer = rest.to_owned();
                return Some(event);
            }
            let frame = self.body.next().await?.expect("no watch breaks off here");
            self.buffer.push_str(std::str::from_utf8(&frame).expect("JSON is text"));
        }
    }

    /// The next event as `TYPE name`.
    pub async fn brief(&mut self) -> String {
        let next = tokio::time::timeout(Duration::from_secs(5), self.next()).await;
        match next {
            Ok(Some(event)) => format!(
                "{} {}",
                event["type"].as_str().unwrap_or_default(),
                event["object"]["metadata"]["name"].as_str().unwrap_or_default()
            ),
            Ok(None) => "end".to_owned(),
            Err(_) => "silence".to_owned(),
        }
    }
}

/// Somebody who may do everything.
pub fn admin() -> Option<Identity> {
    Some(Identity::new("admin", &["system:masters"]))
}

pub fn request(method: Method, path: &str, content_type: &str, body: &str) -> Request {
    let mut builder = http::Request::builder().method(method).uri(path);
    if !content_type.is_empty() {
        builder = builder.header("content-type", content_type);
    }
    builder
        .body(Bytes::from(body.to_owned()))
        .expect("the test's own request is sound")
}

pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
pub const SERVICES: &str = "/api/v1/namespaces/default/services";
pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

pub fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

pub fn pod(name: &str, node: &str) -> Value {
    let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    if !node.is_empty() {
        pod["spec"]["nodeName"] = json!(node);
    }
    pod
}

pub fn deployment(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }})
}

pub fn service(name: &str, kind: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]}})
}
