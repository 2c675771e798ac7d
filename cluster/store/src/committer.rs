//! The commit task: it alone writes. It takes all requests that wait, makes them durable with one append and one sync,
//! then shows them to readers and watchers, then answers.
//!
//! When the disk fails once, nothing is written any more: a failed sync leaves open what is on the disk, and the next
//! one that succeeds does not tell either. The store then serves reads of what was durable before.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::batch::{Answer, Batch, Effect};
use crate::error::StoreError;
use crate::log::Log;
use crate::mutant;
use crate::snapshot;
use crate::store::{Options, Shared};
use crate::transaction::{LeaseId, Outcome, Revision, Transaction};

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the handles ask for.
pub(crate) enum Request {
    Commit {
        transaction: Transaction,
        reply: Reply<Outcome>,
    },
    Compact {
        revision: Revision,
        reply: Reply<()>,
    },
    Grant {
        ttl: Duration,
        reply: Reply<LeaseId>,
    },
    Revoke {
        lease: LeaseId,
        reply: Reply<()>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// However it ends, watchers learn that nothing more comes.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Runs until the store is closed, or no handle is left.
pub(crate) async fn run(
    shared: Arc<Shared>,
    log: Log,
    snapshot: Option<Revision>,
    mut requests: mpsc::Receiver<Request>,
    options: Options,
) {
    let closing = Closing(shared);
    let shared = &*closing.0;
    let mut committer = Committer {
        shared,
        log,
        snapshot,
        attempted: None,
        options,
    };
    let mut waiting = Vec::new();
    let limit = committer.options.batch_transactions.max(1);
    while requests.recv_many(&mut waiting, limit).await > 0 {
        let mut batch = Batch::new(shared);
        let mut close = None;
        for request in waiting.drain(..) {
            if batch.frame.body_length() >= committer.options.batch_bytes {
                committer.write(batch).await;
                batch = Batch::new(shared);
            }
            match request {
                Request::Close { reply } => {
                    close = Some(reply);
                    break;
                }
                request => batch.add(request),
            }
        }
        committer.write(batch).await;
        committer.maintain().await;
        if let Some(reply) = close {
            // Requests behind it are dropped unanswered, which their callers understand.
            drop(requests);
            drop(closing);
            let _ = reply.send(());
            return;
        }
    }
}

impl Batch<'_> {
    fn add(&mut self, request: Request) {
        let answer = match request {
            Request::Commit { transaction, reply } => Answer::new(reply, self.commit(transaction)),
            Request::Compact { revision, reply } => Answer::new(reply, self.compact(revision)),
            Request::Grant { ttl, reply } => Answer::new(reply, Ok(self.grant(ttl))),
            Request::Revoke { lease, reply } => Answer::new(reply, self.revoke(lease)),
            Request::Close { .. } => return,
        };
        self.answers.push(answer);
    }
}

struct Committer<'a> {
    shared: &'a Shared,
    log: Log,
    /// The revision of the newest snapshot.
    snapshot: Option<Revision>,
    /// The compaction revision at which a snapshot was last tried; a failed one is not tried again at once.
    attempted: Option<Revision>,
    options: Options,
}

impl Committer<'_> {
    async fn write(&mut self, batch: Batch<'_>) {
        let mut failure = self.shared.read().failure.clone();
        if failure.is_none()
            && batch.frame.body_length() > 0
            && let Err(error) = self.log.append(batch.frame).await
        {
            failure = Some(self.fail(&error));
        }
        if failure.is_none() {
            self.show(batch.effects);
        }
        for answer in batch.answers {
            answer.send(failure.clone());
        }
        if mutant::is_on("B10")
            && let Err(error) = self.log.sync().await
        {
            self.fail(&error);
        }
    }

    fn fail(&self, error: &std::io::Error) -> StoreError {
        let failure = StoreError::from_io(error);
        self.shared.write().failure = Some(failure.clone());
        self.shared.failed.notify_waiters();
        failure
    }

    /// Makes a durable batch visible.
    fn show(&self, effects: Vec<Effect>) {
        if effects.is_empty() {
            return;
        }
        let mut wake: Vec<Arc<Notify>> = Vec::new();
        let mut earlier_lease = false;
        {
            let mut state = self.shared.write();
            state.begin();
            for effect in effects {
                match effect {
                    Effect::Transaction { revision, events } => state.apply(revision, events, &mut wake),
                    Effect::Compact(revision) => state.compact(revision),
                    Effect::Grant { lease, ttl } => earlier_lease |= state.leases.grant(lease, ttl, Instant::now()),
                    Effect::Revoke(lease) => state.leases.revoke(lease),
                }
            }
        }
        wake.iter().for_each(|watchers| watchers.notify_waiters());
        if earlier_lease {
            self.shared.earlier_lease.notify_one();
        }
    }

    /// Continues the log in a new file and writes a snapshot when it is time.
    async fn maintain(&mut self) {
        let (failed, revision, compacted) = {
            let state = self.shared.read();
            (state.failure.is_some(), state.revision, state.compact_revision)
        };
        if failed {
            return;
        }
        // A file is named by its first revision, so it must have one before the next begins.
        if self.log.active.bytes >= self.options.segment_bytes
            && revision >= self.log.active.first
            && let Err(error) = self.log.rotate(revision + 1).await
        {
            self.fail(&error);
            return;
        }
        let enough = self.options.snapshot_log_bytes.max(self.log.snapshot_bytes);
        let obsolete = self.log.obsolete_bytes(compacted);
        if obsolete > 0 && obsolete >= enough && self.attempted != Some(compacted) {
            self.attempted = Some(compacted);
            // A failed snapshot costs only room: the log has everything. The next compaction tries again.
            if let Ok(written) = snapshot::write(self.shared, &mut self.log, self.snapshot).await {
                self.snapshot = Some(written);
            }
        }
    }
}
