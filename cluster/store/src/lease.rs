//! Leases: keys that live for a time. The table, and the task that ends leases when their time is over.
//!
//! A lease's time runs from its grant, or from the opening of the store: how long a store was down is not counted, as
//! in etcd. Leases cannot be prolonged; who wants that takes a new one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::committer::Request;
use crate::store::Shared;
use crate::transaction::{Event, EventKind, Key, LeaseId};

/// The leases that live, and their keys.
#[derive(Default)]
pub(crate) struct Leases {
    by_id: BTreeMap<LeaseId, Lease>,
    /// Leases too long to ever end have no deadline.
    deadlines: BTreeSet<(Instant, LeaseId)>,
    /// The greatest id ever used.
    last: LeaseId,
}

struct Lease {
    ttl: Duration,
    deadline: Option<Instant>,
    keys: BTreeSet<Key>,
}

impl Leases {
    pub(crate) fn contains(&self, lease: LeaseId) -> bool {
        self.by_id.contains_key(&lease)
    }

    /// The greatest id ever used.
    pub(crate) fn last(&self) -> LeaseId {
        self.last
    }

    /// Makes sure that ids up to `lease` are not used again.
    pub(crate) fn reserve(&mut self, lease: LeaseId) {
        self.last = self.last.max(lease);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LeaseId, Duration)> + '_ {
        self.by_id.iter().map(|(id, lease)| (*id, lease.ttl))
    }

    pub(crate) fn keys(&self, lease: LeaseId) -> impl Iterator<Item = &Key> + '_ {
        self.by_id.get(&lease).into_iter().flat_map(|lease| &lease.keys)
    }

    /// Adds a lease; true if it is now the next one to end.
    pub(crate) fn grant(&mut self, id: LeaseId, ttl: Duration, now: Instant) -> bool {
        self.revoke(id);
        self.reserve(id);
        let deadline = now.checked_add(ttl);
        self.by_id.insert(
            id,
            Lease {
                ttl,
                deadline,
                keys: BTreeSet::new(),
            },
        );
        let Some(deadline) = deadline else { return false };
        self.deadlines.insert((deadline, id));
        self.deadlines.first() == Some(&(deadline, id))
    }

    pub(crate) fn revoke(&mut self, id: LeaseId) {
        if let Some(lease) = self.by_id.remove(&id)
            && let Some(deadline) = lease.deadline
        {
            self.deadlines.remove(&(deadline, id));
        }
    }

    /// Follows a key in and out of leases.
    pub(crate) fn apply(&mut self, event: &Event) {
        let old = event.previous.as_ref().and_then(|kv| kv.lease);
        let new = if event.kind == EventKind::Put {
            event.kv.lease
        } else {
            None
        };
        if old != new {
            if let Some(lease) = old.and_then(|id| self.by_id.get_mut(&id)) {
                lease.keys.remove(&event.kv.key);
            }
            self.attach(&event.kv.key, new);
        }
    }

    /// Puts a key into a lease.
    pub(crate) fn attach(&mut self, key: &Key, lease: Option<LeaseId>) {
        if let Some(lease) = lease.and_then(|id| self.by_id.get_mut(&id)) {
            lease.keys.insert(key.clone());
        }
    }

    /// Gives every lease its full time from `now` on.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.deadlines.clear();
        for (id, lease) in &mut self.by_id {
            lease.deadline = now.checked_add(lease.ttl);
            self.deadlines.extend(lease.deadline.map(|deadline| (deadline, *id)));
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn due(&self, now: Instant) -> Vec<LeaseId> {
        self.deadlines
            .iter()
            .take_while(|(deadline, _)| *deadline <= now)
            .map(|(_, id)| *id)
            .collect()
    }
}

/// Ends leases when their time is over, until the store is closed or refuses writes.
///
/// A task of its own, so that the commit task has no timer to set anew at each commit.
pub(crate) async fn end_leases(shared: Arc<Shared>, queue: mpsc::WeakSender<Request>) {
    loop {
        let next = read(&shared, Leases::next_deadline);
        tokio::select! {
            biased;
            () = shared.earlier_lease.notified() => continue,
            () = sleep_until(next) => {}
        }
        let due = read(&shared, |leases| leases.due(Instant::now()));
        let mut answers = Vec::new();
        for lease in due {
            let (reply, answer) = oneshot::channel();
            let Some(queue) = queue.upgrade() else { return };
            if queue.send(Request::Revoke { lease, reply }).await.is_err() {
                return;
            }
            answers.push(answer);
        }
        for answer in answers {
            if !matches!(answer.await, Ok(Ok(()))) {
                return;
            }
        }
    }
}

fn read<T>(shared: &Shared, look: impl FnOnce(&Leases) -> T) -> T {
    look(&shared.read().leases)
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
