//! What an API server's watch cache hears of the store, and how late: faults make it lag, as a whole, for one resource,
//! or from the next change of one object on.
//!
//! News are late, never lost: within a resource they keep their order, and a lag of one object holds up everything of
//! its resource that comes after. What was there when the server started is not late: a cache is filled before it
//! serves. A server that cannot reach the store's machine hears nothing until it can.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use orrery_api::task::Alarm;
use orrery_apiserver::feed::{Feed, News};
use orrery_store::{Event, Revision, WatchError, Watcher};
use tokio::time::Instant;

use crate::model::ObjectId;
use crate::scenario::LagScope;
use crate::triggers::names;
use crate::world::{Place, World};

/// The watch caches that lag now.
#[derive(Default)]
pub struct Lags {
    lags: Mutex<Vec<(u64, ApiLag)>>,
    begun: AtomicU64,
}

/// A watch cache that lags.
#[derive(Debug, Clone)]
pub struct ApiLag {
    /// Whose: `apiserver/2`.
    pub server: String,
    /// What of it.
    pub scope: LagScope,
    /// By how much; none when it stands still.
    pub by: Option<Duration>,
    /// Until when.
    pub until: Duration,
}

impl Lags {
    fn lock(&self) -> MutexGuard<'_, Vec<(u64, ApiLag)>> {
        self.lags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on a cache lags; the lag's number.
    pub fn begin(&self, lag: ApiLag) -> u64 {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        self.lock().push((number, lag));
        number
    }

    /// The lag of this number is over.
    pub fn end(&self, number: u64) {
        self.lock().retain(|(own, _)| *own != number);
    }

    /// No cache lags any more.
    pub fn end_all(&self) {
        self.lock().clear();
    }

    /// Whether the cache of `server` lags in any way.
    fn concern(&self, server: &str, now: Duration) -> bool {
        self.lock()
            .iter()
            .any(|(_, lag)| lag.server == server && lag.until > now)
    }

    /// When news that arrived at `arrived` may be told to `server`, by the lags that `concern` accepts.
    fn release(&self, server: &str, arrived: Duration, now: Duration, concern: impl Fn(&LagScope) -> bool) -> Duration {
        let mut lags = self.lock();
        lags.retain(|(_, lag)| lag.until > now);
        let lags = lags.iter().map(|(_, lag)| lag);
        let meant = lags.filter(|lag| lag.server == server && concern(&lag.scope));
        let release = meant.map(|lag| lag.by.map_or(lag.until, |by| lag.until.min(arrived + by)));
        release.max().unwrap_or(Duration::ZERO)
    }
}

/// Some news, and when they arrived.
struct Arrived<T> {
    at: Duration,
    what: T,
}

/// What the store told at once.
struct Batch {
    events: Vec<Arc<Event>>,
    progress: Revision,
}

/// The changes of one transaction to one resource.
struct Group {
    revision: Revision,
    ids: Vec<ObjectId>,
    events: Vec<Arc<Event>>,
}

/// The feed of one API server.
pub struct LateFeed {
    world: Arc<World>,
    place: Place,
    watcher: Watcher,
    /// What was there at the start: not late.
    start: Revision,
    /// What nothing has been told of.
    batches: VecDeque<Arrived<Batch>>,
    /// What resources that lag have not been told.
    held: BTreeMap<String, VecDeque<Arrived<Group>>>,
    progress: Revision,
}

impl LateFeed {
    /// The feed of the server `place`, over the store's watch; the store is at `start` now.
    pub fn new(world: &Arc<World>, place: &Place, watcher: Watcher, start: Revision) -> Self {
        LateFeed {
            world: world.clone(),
            place: place.clone(),
            watcher,
            start,
            batches: VecDeque::new(),
            held: BTreeMap::new(),
            progress: 0,
        }
    }

    /// Whether the store can be heard.
    fn hears(&self) -> bool {
        self.world
            .network
            .passes(self.world.control_plane(), &self.place.machine)
    }

