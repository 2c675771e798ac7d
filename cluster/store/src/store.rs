//! The handle that callers hold.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::committer::{self, Request};
use crate::disk::Disk;
use crate::error::{OpenError, RangeError, StoreError};
use crate::lease;
use crate::range::{Range, RangeResult};
use crate::recovery::recover;
use crate::state::State;
use crate::transaction::{Key, KeyValue, LeaseId, Outcome, Revision, Transaction};
use crate::watch::Watcher;

/// So many writes may wait to be taken into a batch; more callers wait to hand theirs over.
const QUEUE: usize = 4096;

/// Sizes. The defaults suit a cluster of one machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// When the log holds so many bytes of compacted history (or as many as the last snapshot, if that is more), a
    /// snapshot is written and the history removed.
    pub snapshot_log_bytes: u64,
    /// The log is continued in a new file when the current one has so many bytes. Only whole files are removed.
    pub segment_bytes: u64,
    /// At most so many transactions are written at once.
    pub batch_transactions: usize,
    /// A batch is written once it has so many bytes.
    pub batch_bytes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            snapshot_log_bytes: 64 << 20,
            segment_bytes: 16 << 20,
            batch_transactions: 1024,
            batch_bytes: 4 << 20,
        }
    }
}

/// What the handles, the watchers and the store's own tasks share.
pub(crate) struct Shared {
    state: RwLock<State>,
    /// Told when a lease is granted that ends before all others.
    pub(crate) earlier_lease: Notify,
    /// Told when the disk fails.
    pub(crate) failed: Notify,
}

impl Shared {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets watchers and writers know that nothing more will come.
    pub(crate) fn close(&self) {
        let watchers = {
            let mut state = self.write();
            state.closed = true;
            state.watchers()
        };
        watchers.iter().for_each(|watcher| watcher.notify_waiters());
    }
}

/// A handle to an open store; clones are handles to the same one.
///
/// Reads are answered from memory and see exactly what is durable. When the last handle is dropped, the store's tasks
/// end at once, as if the process had died; [`close`](Self::close) ends them in order.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Request>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.shared.close();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store on `disk`, or makes a new one if the disk is empty. `disk` must serve no other store.
    ///
    /// Spawns the store's tasks on the current executor.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. A store that cannot be read in full is not opened, and not changed.
    pub async fn open(disk: Arc<dyn Disk>, options: Options) -> Result<Store, OpenError> {
        let recovered = recover(disk).await?;
        let mut state = recovered.state;
        state.finish_recovery(Instant::now());
        let shared = Arc::new(Shared {
            state: RwLock::new(state),
            earlier_lease: Notify::new(),
            failed: Notify::new(),
        });
        let (queue, requests) = mpsc::channel(QUEUE);
        let commits = committer::run(shared.clone(), recovered.log, recovered.snapshot, requests, options);
        let leases = lease::end_leases(shared.clone(), queue.downgrade());
        #[allow(clippy::disallowed_methods, reason = "the store's last handle aborts them")]
        let tasks = [tokio::spawn(commits), tokio::spawn(leases)];
        Ok(Store {
            inner: Arc::new(Inner { shared, queue, tasks }),
        })
    }

    async fn request<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.inner
            .queue
            .send(make(reply))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Does a transaction, and returns once its outcome is durable: also a conflict is only reported when what it
    /// conflicts with is durable.
    ///
    /// If the returned future is dropped, the transaction may or may not happen.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub async fn commit(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        self.request(|reply| Request::Commit { transaction, reply }).await
    }

    /// The key's current state.
    pub fn get(&self, key: &str) -> Option<KeyValue> {
        self.inner.shared.read().get(key).cloned()
    }

    /// The key's state at a revision.
    ///
    /// # Errors
    ///
    /// If that revision is compacted, or not reached yet.
    pub fn get_at(&self, key: &str, revision: Revision) -> Result<Option<KeyValue>, RangeError> {
        self.inner.shared.read().get_at(key, revision).map(|kv| kv.cloned())
    }

    /// The state of many keys at one revision.
    ///
    /// # Errors
    ///
    /// If that revision is compacted, or not reached yet.
    pub fn range(&self, range: Range) -> Result<RangeResult, RangeError> {
        self.inner.shared.read().range(&range)
    }

    /// The revision of the last durable transaction; 1 for a new store.
    pub fn revision(&self) -> Revision {
        self.inner.shared.read().revision
    }

    /// The oldest revision whose state can be read, and after which can be watched; 0 if nothing was compacted yet.
    pub fn compact_revision(&self) -> Revision {
        self.inner.shared.read().compact_revision
    }

    /// Why the store refuses writes, if it does since the disk failed. Only opening it again helps.
    pub fn failure(&self) -> Option<StoreError> {
        self.inner.shared.read().failure.clone()
    }

    /// Waits until the store refuses writes, and says why it does. Whoever runs it should then end: what was
    /// acknowledged is safe, and nothing more will be.
    pub async fn failed(&self) -> StoreError {
        loop {
            // Listening begins before looking, so that nothing falls between.
            let mut failed = std::pin::pin!(self.inner.shared.failed.notified());
            failed.as_mut().enable();
            if let Some(failure) = self.failure() {
                return failure;
            }
            failed.await;
        }
    }

    /// Follows the keys that begin with `prefix`: every event after the revision `after`, past ones first.
    ///
    /// # Errors
    ///
    /// If the history after that revision is compacted, or it is not reached yet.
    pub fn watch(&self, prefix: &str, after: Revision) -> Result<Watcher, RangeError> {
        let shared = &self.inner.shared;
        let prefix = Key::from(prefix);
        let wake = shared.write().join(&prefix, after)?;
        Ok(Watcher::new(shared.clone(), prefix, after, wake))
    }

    /// Drops the history before `revision`; the state at `revision` itself stays readable. Nothing happens if that is
    /// done already. Afterwards, or later, the log's files are cleared of that history.
    ///
    /// # Errors
    ///
    /// [`StoreError::Future`] if the revision is not reached yet; else see [`StoreError`].
    pub async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.request(|reply| Request::Compact { revision, reply }).await
    }

    /// Makes a lease, at whose end its keys are deleted in one transaction. It is durable, and after the store is
    /// opened again it lasts its full time again.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.request(|reply| Request::Grant { ttl, reply }).await
    }

    /// Ends a lease now. Nothing happens if it has ended.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.request(|reply| Request::Revoke { lease, reply }).await
    }

    /// Ends the store in order: the writes that were handed over before are done, later ones fail, watchers get
    /// what is left and then end. Reads stay possible.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.inner.queue.send(Request::Close { reply }).await.is_ok() {
            // An error means that the task is gone, which is all that is wanted.
            let _ = answer.await;
        }
    }
}
