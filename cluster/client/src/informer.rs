//! Keeps a [`Cache`] equal to the server: list, watch, bookmarks, resume, relist when history is gone.
//!
//! A broken watch is resumed from the last revision seen, never relisted from an older one: a list asks for the newest
//! state, so that the cache's revision never falls. A server that vanished sends no reset: a watch that is silent for
//! longer than bookmarks are apart is given up.

use std::time::Duration;

use orrery_api::random::Random;
use orrery_api::task::Alarm;
use orrery_api::{log, mutant};
use tokio::time::{Instant, sleep};

use crate::api::{Api, ListParams, Resource};
use crate::cache::{Cache, Change};
use crate::client::Client;
use crate::error::Error;
use crate::watch::WatchEvent;

/// A watch without an event or bookmark for so long is dead; the server sends bookmarks every 50 s.
const SILENCE_LIMIT: Duration = Duration::from_secs(75);
/// The first pause after a failure; doubled up to [`PAUSE_LIMIT`].
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_LIMIT: Duration = Duration::from_secs(10);

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

/// Keeps a cache of one kind and tells of its changes.
pub struct Informer<K> {
    api: Api<K>,
    params: ListParams,
    cache: Cache<K>,
    handlers: Vec<Handler<K>>,
    random: Random,
}

/// How a watch ended.
enum Ended {
    /// Resume it where it was.
    Resume,
    /// Resume it after a pause: it failed before it said anything.
    Failed(String),
    /// Its history is gone: list again.
    Expired,
}

impl<K: Resource> Informer<K> {
    /// An informer of all namespaces.
    pub fn new(client: &Client, random: &Random) -> Self {
        Informer {
            api: Api::new(client),
            params: ListParams::default(),
            cache: Cache::new(),
            handlers: Vec::new(),
            random: random.stream(&format!("informer/{}", K::URL_PATH_SEGMENT)),
        }
    }

