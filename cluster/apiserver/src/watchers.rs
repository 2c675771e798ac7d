//! Who watches a kind: each watcher has a queue, and an event is offered only to those it may concern.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::cache::{CacheEvent, Cached};
use crate::selection::Selection;

/// How a watcher sees an event: by what its selection made of the object before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The object begins to match.
    Added = 0,
    /// The object matched and still does.
    Modified = 1,
    /// The object is gone, or matches no longer.
    Deleted = 2,
}

/// What waits for one watcher.
pub struct WatchQueue {
    selection: Selection,
    events: Mutex<VecDeque<(Seen, Arc<CacheEvent>)>>,
    wake: Notify,
    ended: AtomicBool,
    /// A watcher that falls behind by more events is ended; its client resumes where it was.
    backlog: usize,
}

impl WatchQueue {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Seen, Arc<CacheEvent>)>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How this watcher sees `event`; `None` when it does not concern it.
    fn sees(&self, event: &CacheEvent) -> Option<Seen> {
        let before = event
            .previous
            .as_ref()
            .is_some_and(|object| self.selection.matches(object));
        let after = !event.deleted && self.selection.matches(&event.object);
        match (before, after) {
            (false, true) => Some(Seen::Added),
            (true, true) => Some(Seen::Modified),
            (true, false) => Some(Seen::Deleted),
            (false, false) => None,
        }
    }

    /// Queues those of `events` that concern this watcher: all at once, so that the events of one transaction are
    /// handed out together. A watcher that lags too far gets nothing more, and ends after what it has: a gap would be
    /// worse.
    pub fn offer(&self, events: &[Arc<CacheEvent>]) {
        let mut concern = events
            .iter()
            .filter_map(|event| Some((self.sees(event)?, event)))
            .peekable();
        if concern.peek().is_none() || self.ended.load(Ordering::Acquire) {
            return;
        }
        let mut queue = self.lock();
        if queue.len() >= self.backlog {
            drop(queue);
            self.end();
            return;
        }
        queue.extend(concern.map(|(seen, event)| (seen, event.clone())));
        drop(queue);
        self.wake.notify_one();
    }

    /// Ends the watch after what is queued.
    fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Whether nothing waits.
    pub fn is_drained(&self) -> bool {
        self.lock().is_empty()
    }

    /// Takes what waits, waiting for something; `None` when the watch has ended. Safe to cancel.
    pub async fn next(&self) -> Option<Vec<(Seen, Arc<CacheEvent>)>> {
        loop {
            let waiting: Vec<_> = self.lock().drain(..).collect();
            if !waiting.is_empty() {
                return Some(waiting);
            }
            if self.ended.load(Ordering::Acquire) {
                return None;
            }
            self.wake.notified().await;
        }
    }
}

/// A field by which events are routed: watches with such a selector (one a node, one an object) are many, and each is
/// interested in few events.
const ROUTES: [&str; 2] = ["spec.nodeName", "metadata.name"];

/// The watchers of one kind.
#[derive(Default)]
pub struct Watchers {
    /// Watchers that any event may concern.
    everywhere: Vec<Weak<WatchQueue>>,
    /// Watchers of one value of a routing field.
    routed: BTreeMap<(usize, String), Vec<Weak<WatchQueue>>>,
    /// How many were registered since those that ended were last looked for.
    registered: usize,
    /// How many were there then.
    living: usize,
}

impl Watchers {
    /// A new watcher, for which so many events may wait; it is forgotten when the queue is dropped.
    pub fn register(&mut self, selection: Selection, backlog: usize) -> Arc<WatchQueue> {
        let route = ROUTES
            .iter()
            .enumerate()
            .find_map(|(position, field)| Some((position, selection.fields.exact_value(field)?.to_owned())));
        let queue = Arc::new(WatchQueue {
            selection,
            events: Mutex::default(),
            wake: Notify::new(),
            ended: AtomicBool::new(false),
            backlog,
        });
        let list = match route {
            Some(route) => self.routed.entry(route).or_default(),
            None => &mut self.everywhere,
        };
        list.push(Arc::downgrade(&queue));
        self.registered += 1;
        // Watchers of what never changes are swept once there may be as many dead ones as living ones.
        if self.registered > self.living.max(64) {
            self.sweep();
        }
        queue
    }

    /// Forgets the watchers that ended.
    fn sweep(&mut self) {
        let lives = |watcher: &Weak<WatchQueue>| watcher.strong_count() > 0;
        self.everywhere.retain(lives);
        self.routed.retain(|_, list| {
            list.retain(lives);
            !list.is_empty()
        });
        self.registered = 0;
        self.living = self.everywhere.len() + self.routed.values().map(Vec::len).sum::<usize>();
    }

    /// Offers the events of one transaction to those they may concern.
    pub fn dispatch(&mut self, events: &[Arc<CacheEvent>]) {
        offer(&mut self.everywhere, events);
        if self.routed.is_empty() {
            return;
        }
        let [event] = events else {
            self.routed.values_mut().for_each(|list| offer(list, events));
            return;
        };
        for position in 0..ROUTES.len() {
            let after = route_value(position, &event.object);
            let before = event.previous.as_ref().map(|object| route_value(position, object));
            if let Some(before) = before.filter(|before| *before != after) {
                self.offer_routed(position, before, event);
            }
            self.offer_routed(position, after, event);
        }
    }

    fn offer_routed(&mut self, position: usize, value: &str, event: &Arc<CacheEvent>) {
        let route = (position, value.to_owned());
        if let Some(list) = self.routed.get_mut(&route) {
            offer(list, std::slice::from_ref(event));
            if list.is_empty() {
                self.routed.remove(&route);
            }
        }
    }

    /// Ends all watches.
    pub fn end_all(&mut self) {
        for watcher in self
            .everywhere
            .drain(..)
            .chain(std::mem::take(&mut self.routed).into_values().flatten())
        {
            if let Some(queue) = watcher.upgrade() {
                queue.end();
            }
        }
    }
}

fn route_value(position: usize, object: &Cached) -> &str {
    match ROUTES[position] {
        "metadata.name" => &object.name,
        field => object
            .fields
            .iter()
            .find(|(name, _)| *name == field)
            .map_or("", |(_, value)| value),
    }
}

fn offer(list: &mut Vec<Weak<WatchQueue>>, events: &[Arc<CacheEvent>]) {
    list.retain(|watcher| match watcher.upgrade() {
        Some(queue) => {
            queue.offer(events);
            true
        }
        None => false,
    });
}
