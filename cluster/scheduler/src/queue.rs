//! The pods that wait: for their turn, for a pause to end, or for something to change.
//!
//! A pod that nothing fits waits until an event happens that might help it. An event may come while the pod is being
//! tried, before it is known that it fits nowhere (kubernetes#72122): each try remembers when it began, each kind of
//! event when it last happened, and a pod whose helpful event came after its try began does not wait for the next one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orrery_api::meta::ObjectKey;
use orrery_api::mutant;
use orrery_api::task::Alarm;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The first pause after a failed try; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A pod that waits for an event so long is tried anyway.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What may help a pod that fits nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A node came, or one's labels, taints or resources changed.
    Node,
    /// A node went, or is on its way out: what was counted there counts no more.
    NodeGone,
    /// A pod left its node, or ended.
    PodGone,
    /// A pod got its node, or one's labels changed.
    PodPlaced,
    /// A namespace's labels are others.
    Namespace,
}

/// A pod whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The pod's uid.
    pub uid: String,
    /// Its key.
    pub key: ObjectKey,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Ready to be tried.
    Active,
    /// Ready when the time has come.
    Pausing(Instant),
    /// Nothing fits; tried again at one of these events, or when the time has come.
    Waiting(BTreeSet<Event>, Instant),
    /// Being tried, or bound, since this moment.
    Trying(u64),
}

#[derive(Debug, Clone)]
struct Entry {
    key: ObjectKey,
    priority: i32,
    arrival: u64,
    failures: u32,
    /// When it was last tried in vain.
    failed: Instant,
    place: Place,
    /// The pod changed while it was being tried.
    changed: bool,
}

impl Entry {
    /// It was tried in vain.
    fn fails(&mut self) {
        self.failures += 1;
        self.failed = Instant::now();
    }

    /// How long it rests after the last try.
    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(8);
        (FIRST_PAUSE * 2u32.pow(doublings)).min(LONGEST_PAUSE)
    }
}

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<String, Entry>,
    /// The ready ones: higher priority first, then who came first.
    active: BTreeSet<(Reverse<i32>, u64, String)>,
    /// When those that pause or wait are due.
    due: BTreeSet<(Instant, String)>,
    /// Counts tries and events: who came later has the higher number.
    moment: u64,
    last: BTreeMap<Event, u64>,
    arrivals: u64,
}

impl Inner {
    fn put(&mut self, uid: &str, place: Place) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        match &entry.place {
            Place::Active => {
                self.active
                    .remove(&(Reverse(entry.priority), entry.arrival, uid.to_owned()));
            }
            Place::Pausing(due) | Place::Waiting(_, due) => {
                self.due.remove(&(*due, uid.to_owned()));
            }
            Place::Trying(_) => {}
        }
        match &place {
            Place::Active => {
                self.active
                    .insert((Reverse(entry.priority), entry.arrival, uid.to_owned()));
            }
            Place::Pausing(due) | Place::Waiting(_, due) => {
                self.due.insert((*due, uid.to_owned()));
            }
            Place::Trying(_) => {}
        }
        entry.place = place;
    }

    /// The pod may be tried again when its pause is over. That runs from its last try, as in Kubernetes: whoever has
    /// waited for long need not let those go first that have only just come.
    fn pause(&mut self, uid: &str) {
        let Some(entry) = self.entries.get(uid) else { return };
        let now = Instant::now();
        let from = if entry.failed < now && mutant::active("O125") {
            now
        } else {
            entry.failed
        };
        let due = from + entry.pause();
        self.put(uid, if due > now { Place::Pausing(due) } else { Place::Active });
    }

    fn remove(&mut self, uid: &str) {
        self.put(uid, Place::Trying(0));
        self.entries.remove(uid);
    }
}

/// The queue of pods without a node.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    inner: Arc<Mutex<Inner>>,
    ready: Arc<Notify>,
}

impl Queue {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod waits for a node. `changed` says that it is not as it was when it was last tried.
    pub fn add(&self, uid: &str, key: ObjectKey, priority: i32, changed: bool) {
        let mut inner = self.inner();
        if let Some(entry) = inner.entries.get_mut(uid) {
            match entry.place {
                Place::Waiting(..) if changed && !mutant::active("O134") => inner.put(uid, Place::Active),
                Place::Trying(_) => entry.changed |= changed,
                _ => {}
            }
        } else {
            inner.arrivals += 1;
            let place = Place::Trying(0);
            let entry = Entry {
                key,
                priority,
                arrival: inner.arrivals,
                failures: 0,
                failed: Instant::now(),
                place,
                changed: false,
            };
            inner.entries.insert(uid.to_owned(), entry);
            inner.put(uid, Place::Active);
        }
        drop(inner);
        self.ready.notify_one();
    }

    /// The pod waits no more: it is bound, gone, or not ours.
    pub fn remove(&self, uid: &str) {
        self.inner().remove(uid);
    }

    /// Something happened that may help pods which fit nowhere.
    pub fn happened(&self, event: Event) {
        let mut inner = self.inner();
        inner.moment += 1;
        let moment = inner.moment;
        inner.last.insert(event, moment);
        let helped: Vec<String> = inner
            .due
            .iter()
            .map(|(_, uid)| uid)
            .filter(|uid| {
                let place = inner.entries.get(*uid).map(|entry| &entry.place);
                matches!(place, Some(Place::Waiting(events, _)) if events.contains(&event))
            })
            .cloned()
            .collect();
        for uid in &helped {
            inner.pause(uid);
        }
        drop(inner);
        if !helped.is_empty() {
            self.ready.notify_one();
        }
    }

