//! What callers write and what they get back: keys with values, transactions, and their outcomes.
//!
//! Plain values without behaviour; how a transaction is judged is in [`crate::committer`].

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// A point in the store's history. A new store is at 1; every committed transaction that changes something adds one.
pub type Revision = u64;

/// Names a lease; never 0, never used twice.
pub type LeaseId = u64;

/// UTF-8, by convention `/`-separated. Keys are ordered by their bytes.
pub type Key = Arc<str>;

/// A key's state at some revision. Cloning copies no bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Key,
    /// The value, shared by all who read it.
    pub value: Bytes,
    /// The revision at which the key came into being (after its last deletion).
    pub create_revision: Revision,
    /// The revision of the last change.
    pub mod_revision: Revision,
    /// How often the key was written since its creation; 1 for a new key, 0 in a delete event.
    pub version: u64,
    /// The lease at whose end the key is deleted.
    pub lease: Option<LeaseId>,
}

/// What to write: bytes, or bytes that depend on the revision at which they are written.
pub enum Value {
    /// These bytes.
    Bytes(Bytes),
    /// Called once, when the transaction is sure to be written, with its revision. It runs in the commit task: it
    /// should be quick, and must not panic.
    AtRevision(Box<dyn FnOnce(Revision) -> Bytes + Send>),
}

impl Value {
    /// A value that is made when its revision is known.
    pub fn at_revision(make: impl FnOnce(Revision) -> Bytes + Send + 'static) -> Value {
        Value::AtRevision(Box::new(make))
    }

