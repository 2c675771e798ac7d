//! Triggers: whoever waits for a write, a call or a time arms one here, and is told when it has happened.
//!
//! A world tells of writes; a simulated one also of what was shown to whom, and of calls.
//! What happens is judged at once and in order, so that of two writes at the same moment the second is not missed by a
//! sequence that waited for the first; only time passes in the tasks that wait.

mod conditions;
mod views;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::model::{Asked, Change, Cluster, Entry, Item, ObjectId, Seen};
use crate::scenario::{CallEnd, Trigger, WriteKind};
use conditions::Node;
pub use conditions::{calls, field, fits, names};
use views::Views;

/// The triggers that are waited for.
pub struct Triggers {
    inner: Arc<Mutex<Inner>>,
    /// Whether anybody ever asks what components were shown.
    views: bool,
}

#[derive(Default)]
struct Inner {
    armed: Vec<Armed>,
    views: Views,
}

struct Armed {
    node: Node,
    wake: Arc<Notify>,
}

/// Something that happens.
#[derive(Debug, Clone, Copy)]
pub enum Happened<'a> {
    /// An object was written, or a write was shown to somebody.
    Write {
        /// To whom it was shown; none for the store itself.
        by: Option<&'a str>,
        /// What it was, as they see it.
        kind: WriteKind,
        /// Which object.
        id: &'a ObjectId,
        /// How they knew it before.
        before: Option<&'a Item>,
        /// How they know it now.
        after: Option<&'a Item>,
    },
    /// A client calls the API, or has its answer.
    Call(&'a Asked, CallEnd),
}

/// A trigger that is waited for.
pub struct Waiter {
    inner: Arc<Mutex<Inner>>,
    number: usize,
    wake: Arc<Notify>,
    now: Box<dyn Fn() -> Duration + Send>,
}

impl Triggers {
    /// Nothing is waited for yet; `views` says whether triggers will ask what components were shown.
    pub fn new(views: bool) -> Self {
        Triggers {
            inner: Arc::default(),
            views,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Waits for a trigger from now on. `now` says what time it is, in the time in which everything is told.
    pub fn arm(&self, trigger: &Trigger, now: impl Fn() -> Duration + Send + 'static) -> Waiter {
        let mut node = Node::of(trigger);
        node.begin(now());
        let wake = Arc::new(Notify::new());
        let mut inner = self.lock();
        inner.armed.push(Armed {
            node,
            wake: wake.clone(),
        });
        Waiter {
            inner: self.inner.clone(),
            number: inner.armed.len() - 1,
            wake,
            now: Box::new(now),
        }
    }

    /// The store did this.
    pub fn wrote(&self, change: &Change, now: Duration) {
        self.lock().happens(&seen_by(None, change), now);
    }

    /// The store's change was told to the API server `by`.
    pub fn told(&self, by: &str, change: &Change, now: Duration) {
        self.lock().happens(&seen_by(Some(by), change), now);
    }

    /// A client calls, or has its answer.
    pub fn called(&self, asked: &Asked, end: CallEnd, now: Duration) {
        self.lock().happens(&Happened::Call(asked, end), now);
    }

    /// Whether anybody ever asks what components were shown.
    pub fn follows_views(&self) -> bool {
        self.views
    }

    /// Follows what watches show.
    pub fn saw(&self, cluster: &Cluster, seen: &Seen<'_>, now: Duration) {
        if !self.views {
            return;
        }
        let mut inner = self.lock();
        for view in inner.views.saw(cluster, seen) {
            inner.happens(&view.happened(), now);
        }
    }

    /// A client has been given a list of a whole resource, or of a page of it.
    pub fn listed(&self, cluster: &Cluster, asked: &Asked, items: &[Entry], now: Duration) {
        let mut inner = self.lock();
        for view in inner.views.listed(cluster, asked, items) {
            inner.happens(&view.happened(), now);
        }
    }
}

/// How `by` sees a change that it is told as the store made it.
fn seen_by<'a>(by: Option<&'a str>, change: &'a Change) -> Happened<'a> {
    let kind = match (&change.before, &change.after) {
        (None, _) => WriteKind::Create,
        (_, None) => WriteKind::Delete,
        _ => WriteKind::Update,
    };
    Happened::Write {
        by,
        kind,
        id: &change.id,
        before: change.before.as_deref(),
        after: change.after.as_deref(),
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn happens(&mut self, what: &Happened<'_>, now: Duration) {
        for armed in self.armed.iter_mut().filter(|armed| !armed.node.is_done()) {
            if armed.node.happens(what, now) {
                armed.wake.notify_one();
            }
        }
    }
}

impl Waiter {
    /// Waits until it has happened.
    pub async fn wait(self) {
        loop {
            let now = (self.now)();
            let due = {
                let mut inner = lock(&self.inner);
                let node = &mut inner.armed[self.number].node;
                node.passes(now);
                if node.is_done() {
                    return;
                }
                node.due()
            };
            match due {
                Some(due) => {
                    let at = Instant::now() + due.saturating_sub(now);
                    tokio::select! {
                        biased;
                        () = self.wake.notified() => {}
                        () = sleep_until(at) => {}
                    }
                }
                None => self.wake.notified().await,
            }
        }
    }
}