    /// When everything that arrived then may be told; none while the store cannot be heard.
    fn release_of_all(&self, at: Duration) -> Option<Duration> {
        self.hears().then(|| {
            let everything = |scope: &LagScope| matches!(scope, LagScope::Everything);
            self.world
                .lags
                .release(&self.place.name, at, self.world.now(), everything)
        })
    }

    fn release_of(&self, resource: &str, group: &Arrived<Group>) -> Duration {
        if group.what.revision <= self.start {
            return Duration::ZERO;
        }
        let concerns = |scope: &LagScope| match scope {
            LagScope::Everything => false,
            LagScope::Resource(plural) => resource.split('.').next() == Some(plural),
            LagScope::Object(pattern) => group.what.ids.iter().any(|id| names(pattern, id)),
        };
        self.world
            .lags
            .release(&self.place.name, group.at, self.world.now(), concerns)
    }

    /// What may be told now, if anything.
    fn due(&mut self) -> Option<News> {
        let now = self.world.now();
        if self.held.is_empty() && !self.world.lags.concern(&self.place.name, now) && self.hears() {
            let progress = self.batches.back()?.what.progress;
            let batches = self.batches.drain(..);
            let events = batches.flat_map(|batch| batch.what.events).collect();
            self.progress = progress;
            return Some(News {
                events,
                progress,
                behind: BTreeMap::new(),
            });
        }
        let before = self.progress;
        let mut events = Vec::new();
        let resources: Vec<String> = self.held.keys().cloned().collect();
        for resource in &resources {
            self.let_go(resource, now, &mut events);
        }
        while let Some(batch) = self.batches.front() {
            let first = batch.what.events.first();
            let old = first.is_none_or(|event| event.revision <= self.start);
            if !old && self.release_of_all(batch.at).is_none_or(|release| release > now) {
                break;
            }
            let Some(Arrived { at, what: batch }) = self.batches.pop_front() else {
                break;
            };
            self.progress = batch.progress;
            for (resource, group) in grouped(batch.events) {
                let queue = self.held.entry(resource.clone()).or_default();
                queue.push_back(Arrived { at, what: group });
                self.let_go(&resource, now, &mut events);
            }
        }
        if events.is_empty() && self.progress == before {
            return None;
        }
        let behind = self.held.iter().filter_map(|(resource, queue)| {
            let first = queue.front()?;
            Some((resource.clone(), first.what.revision - 1))
        });
        Some(News {
            events,
            progress: self.progress,
            behind: behind.collect(),
        })
    }

    /// Tells what may be told of a resource.
    fn let_go(&mut self, resource: &str, now: Duration, events: &mut Vec<Arc<Event>>) {
        while let Some(group) = self.held.get(resource).and_then(VecDeque::front) {
            if self.release_of(resource, group) > now {
                return;
            }
            if let Some(group) = self.held.get_mut(resource).and_then(VecDeque::pop_front) {
                events.extend(group.what.events);
            }
        }
        self.held.remove(resource);
    }

    /// When something that waits may be told, as far as that is known.
    fn next_release(&self) -> Option<Duration> {
        let batch = self.batches.front().and_then(|batch| self.release_of_all(batch.at));
        let held = self.held.iter().filter_map(|(resource, queue)| {
            let first = queue.front()?;
            Some(self.release_of(resource, first))
        });
        held.chain(batch).min()
    }
}

#[async_trait]
impl Feed for LateFeed {
    async fn next(&mut self) -> Result<News, WatchError> {
        loop {
            if self.batches.is_empty() && self.held.is_empty() {
                let events = self.watcher.next().await?;
                self.arrived(events);
            }
            if let Some(news) = self.due() {
                self.tell_triggers(&news.events);
                return Ok(news);
            }
            let mut changes = self.world.network.changes();
            let wait = self.next_release().map(|at| at.saturating_sub(self.world.now()));
            let mut alarm = wait.map(|wait| Alarm::at(Instant::now() + wait));
            tokio::select! {
                biased;
                events = self.watcher.next() => self.arrived(events?),
                _ = changes.changed() => {}
                () = passed(&mut alarm) => {}
            }
        }
    }
}