    pub(crate) fn into_bytes(self, revision: Revision) -> Bytes {
        match self {
            Value::Bytes(bytes) => bytes,
            Value::AtRevision(make) => make(revision),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bytes(bytes) => f.debug_tuple("Bytes").field(bytes).finish(),
            Value::AtRevision(_) => f.write_str("AtRevision(..)"),
        }
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Value {
        Value::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Value {
        Value::Bytes(bytes.into())
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Value {
        Value::Bytes(Bytes::from_static(text.as_bytes()))
    }
}

/// A condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key was last changed at `is`; 0 means that it does not exist.
    ModRevision {
        /// The key.
        key: Key,
        /// Its revision, or 0.
        is: Revision,
    },
    /// The key exists.
    Exists {
        /// The key.
        key: Key,
    },
    /// The key does not exist.
    Absent {
        /// The key.
        key: Key,
    },
}

impl Compare {
    /// The key that is looked at.
    pub fn key(&self) -> &Key {
        match self {
            Compare::ModRevision { key, .. } | Compare::Exists { key } | Compare::Absent { key } => key,
        }
    }

    /// Whether the condition holds for what stands at the key.
    pub fn holds(&self, current: Option<&KeyValue>) -> bool {
        match self {
            Compare::ModRevision { is, .. } => current.map_or(0, |kv| kv.mod_revision) == *is,
            Compare::Exists { .. } => current.is_some(),
            Compare::Absent { .. } => current.is_none(),
        }
    }
}

/// A change of one key.
#[derive(Debug)]
pub enum Operation {
    /// Write the key, whether it exists or not.
    Put {
        /// The key.
        key: Key,
        /// Its new value.
        value: Value,
        /// Delete the key when this lease ends. A put without a lease takes the key out of its former lease.
        lease: Option<LeaseId>,
    },
    /// Remove the key; nothing happens when it does not exist.
    Delete {
        /// The key.
        key: Key,
        /// The value that the delete event carries, usually the last state stamped with the deletion's revision.
        /// `None`: the previous value.
        last: Option<Value>,
    },
}

impl Operation {
    /// The key that is changed.
    pub fn key(&self) -> &Key {
        match self {
            Operation::Put { key, .. } | Operation::Delete { key, .. } => key,
        }
    }
}

/// Changes that happen together, at one revision, if all conditions hold; otherwise nothing happens.
///
/// A key may be changed only once in a transaction.
#[derive(Debug, Default)]
pub struct Transaction {
    /// The conditions, checked in order.
    pub compare: Vec<Compare>,
    /// The changes.
    pub then: Vec<Operation>,
}

impl Transaction {
    /// An empty transaction, to be filled with [`when`](Self::when) and [`then`](Self::then).
    pub fn new() -> Transaction {
        Transaction::default()
    }

    /// Writes a key that must not exist yet.
    pub fn create(key: impl Into<Key>, value: impl Into<Value>) -> Transaction {
        let key = key.into();
        Transaction::new()
            .when(Compare::Absent { key: key.clone() })
            .put(key, value)
    }

    /// Writes a key that must still be at `mod_revision`.
    pub fn update(key: impl Into<Key>, mod_revision: Revision, value: impl Into<Value>) -> Transaction {
        let key = key.into();
        Transaction::new()
            .when(Compare::ModRevision {
                key: key.clone(),
                is: mod_revision,
            })
            .put(key, value)
    }

    /// Deletes a key that must still be at `mod_revision`; `last` is what the delete event shows.
    pub fn delete(key: impl Into<Key>, mod_revision: Revision, last: Option<Value>) -> Transaction {
        let key = key.into();
        Transaction::new()
            .when(Compare::ModRevision {
                key: key.clone(),
                is: mod_revision,
            })
            .then(Operation::Delete { key, last })
    }

    /// Adds a condition.
    pub fn when(mut self, compare: Compare) -> Transaction {
        self.compare.push(compare);
        self
    }

    /// Adds a change.
    pub fn then(mut self, operation: Operation) -> Transaction {
        self.then.push(operation);
        self
    }

    /// Adds an unconditional write without a lease.
    pub fn put(self, key: impl Into<Key>, value: impl Into<Value>) -> Transaction {
        self.then(Operation::Put {
            key: key.into(),
            value: value.into(),
            lease: None,
        })
    }

    /// Lets every key that the transaction puts end with `lease`.
    pub fn with_lease(mut self, lease: LeaseId) -> Transaction {
        for operation in &mut self.then {
            if let Operation::Put { lease: slot, .. } = operation {
                *slot = Some(lease);
            }
        }
        self
    }
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened.
    Committed {
        /// The transaction's own revision; the store's current one if the transaction changed nothing.
        revision: Revision,
    },
    /// A condition did not hold; nothing happened.
    Conflict {
        /// The key of the first condition that failed.
        key: Key,
        /// What stands there now.
        current: Option<KeyValue>,
    },
}

/// Whether an event is a write or a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The key was written.
    Put,
    /// The key was removed.
    Delete,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The transaction's revision.
    pub revision: Revision,
    /// Put or delete.
    pub kind: EventKind,
    /// The new state. Of a delete: the key, its last value (see [`Operation::Delete`]), and the deletion's revision
    /// as `mod_revision`.
    pub kv: KeyValue,
    /// The state before, if the key existed.
    pub previous: Option<KeyValue>,
}

impl Event {
    /// The event of writing `key`.
    pub(crate) fn put(
        previous: Option<KeyValue>,
        key: Key,
        value: Bytes,
        lease: Option<LeaseId>,
        revision: Revision,
    ) -> Event {
        let (key, create_revision, version) = match &previous {
            Some(old) => (old.key.clone(), old.create_revision, old.version + 1),
            None => (key, revision, 1),
        };
        let kv = KeyValue {
            key,
            value,
            create_revision,
            mod_revision: revision,
            version,
            lease,
        };
        Event {
            revision,
            kind: EventKind::Put,
            kv,
            previous,
        }
    }

    /// The event of deleting a key that stood at `previous`.
    pub(crate) fn delete(previous: KeyValue, last: Option<Bytes>, revision: Revision) -> Event {
        let kv = KeyValue {
            key: previous.key.clone(),
            value: last.unwrap_or_else(|| previous.value.clone()),
            create_revision: previous.create_revision,
            mod_revision: revision,
            version: 0,
            lease: None,
        };
        Event {
            revision,
            kind: EventKind::Delete,
            kv,
            previous: Some(previous),
        }
    }
}
