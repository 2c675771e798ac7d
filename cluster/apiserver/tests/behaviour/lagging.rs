//! A server whose watch cache is behind its store, beside one whose is not: what is fresh, what may be old, what waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use orrery_apiserver::feed::{Feed, MakeFeed, News};
use orrery_store::{Event, WatchError, Watcher};
use serde_json::json;
use tokio::sync::watch;

use crate::world::*;

/// Holds the changes of config maps back while `held`.
struct Holding {
    watcher: Watcher,
    held: watch::Receiver<bool>,
    waiting: Vec<Arc<Event>>,
    progress: u64,
}

#[async_trait]
impl Feed for Holding {
    async fn next(&mut self) -> Result<News, WatchError> {
        tokio::select! {
            biased;
            events = self.watcher.next() => {
                self.waiting.extend(events?);
                self.progress = self.watcher.progress();
            }
            _ = self.held.changed() => {}
        }
        let held = *self.held.borrow();
        let is_held = |event: &Arc<Event>| held && event.kv.key.starts_with("/registry/configmaps/");
        let (waiting, events) = std::mem::take(&mut self.waiting).into_iter().partition(is_held);
        self.waiting = waiting;
        let first = self.waiting.first();
        let behind = first.map(|event| ("configmaps".to_owned(), event.revision - 1));
        Ok(News {
            events,
            progress: self.progress,
            behind: behind.into_iter().collect::<BTreeMap<_, _>>(),
        })
    }
}

fn holding(held: &watch::Sender<bool>) -> MakeFeed {
    let held = held.subscribe();
    Arc::new(move |watcher| {
        Box::new(Holding {
            watcher,
            held: held.clone(),
            waiting: Vec::new(),
            progress: 0,
        })
    })
}

/// A server, one that lags, and what holds it back from now on.
async fn apart() -> (World, World, watch::Sender<bool>) {
    let first = world().await;
    first.post(CONFIG_MAPS, config_map("old")).await.is(201);
    let held = watch::Sender::new(false);
    let late = first.twin(holding(&held)).await;
    held.send_replace(true);
    first.post(CONFIG_MAPS, config_map("new")).await.is(201);
    (first, late, held)
}

#[tokio::test(start_paused = true)]
async fn a_consistent_list_is_fresh_though_the_cache_is_not() {
    let (first, late, _held) = apart().await;
    let fresh = late.get(CONFIG_MAPS).await.is(200);
    assert_eq!(fresh.names(), ["new", "old"]);
    assert_eq!(fresh.version(), first.store.revision());
    late.get(&format!("{CONFIG_MAPS}/new")).await.is(200);
    let page = late.get(&format!("{CONFIG_MAPS}?limit=1")).await.is(200);
    assert_eq!(page.names(), ["new"]);
    late.delete(CONFIG_MAPS, json!(null)).await.is(200);
    assert_eq!(first.get(CONFIG_MAPS).await.names(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_any_version_may_be_old_and_one_of_a_later_version_is_refused() {
    let (first, late, held) = apart().await;
    let any = late.get(&format!("{CONFIG_MAPS}?resourceVersion=0")).await.is(200);
    assert_eq!(any.names(), ["old"]);
    let now = first.store.revision();
    assert!(any.version() < now);
    for path in [
        format!("{CONFIG_MAPS}?resourceVersion={now}"),
        format!("{CONFIG_MAPS}?resourceVersion={now}&watch=true"),
    ] {
        let refused = late.get(&path).await.is(504);
        assert!(
            refused.message().starts_with("Timeout: Too large resource version"),
            "{}",
            refused.text
        );
        assert_eq!(refused.body["details"]["retryAfterSeconds"], 1);
        assert_eq!(
            refused.body["details"]["causes"][0]["reason"],
            "ResourceVersionTooLarge"
        );
    }
    held.send_replace(false);
    let any = late.get(&format!("{CONFIG_MAPS}?resourceVersion={now}")).await.is(200);
    assert_eq!(any.names(), ["new", "old"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_without_gaps_when_the_cache_catches_up() {
    let (first, late, held) = apart().await;
    let any = late.get(&format!("{CONFIG_MAPS}?resourceVersion=0")).await.is(200);
    let mut watch = late
        .watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={}", any.version()))
        .await;
    assert_eq!(watch.brief().await, "silence");
    first.delete(&format!("{CONFIG_MAPS}/old"), json!(null)).await.is(200);
    held.send_replace(false);
    assert_eq!(watch.brief().await, "ADDED new");
    assert_eq!(watch.brief().await, "DELETED old");
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_lags_holds_up_no_other() {
    let (first, late, _held) = apart().await;
    first.post(SERVICES, service("web", "ClusterIP")).await.is(201);
    let services = late
        .get(&format!("{SERVICES}?resourceVersion={}", first.store.revision()))
        .await
        .is(200);
    assert!(services.names().contains(&"web"));
}

#[tokio::test(start_paused = true)]
async fn two_servers_write_to_one_store_as_one() {
    let (first, late, _held) = apart().await;
    let made = late.post(CONFIG_MAPS, config_map("third")).await.is(201);
    assert_eq!(
        first.get(&format!("{CONFIG_MAPS}/third")).await.version(),
        made.version()
    );
    late.post(CONFIG_MAPS, config_map("new")).await.is(409);
    let mut changed = first.get(&format!("{CONFIG_MAPS}/third")).await.is(200).body;
    changed["data"]["a"] = json!("2");
    late.put(&format!("{CONFIG_MAPS}/third"), &changed).await.is(200);
    first.put(&format!("{CONFIG_MAPS}/third"), &changed).await.is(409);
}