    /// The next pod whose turn it is; waits until there is one. The caller keeps `alarm` from turn to turn, so that
    /// each moment is waited for once.
    pub async fn next(&self, alarm: &mut Option<Alarm>) -> Turn {
        loop {
            let due = match self.try_next() {
                Ok(turn) => return turn,
                Err(due) => due,
            };
            let Some(due) = due else {
                self.ready.notified().await;
                continue;
            };
            let alarm = alarm.get_or_insert_with(|| Alarm::at(due));
            alarm.reset(due);
            tokio::select! {
                biased;
                () = self.ready.notified() => {}
                () = alarm.passed() => {}
            }
        }
    }

    /// The next pod, or when the next one is due.
    fn try_next(&self) -> Result<Turn, Option<Instant>> {
        let mut inner = self.inner();
        let now = Instant::now();
        while let Some((_, uid)) = inner.due.first().filter(|(due, _)| *due <= now).cloned() {
            inner.put(&uid, Place::Active);
        }
        let Some((_, _, uid)) = inner.active.first().cloned() else {
            return Err(inner.due.first().map(|(due, _)| *due));
        };
        inner.moment += 1;
        let moment = inner.moment;
        inner.put(&uid, Place::Trying(moment));
        let entry = inner.entries.get_mut(&uid);
        let key = entry.map(|entry| {
            entry.changed = false;
            entry.key.clone()
        });
        Ok(Turn {
            uid,
            key: key.unwrap_or_default(),
        })
    }

    /// The try failed: nothing fits until one of `events` happens, if none has since the try began.
    pub fn park(&self, uid: &str, events: BTreeSet<Event>) {
        let mut inner = self.inner();
        let Some(entry) = inner.entries.get_mut(uid) else {
            return;
        };
        let Place::Trying(began) = entry.place else { return };
        entry.fails();
        let changed = std::mem::take(&mut entry.changed);
        let helped = events
            .iter()
            .any(|event| inner.last.get(event).is_some_and(|last| *last > began))
            && !mutant::active("B35");
        if changed || helped {
            inner.pause(uid);
        } else {
            inner.put(uid, Place::Waiting(events, Instant::now() + LONGEST_WAIT));
        }
        drop(inner);
        self.ready.notify_one();
    }

    /// The try failed for a reason that may pass by itself: again after a pause.
    pub fn retry(&self, uid: &str) {
        let mut inner = self.inner();
        if let Some(entry) = inner.entries.get_mut(uid) {
            entry.fails();
            inner.pause(uid);
        }
        drop(inner);
        self.ready.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn add(queue: &Queue, uid: &str, priority: i32) {
        queue.add(uid, ObjectKey::new("default", uid), priority, false);
    }

    #[tokio::test]
    async fn a_higher_priority_goes_first_and_then_who_came_first() {
        let queue = Queue::default();
        for (uid, priority) in [("a", 0), ("b", 0), ("urgent", 9)] {
            add(&queue, uid, priority);
        }
        let mut order = Vec::new();
        for _ in 0..3 {
            order.push(queue.next(&mut None).await.uid);
        }
        assert_eq!(order, ["urgent", "a", "b"]);
    }

    #[tokio::test]
    async fn an_event_during_the_try_is_not_lost() {
        let queue = Queue::default();
        add(&queue, "a", 0);
        queue.next(&mut None).await;
        queue.happened(Event::Node);
        queue.park("a", BTreeSet::from([Event::Node]));
        assert!(matches!(queue.inner().entries["a"].place, Place::Pausing(_)));
    }

    #[tokio::test]
    async fn an_event_before_the_try_or_of_another_kind_does_not_help() {
        let queue = Queue::default();
        queue.happened(Event::Node);
        add(&queue, "a", 0);
        queue.next(&mut None).await;
        queue.happened(Event::PodPlaced);
        queue.park("a", BTreeSet::from([Event::Node]));
        assert!(matches!(queue.inner().entries["a"].place, Place::Waiting(..)));
        queue.happened(Event::Node);
        assert!(matches!(queue.inner().entries["a"].place, Place::Pausing(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_runs_from_the_last_try_and_not_from_what_may_help() {
        let queue = Queue::default();
        add(&queue, "first", 0);
        queue.next(&mut None).await;
        queue.park("first", BTreeSet::from([Event::Node]));
        let failed = Instant::now();
        advance(FIRST_PAUSE / 2).await;
        queue.happened(Event::Node);
        queue.next(&mut None).await;
        assert_eq!(failed.elapsed(), FIRST_PAUSE);
        queue.park("first", BTreeSet::from([Event::Node]));
        advance(LONGEST_PAUSE).await;
        // Its pause is long over: it goes before the one that comes now.
        queue.happened(Event::Node);
        add(&queue, "second", 0);
        assert_eq!(queue.next(&mut None).await.uid, "first");
    }

    #[tokio::test]
    async fn a_pod_that_is_removed_while_it_is_tried_does_not_come_back() {
        let queue = Queue::default();
        add(&queue, "a", 0);
        queue.next(&mut None).await;
        queue.remove("a");
        queue.park("a", BTreeSet::from([Event::Node]));
        queue.retry("a");
        let inner = queue.inner();
        assert!(inner.entries.is_empty() && inner.active.is_empty() && inner.due.is_empty());
    }
}