impl LateFeed {
    /// Whoever waits for what this server is shown hears of it.
    fn tell_triggers(&self, events: &[Arc<Event>]) {
        let world = &self.world;
        if !world.triggers.follows_views() {
            return;
        }
        for event in events {
            let Some(id) = ObjectId::of_key(&event.kv.key) else {
                continue;
            };
            let change = world.witness.look(world, |cluster| {
                let history = cluster.history(&id.resource)?;
                history.at(event.revision, &id.namespace, &id.name).cloned()
            });
            if let Some(change) = change {
                world.triggers.told(&self.place.name, &change, world.now());
            }
        }
    }

    fn arrived(&mut self, events: Vec<Arc<Event>>) {
        let progress = self.watcher.progress();
        self.batches.push_back(Arrived {
            at: self.world.now(),
            what: Batch { events, progress },
        });
    }
}

async fn passed(alarm: &mut Option<Alarm>) {
    match alarm {
        Some(alarm) => alarm.passed().await,
        None => std::future::pending().await,
    }
}

/// The changes by resource and transaction, in order.
fn grouped(events: Vec<Arc<Event>>) -> Vec<(String, Group)> {
    let mut groups: Vec<(String, Group)> = Vec::new();
    for event in events {
        let Some(id) = ObjectId::of_key(&event.kv.key) else {
            continue;
        };
        let revision = event.revision;
        let known = groups
            .iter_mut()
            .rev()
            .take_while(|(_, group)| group.revision == revision)
            .find(|(resource, _)| **resource == *id.resource);
        match known {
            Some((_, group)) => {
                group.ids.push(id);
                group.events.push(event);
            }
            None => {
                let resource = id.resource.to_string();
                let (ids, events) = (vec![id], vec![event]);
                groups.push((resource, Group { revision, ids, events }));
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn release(by: Option<u64>, now: u64, server: &str) -> Duration {
        let lags = Lags::default();
        lags.begin(ApiLag {
            server: "apiserver/2".to_owned(),
            scope: LagScope::Everything,
            by: by.map(seconds),
            until: seconds(100),
        });
        lags.release(server, seconds(10), seconds(now), |scope| {
            *scope == LagScope::Everything
        })
    }

    #[test]
    fn news_are_late_by_what_a_lag_says_but_not_beyond_its_end() {
        assert_eq!(release(Some(5), 10, "apiserver/2"), seconds(15));
        assert_eq!(release(Some(95), 10, "apiserver/2"), seconds(100));
        assert_eq!(release(None, 10, "apiserver/2"), seconds(100));
        assert_eq!(release(None, 100, "apiserver/2"), Duration::ZERO);
        assert_eq!(release(None, 10, "apiserver/1"), Duration::ZERO);
    }

    #[test]
    fn the_changes_of_one_transaction_to_a_resource_stay_together() {
        let event = |revision, key: &str| {
            Arc::new(Event {
                kind: orrery_store::EventKind::Put,
                revision,
                kv: orrery_store::KeyValue {
                    key: key.into(),
                    value: Default::default(),
                    create_revision: revision,
                    mod_revision: revision,
                    version: 1,
                    lease: None,
                },
                previous: None,
            })
        };
        let events = vec![
            event(3, "/registry/pods/default/a"),
            event(3, "/ranges/serviceips/10.96.0.9"),
            event(3, "/registry/services/default/s"),
            event(3, "/registry/pods/default/b"),
            event(4, "/registry/pods/default/a"),
        ];
        let groups: Vec<(String, u64, usize)> = grouped(events)
            .into_iter()
            .map(|(resource, group)| (resource, group.revision, group.events.len()))
            .collect();
        let expected = [("pods", 3, 2), ("services", 3, 1), ("pods", 4, 1)];
        assert_eq!(
            groups,
            expected.map(|(name, revision, count)| (name.to_owned(), revision, count))
        );
    }
}