    /// Only the objects of `namespace`.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.params.namespace = Some(namespace.to_owned());
        self
    }

    /// Only the objects that match a label selector.
    pub fn labels(mut self, selector: &str) -> Self {
        self.params.labels = Some(selector.to_owned());
        self
    }

    /// Only the objects that match a field selector.
    pub fn fields(mut self, selector: &str) -> Self {
        self.params.fields = Some(selector.to_owned());
        self
    }

    /// Files objects under the values that `function` names, for [`Cache::by_index`].
    pub fn index(self, name: &'static str, function: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) -> Self {
        self.cache.add_index(name, Box::new(function));
        self
    }

    /// Calls `handler` for every change, after the cache has it. It must not wait: it belongs to enqueue.
    pub fn on_change(mut self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) -> Self {
        self.handlers.push(Box::new(handler));
        self
    }

    /// The cache.
    pub fn cache(&self) -> Cache<K> {
        self.cache.clone()
    }

    /// Keeps the cache, for ever.
    pub async fn run(self) {
        let (mut failures, mut expired) = (0, 0);
        loop {
            if let Err(error) = self.list().await {
                self.pause(&mut failures, "list", &error.to_string()).await;
                continue;
            }
            loop {
                match self.watch(&mut expired).await {
                    Ended::Resume if mutant::is_on("B02") => break,
                    Ended::Resume => failures = 0,
                    Ended::Failed(why) => self.pause(&mut failures, "watch", &why).await,
                    Ended::Expired if expired == 0 => {
                        expired = 1;
                        break;
                    }
                    // A server that lists what it cannot watch from is not to be pressed.
                    Ended::Expired => {
                        self.pause(&mut expired, "watch", "what was listed is too old").await;
                        break;
                    }
                }
            }
        }
    }

    async fn list(&self) -> Result<(), Error> {
        let mut params = self.params.clone();
        // Any state will do, says version 0: an API server that lags shows what was long ago.
        if mutant::active(if self.cache.has_synced() { "B02" } else { "B01" }) {
            params.resource_version = Some("0".to_owned());
        }
        let list = self.api.list(&params).await?;
        let revision = list.resource_version.parse().unwrap_or(0);
        if revision < self.cache.revision() && !mutant::is_on("B02") {
            // Taking it would let the cache travel back in time; another server may be ahead of this one.
            return Err(Error::Decode(format!(
                "the list is of revision {revision}, older than the cache"
            )));
        }
        self.tell(&self.cache.replace(list.items, revision));
        // Not before all are told: whoever waits for this reads what they have made of it.
        self.cache.set_synced();
        Ok(())
    }

    /// Watches from where the cache is. Whatever is told shows that its history is not gone: nothing had `expired`.
    async fn watch(&self, expired: &mut u32) -> Ended {
        let mut from = self.cache.revision();
        if mutant::active("O01") {
            from = from.saturating_sub(20).max(1);
        }
        let params = ListParams {
            resource_version: Some(from.to_string()),
            ..self.params.clone()
        };
        // Servers would otherwise see all watches of a component end at the same moment.
        let timeout = self.random.between(300, 600);
        let mut stream = match self.api.watch(&params, timeout).await {
            Ok(stream) => stream,
            Err(error) if error.is_expired() => return Ended::Expired,
            Err(error) => return Ended::Failed(error.to_string()),
        };
        let mut heard = None;
        let mut alarm = Alarm::after(SILENCE_LIMIT);
        loop {
            let next = tokio::select! {
                biased;
                next = stream.next() => next,
                () = alarm.passed() => {
                    let silent_at = heard.map_or(alarm.moment(), |heard| heard + SILENCE_LIMIT);
                    let now = Instant::now();
                    if now < silent_at {
                        alarm.reset(silent_at);
                    } else if mutant::active("O46") {
                        alarm.reset(now + SILENCE_LIMIT);
                    } else {
                        return Ended::Resume;
                    }
                    continue;
                }
            };
            match next {
                Some(Ok(event)) => self.take(event),
                Some(Err(error)) if error.is_expired() => return Ended::Expired,
                Some(Err(error)) if heard.is_none() => return Ended::Failed(error.to_string()),
                None if heard.is_none() => return Ended::Failed("the watch ended at once".to_owned()),
                Some(Err(_)) | None => return Ended::Resume,
            }
            heard = Some(Instant::now());
            *expired = 0;
        }
    }

    fn take(&self, event: WatchEvent<K>) {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => self.tell(&self.cache.apply(object)),
            WatchEvent::Deleted(object) => self.tell(&self.cache.remove(&object)),
            WatchEvent::Bookmark(revision) => self.cache.advance(revision.parse().unwrap_or(0)),
        }
    }

    fn tell(&self, changes: &[Change<K>]) {
        for change in changes {
            for handler in &self.handlers {
                handler(change);
            }
        }
    }

    async fn pause(&self, failures: &mut u32, what: &str, why: &str) {
        if *failures == 2 {
            // The first failures are everyday (a server that restarts); a lasting one is worth a line.
            log::line("informer", format_args!("cannot {what} {}: {why}", K::URL_PATH_SEGMENT));
        }
        let pause = PAUSE.saturating_mul(1 << (*failures).min(10)).min(PAUSE_LIMIT);
        *failures += 1;
        sleep(self.random.jitter(pause, 0.5)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use bytes::Bytes;
    use futures_util::stream;
    use k8s_openapi::api::core::v1::Pod;
    use orrery_api::message::{Body, Request, Response, Transport, TransportError};
    use orrery_api::task::TaskGroup;
    use serde_json::json;

    use super::*;

    /// A server that has one pod, and tells of no change.
    struct OnePod;

    #[async_trait]
    impl Transport for OnePod {
        async fn send(&self, request: Request) -> Result<Response, TransportError> {
            let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let pod = json!({"metadata": {"namespace": "default", "name": "a", "uid": "1", "resourceVersion": "1"}});
            let list = json!({"metadata": {"resourceVersion": "1"}, "items": [pod]});
            Ok(http::Response::new(if watches {
                Body::stream(stream::pending())
            } else {
                Body::Full(Bytes::from(list.to_string()))
            }))
        }
    }

    /// A server that lists, and has forgotten at once what it listed; it counts its lists.
    #[derive(Default)]
    struct Forgetful(AtomicUsize);

    #[async_trait]
    impl Transport for Forgetful {
        async fn send(&self, request: Request) -> Result<Response, TransportError> {
            let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let (code, body) = if watches {
                let status = json!({"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410});
                (http::StatusCode::GONE, status)
            } else {
                self.0.fetch_add(1, Ordering::Relaxed);
                (
                    http::StatusCode::OK,
                    json!({"metadata": {"resourceVersion": "1"}, "items": []}),
                )
            };
            let mut response = http::Response::new(Body::Full(Bytes::from(body.to_string())));
            *response.status_mut() = code;
            Ok(response)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_has_forgotten_what_it_listed_is_not_pressed() {
        let server = Arc::new(Forgetful::default());
        let client = Client::new(server.clone(), "test");
        let informer: Informer<Pod> = Informer::new(&client, &Random::from_number(1));
        let tasks = TaskGroup::new();
        tasks.spawn(informer.run());
        sleep(Duration::from_secs(60)).await;
        let lists = server.0.load(Ordering::Relaxed);
        assert!((5..20).contains(&lists), "{lists} lists in a minute");
    }

    #[tokio::test]
    async fn a_cache_is_filled_when_all_have_been_told_of_its_first_list_and_not_before() {
        let client = Client::new(Arc::new(OnePod), "test");
        let informer: Informer<Pod> = Informer::new(&client, &Random::from_number(1));
        let cache = informer.cache();
        // What the cache said of itself when somebody was told of the pod.
        let told = Arc::new(Mutex::new(Vec::new()));
        let informer = informer.on_change({
            let (cache, told) = (cache.clone(), told.clone());
            move |_| told.lock().expect("not poisoned").push(cache.has_synced())
        });
        let tasks = TaskGroup::new();
        tasks.spawn(informer.run());
        cache.wait_synced().await;
        assert_eq!(*told.lock().expect("not poisoned"), [false]);
    }
}
