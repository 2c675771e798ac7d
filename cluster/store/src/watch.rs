//! Following a prefix: every event, once, in order.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::error::WatchError;
use crate::store::Shared;
use crate::transaction::{Event, Key, Revision};

/// Hands out the events of the keys with one prefix: in the order of revisions, without gaps and duplicates, and never
/// only a part of a transaction's (of those that have the prefix).
///
/// It owns a position in the store's history, no queue. A watcher that lags so far that events it was to hand out are
/// compacted learns so.
pub struct Watcher {
    shared: Arc<Shared>,
    prefix: Key,
    cursor: Revision,
    wake: Arc<Notify>,
}

impl Watcher {
    pub(crate) fn new(shared: Arc<Shared>, prefix: Key, after: Revision, wake: Arc<Notify>) -> Watcher {
        Watcher {
            shared,
            prefix,
            cursor: after,
            wake,
        }
    }

    /// Waits for events: those of one or more whole transactions.
    ///
    /// It may be dropped while it waits without losing any.
    ///
    /// # Errors
    ///
    /// [`WatchError::Compacted`] if the next event is gone, [`WatchError::Closed`] after the last event of a closed
    /// store. Both are final.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, WatchError> {
        let wake = self.wake.clone();
        loop {
            // Listening begins before looking, so that nothing falls between.
            let mut woken = std::pin::pin!(wake.notified());
            woken.as_mut().enable();
            let events = self.try_next()?;
            if !events.is_empty() {
                return Ok(events);
            }
            woken.await;
        }
    }

    /// The events that are there already; none if there are none.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn try_next(&mut self) -> Result<Vec<Arc<Event>>, WatchError> {
        let state = self.shared.read();
        let events = state.events_after(&self.prefix, self.cursor)?;
        self.cursor = events.last().map_or(state.revision, |last| last.revision);
        Ok(events)
    }

    /// Every event up to this revision has been handed out. It is the store's revision when there are none to be
    /// handed out, also when the last events were of other keys.
    pub fn progress(&self) -> Revision {
        let state = self.shared.read();
        state.progress(&self.prefix, self.cursor)
    }

    /// The prefix that is watched.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("prefix", &self.prefix)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.write().leave(&self.prefix);
    }
}
