//! A queue of keys to reconcile: each key once, never two workers on one, failures retried ever more slowly.
//!
//! The semantics are those of Kubernetes' client-go work queue: a key added while it is worked on is queued again when
//! the worker is done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use orrery_api::log;
use orrery_api::task::moment_after;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

struct State<T> {
    ready: VecDeque<T>,
    /// Queued or to be queued again: what `ready` holds, and what was added while being worked on.
    dirty: BTreeSet<T>,
    processing: BTreeSet<T>,
    delayed: BTreeSet<(Instant, T)>,
    /// The earliest time of each delayed key: adding it later again changes nothing.
    delayed_at: BTreeMap<T, Instant>,
    failures: BTreeMap<T, u32>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    wake: Notify,
    base: Duration,
    limit: Duration,
}

/// A queue of keys. Clones share it.
pub struct WorkQueue<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        WorkQueue {
            shared: self.shared.clone(),
        }
    }
}

impl<T: Ord + Clone> Default for WorkQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Ord + Clone> WorkQueue<T> {
    /// A queue whose back-off goes from 5 ms to 1,000 s, as client-go's.
    pub fn new() -> Self {
        Self::with_backoff(Duration::from_millis(5), Duration::from_secs(1000))
    }

    /// A queue whose back-off goes from `base`, doubling, to `limit`.
    pub fn with_backoff(base: Duration, limit: Duration) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: BTreeSet::new(),
            processing: BTreeSet::new(),
            delayed: BTreeSet::new(),
            delayed_at: BTreeMap::new(),
            failures: BTreeMap::new(),
        };
        WorkQueue {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                wake: Notify::new(),
                base,
                limit,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `item` unless it is queued already.
    pub fn add(&self, item: T) {
        if self.lock().add(item) {
            self.shared.wake.notify_one();
        }
    }

    /// Queues `item` when `delay` has passed; an earlier time already set stays.
    pub fn add_after(&self, item: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(item);
        }
        let at = moment_after(delay);
        let mut state = self.lock();
        match state.delayed_at.get(&item) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => {
                let later = (*later, item.clone());
                state.delayed.remove(&later);
            }
            None => {}
        }
        state.delayed_at.insert(item.clone(), at);
        state.delayed.insert((at, item));
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Queues `item` after a pause that doubles with each failure.
    pub fn add_rate_limited(&self, item: T) {
        let failures = {
            let mut state = self.lock();
            let failures = state.failures.entry(item.clone()).or_default();
            *failures += 1;
            *failures - 1
        };
        let delay = self
            .shared
            .base
            .saturating_mul(1u32.checked_shl(failures).unwrap_or(u32::MAX));
        self.add_after(item, delay.min(self.shared.limit));
    }

    /// Forgets the failures of `item`.
    pub fn forget(&self, item: &T) {
        self.lock().failures.remove(item);
    }

    /// How often `item` failed since it was last forgotten.
    pub fn failures(&self, item: &T) -> u32 {
        self.lock().failures.get(item).copied().unwrap_or(0)
    }

    /// Takes the next key, waiting for one; it is the caller's until [`done`](Self::done).
    pub async fn get(&self) -> T {
        loop {
            let next = {
                let mut state = self.lock();
                state.ripen(Instant::now());
                match state.ready.pop_front() {
                    Some(item) => {
                        state.dirty.remove(&item);
                        state.processing.insert(item.clone());
                        if !state.ready.is_empty() {
                            // A second worker may sleep although there is work for it.
                            self.shared.wake.notify_one();
                        }
                        return item;
                    }
                    None => state.delayed.first().map(|(at, _)| *at),
                }
            };
            match next {
                None => self.shared.wake.notified().await,
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = self.shared.wake.notified() => {}
                        () = sleep(at.saturating_duration_since(Instant::now())) => {}
                    }
                }
            }
        }
    }

    /// Gives `item` back; queues it again if it was added meanwhile.
    pub fn done(&self, item: &T) {
        let mut state = self.lock();
        state.processing.remove(item);
        if state.dirty.contains(item) {
            state.ready.push_back(item.clone());
            drop(state);
            self.shared.wake.notify_one();
        }
    }

    /// How many keys wait to be taken now.
    pub fn len(&self) -> usize {
        self.lock().ready.len()
    }

    /// Whether no key waits to be taken now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Ord + Clone> State<T> {
    /// Queues `item`; true if somebody should look.
    fn add(&mut self, item: T) -> bool {
        if !self.dirty.insert(item.clone()) || self.processing.contains(&item) {
            return false;
        }
        self.ready.push_back(item);
        true
    }

    fn ripen(&mut self, now: Instant) {
        while let Some((at, _)) = self.delayed.first() {
            if *at > now {
                return;
            }
            if let Some((_, item)) = self.delayed.pop_first() {
                self.delayed_at.remove(&item);
                self.add(item);
            }
        }
    }
}

/// What to do with a key that was reconciled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing until it changes.
    Done,
    /// Look again when so much time has passed.
    After(Duration),
}

/// Takes keys for ever: success forgets a key's failures, an error retries it ever more slowly.
pub async fn process<T, F, Fut, E>(queue: WorkQueue<T>, mut reconcile: F)
where
    T: Ord + Clone,
    F: FnMut(T) -> Fut,
    Fut: Future<Output = Result<Next, E>>,
    E: Display,
{
    loop {
        let item = queue.get().await;
        match reconcile(item.clone()).await {
            Ok(next) => {
                queue.forget(&item);
                if let Next::After(delay) = next {
                    queue.add_after(item.clone(), delay);
                }
            }
            Err(error) => {
                queue.add_rate_limited(item.clone());
                if queue.failures(&item) == 10 {
                    log::line("workqueue", format_args!("still failing after 10 tries: {error}"));
                }
            }
        }
        queue.done(&item);
    }
}

/// Does what [`process`] does with so many workers at once, but at least one.
pub async fn process_with<T, F, Fut, E>(workers: usize, queue: &WorkQueue<T>, reconcile: F)
where
    T: Ord + Clone,
    F: FnMut(T) -> Fut + Clone,
    Fut: Future<Output = Result<Next, E>>,
    E: Display,
{
    let worker = |_| process(queue.clone(), reconcile.clone());
    join_all((0..workers.max(1)).map(worker)).await;
}

#[cfg(test)]
mod tests;
