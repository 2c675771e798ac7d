//! What faults have in store for single processes: what one sends is held up, or it dies between two of its writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::model::Asked;

/// See the module.
pub struct Fates {
    inner: Mutex<Inner>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Inner {
    /// Processes whose requests are held up, and by how many faults.
    held: BTreeMap<String, u32>,
    /// Processes that die when so many more of their writes are carried out, and who is told then.
    doomed: BTreeMap<String, (u32, Arc<Notify>)>,
}

impl Default for Fates {
    fn default() -> Self {
        Fates {
            inner: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }
}

impl Fates {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds up what a process sends from now on.
    pub fn hold(&self, client: &str) {
        *self.lock().held.entry(client.to_owned()).or_default() += 1;
    }

    /// Takes back one [`hold`](Self::hold).
    pub fn release(&self, client: &str) {
        {
            let mut inner = self.lock();
            if let Some(count) = inner.held.get_mut(client) {
                *count -= 1;
                if *count == 0 {
                    inner.held.remove(client);
                }
            }
        }
        self.changed.send_replace(());
    }

    /// Nothing is held up any more, and nobody is doomed.
    pub fn release_all(&self) {
        {
            let mut inner = self.lock();
            inner.held.clear();
            inner.doomed.clear();
        }
        self.changed.send_replace(());
    }

    /// Whether what a process sends is held up.
    pub fn holds(&self, client: &str) -> bool {
        self.lock().held.contains_key(client)
    }

    /// Waits until what a process sent is no longer held up.
    pub async fn released(&self, client: &str) {
        let mut changes = self.changed.subscribe();
        while self.holds(client) {
            // The sender lives in `self`.
            let _ = changes.changed().await;
        }
    }

    /// A process shall die when so many more of its writes have been carried out: who kills it is told.
    pub fn doom(&self, client: &str, writes: u32) -> Arc<Notify> {
        let due = Arc::new(Notify::new());
        self.lock().doomed.insert(client.to_owned(), (writes, due.clone()));
        due
    }

    /// The process has died.
    pub fn spare(&self, client: &str) {
        self.lock().doomed.remove(client);
    }

    /// A request was carried out; whether its sender lives to hear of it. Only writes count that tell of what the
    /// sender has done: no heartbeats, and nothing for people to read.
    pub fn survives(&self, asked: &Asked) -> bool {
        let resource = asked.path.as_ref().map_or("", |path| &*path.resource);
        let idle = resource.starts_with("leases") || resource.starts_with("events");
        let mut inner = self.lock();
        let Some((left, due)) = inner.doomed.get_mut(&asked.client) else {
            return true;
        };
        if asked.method != http::Method::GET && !idle {
            *left = left.saturating_sub(1);
            if *left == 0 {
                due.notify_one();
            }
        }
        *left > 0
    }

    /// Whether a process has sent its last write, and is about to die.
    pub fn is_spent(&self, client: &str) -> bool {
        self.lock().doomed.get(client).is_some_and(|(left, _)| *left == 0)
    }
}
