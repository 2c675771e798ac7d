//! What the watch cache is told of the store's changes, and when.
//!
//! A server beside its store hears of them at once: its feed is the store's watch itself. News may also be late, for
//! all kinds or some, as they are for servers that are apart from their store; the simulator makes them so.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use orrery_store::{Event, Revision, WatchError, Watcher};

/// News of the store.
#[derive(Debug, Default)]
pub struct News {
    /// Changes. Those of one kind come in the order of their revisions, and whole transactions at a time.
    pub events: Vec<Arc<Event>>,
    /// Everything up to here has been told, except of the kinds that are `behind`.
    pub progress: Revision,
    /// Kinds (`deployments.apps`) of which everything has been told only up to an earlier revision.
    pub behind: BTreeMap<String, Revision>,
}

/// Tells what the store did, in order and without gaps.
#[async_trait]
pub trait Feed: Send {
    /// Waits for news.
    ///
    /// # Errors
    ///
    /// As [`Watcher::next`].
    async fn next(&mut self) -> Result<News, WatchError>;
}

#[async_trait]
impl Feed for Watcher {
    async fn next(&mut self) -> Result<News, WatchError> {
        let events = Watcher::next(self).await?;
        Ok(News {
            events,
            progress: self.progress(),
            behind: BTreeMap::new(),
        })
    }
}

/// Makes a feed of the store's watch.
pub type MakeFeed = Arc<dyn Fn(Watcher) -> Box<dyn Feed> + Send + Sync>;

/// The feed of a server beside its store.
pub fn at_once() -> MakeFeed {
    Arc::new(|watcher| Box::new(watcher))
}
