//! Judging waiting requests, in order, against the state and against each other.
//!
//! Nothing here is visible to anyone: a batch is a plan, which the commit task makes durable, then applies, then
//! answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::codec;
use crate::error::StoreError;
use crate::frame::FrameWriter;
use crate::state::State;
use crate::store::Shared;
use crate::transaction::{Event, Key, KeyValue, LeaseId, Operation, Outcome, Revision, Transaction};

/// A transaction may take so many bytes in the log.
const TRANSACTION_BYTES: usize = 64 << 20;

/// What becomes visible once the batch is durable.
pub(crate) enum Effect {
    Transaction {
        revision: Revision,
        events: Vec<Arc<Event>>,
    },
    Compact(Revision),
    Grant {
        lease: LeaseId,
        ttl: Duration,
    },
    Revoke(LeaseId),
}

/// A caller, and what it is told once the batch is durable.
pub(crate) struct Answer {
    send: Box<dyn FnOnce(Option<StoreError>) + Send>,
}

impl Answer {
    pub(crate) fn new<T: Send + 'static>(
        reply: oneshot::Sender<Result<T, StoreError>>,
        result: Result<T, StoreError>,
    ) -> Answer {
        // Nobody listens any more if the caller's future was dropped.
        Answer {
            send: Box::new(move |failure| drop(reply.send(failure.map_or(result, Err)))),
        }
    }

    /// Answers as planned, or with a failure.
    pub(crate) fn send(self, failure: Option<StoreError>) {
        (self.send)(failure);
    }
}

/// A batch in the making.
pub(crate) struct Batch<'a> {
    shared: &'a Shared,
    pub(crate) frame: FrameWriter,
    pub(crate) effects: Vec<Effect>,
    pub(crate) answers: Vec<Answer>,
    /// The keys that the batch changes, as it leaves them.
    overlay: BTreeMap<Key, Option<KeyValue>>,
    revoked: BTreeSet<LeaseId>,
    revision: Revision,
    last_lease: LeaseId,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Batch<'a> {
        let (revision, last_lease) = {
            let state = shared.read();
            (state.revision, state.leases.last())
        };
        Batch {
            shared,
            frame: FrameWriter::new(),
            effects: Vec::new(),
            answers: Vec::new(),
            overlay: BTreeMap::new(),
            revoked: BTreeSet::new(),
            revision,
            last_lease,
        }
    }

    fn current<'s>(&'s self, state: &'s State, key: &str) -> Option<&'s KeyValue> {
        match self.overlay.get(key) {
            Some(changed) => changed.as_ref(),
            None => state.get(key),
        }
    }

    /// Judges a transaction, and plans it if its conditions hold.
    pub(crate) fn commit(&mut self, transaction: Transaction) -> Result<Outcome, StoreError> {
        // The lock is released before values are made, as that is others' code.
        let previous = {
            let state = self.shared.read();
            for compare in &transaction.compare {
                let current = self.current(&state, compare.key());
                if !compare.holds(current) {
                    return Ok(Outcome::Conflict {
                        key: compare.key().clone(),
                        current: current.cloned(),
                    });
                }
            }
            self.check(&state, &transaction.then)?;
            let previous = transaction
                .then
                .iter()
                .map(|operation| self.current(&state, operation.key()).cloned());
            previous.collect::<Vec<_>>()
        };
        let revision = self.revision + 1;
        let mut events = Vec::with_capacity(previous.len());
        for (operation, previous) in transaction.then.into_iter().zip(previous) {
            events.extend(event(operation, previous, revision).map(Arc::new));
        }
        if events.is_empty() {
            return Ok(Outcome::Committed {
                revision: self.revision,
            });
        }
        self.plan(events)
    }

    fn check(&self, state: &State, operations: &[Operation]) -> Result<(), StoreError> {
        if operations.len() > 1 {
            let mut keys = BTreeSet::new();
            if let Some(twice) = operations.iter().find(|operation| !keys.insert(operation.key())) {
                return Err(StoreError::DuplicateKey(twice.key().clone()));
            }
        }
        for operation in operations {
            if let Operation::Put { lease: Some(lease), .. } = operation
                && (self.revoked.contains(lease) || !state.leases.contains(*lease))
            {
                return Err(StoreError::LeaseNotFound(*lease));
            }
        }
        Ok(())
    }

    fn plan(&mut self, events: Vec<Arc<Event>>) -> Result<Outcome, StoreError> {
        let revision = self.revision + 1;
        let start = self.frame.body_length();
        codec::write_transaction(self.frame.body(), revision, &events);
        let size = self.frame.body_length() - start;
        if size > TRANSACTION_BYTES {
            self.frame.cut_body(start);
            return Err(StoreError::TooLarge {
                size,
                limit: TRANSACTION_BYTES,
            });
        }
        for event in &events {
            let after = (event.kv.version > 0).then(|| event.kv.clone());
            self.overlay.insert(event.kv.key.clone(), after);
        }
        self.revision = revision;
        self.effects.push(Effect::Transaction { revision, events });
        Ok(Outcome::Committed { revision })
    }

    /// Plans a compaction.
    pub(crate) fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
        if revision > self.revision {
            return Err(StoreError::Future {
                revision,
                current: self.revision,
            });
        }
        if revision > self.shared.read().compact_revision {
            codec::write_compact(self.frame.body(), revision);
            self.effects.push(Effect::Compact(revision));
        }
        Ok(())
    }

    /// Plans a new lease.
    pub(crate) fn grant(&mut self, ttl: Duration) -> LeaseId {
        self.last_lease += 1;
        let lease = self.last_lease;
        codec::write_grant(self.frame.body(), lease, ttl);
        self.effects.push(Effect::Grant { lease, ttl });
        lease
    }

    /// Plans the end of a lease and the deletion of its keys.
    pub(crate) fn revoke(&mut self, lease: LeaseId) -> Result<(), StoreError> {
        let events: Vec<_> = {
            let state = self.shared.read();
            if self.revoked.contains(&lease) || !state.leases.contains(lease) {
                return Ok(());
            }
            let mut keys: BTreeSet<Key> = state.leases.keys(lease).cloned().collect();
            keys.extend(self.overlay.keys().cloned());
            let held = keys
                .iter()
                .filter_map(|key| self.current(&state, key).filter(|kv| kv.lease == Some(lease)));
            held.map(|kv| Arc::new(Event::delete(kv.clone(), None, self.revision + 1)))
                .collect()
        };
        if !events.is_empty() {
            self.plan(events)?;
        }
        codec::write_revoke(self.frame.body(), lease);
        self.revoked.insert(lease);
        self.effects.push(Effect::Revoke(lease));
        Ok(())
    }
}

fn event(operation: Operation, previous: Option<KeyValue>, revision: Revision) -> Option<Event> {
    match operation {
        Operation::Put { key, value, lease } => {
            Some(Event::put(previous, key, value.into_bytes(revision), lease, revision))
        }
        Operation::Delete { last, .. } => {
            previous.map(|previous| Event::delete(previous, last.map(|value| value.into_bytes(revision)), revision))
        }
    }
}
