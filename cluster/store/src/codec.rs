//! The inner format: the items in the bodies of log and snapshot frames. Pure functions on bytes.
//!
//! An item is a tag byte and its fields; numbers are little-endian, texts and values have a 4-byte length before them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::transaction::{Event, EventKind, Key, KeyValue, LeaseId, Revision};

const TRANSACTION: u8 = 1;
const COMPACT: u8 = 2;
const GRANT: u8 = 3;
const REVOKE: u8 = 4;
const ENTRY: u8 = 5;
const END: u8 = 6;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_WITH_LAST: u8 = 3;

/// One item of a frame's body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// Log: a committed transaction.
    Transaction { revision: Revision, changes: Vec<Change> },
    /// Log: history before this revision was dropped.
    Compact(Revision),
    /// Log and snapshot: a lease lives.
    Grant { lease: LeaseId, ttl: Duration },
    /// Log: a lease is gone; the transaction that deletes its keys stands before this item.
    Revoke(LeaseId),
    /// Snapshot: the state of one key.
    Entry(KeyValue),
    /// Snapshot: its last item, with the number of entries.
    End { entries: u64 },
}

/// A change of one key, as a log keeps it; what else an event has follows from the state before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Put {
        key: Key,
        value: Bytes,
        lease: Option<LeaseId>,
    },
    Delete {
        key: Key,
        last: Option<Bytes>,
    },
}

pub(crate) fn write_transaction(out: &mut Vec<u8>, revision: Revision, events: &[Arc<Event>]) {
    out.push(TRANSACTION);
    write_u64(out, revision);
    write_length(out, events.len());
    for event in events {
        match (event.kind, &event.previous) {
            (EventKind::Delete, Some(previous)) if previous.value == event.kv.value => {
                out.push(DELETE);
                write_bytes(out, event.kv.key.as_bytes());
            }
            (EventKind::Delete, _) => {
                out.push(DELETE_WITH_LAST);
                write_bytes(out, event.kv.key.as_bytes());
                write_bytes(out, &event.kv.value);
            }
            (EventKind::Put, _) => {
                out.push(PUT);
                write_bytes(out, event.kv.key.as_bytes());
                write_u64(out, event.kv.lease.unwrap_or(0));
                write_bytes(out, &event.kv.value);
            }
        }
    }
}

pub(crate) fn write_compact(out: &mut Vec<u8>, revision: Revision) {
    out.push(COMPACT);
    write_u64(out, revision);
}

pub(crate) fn write_grant(out: &mut Vec<u8>, lease: LeaseId, ttl: Duration) {
    out.push(GRANT);
    write_u64(out, lease);
    write_u64(out, u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
}

pub(crate) fn write_revoke(out: &mut Vec<u8>, lease: LeaseId) {
    out.push(REVOKE);
    write_u64(out, lease);
}

pub(crate) fn write_entry(out: &mut Vec<u8>, kv: &KeyValue) {
    out.push(ENTRY);
    write_bytes(out, kv.key.as_bytes());
    write_bytes(out, &kv.value);
    write_u64(out, kv.create_revision);
    write_u64(out, kv.mod_revision);
    write_u64(out, kv.version);
    write_u64(out, kv.lease.unwrap_or(0));
}

pub(crate) fn write_end(out: &mut Vec<u8>, entries: u64) {
    out.push(END);
    write_u64(out, entries);
}

/// Reads the items of a body, whose checksum was right; `None` if they are not such items all the same.
pub(crate) fn read_items(body: &[u8]) -> Option<Vec<Item>> {
    let mut reader = Reader { rest: body };
    let mut items = Vec::new();
    while !reader.rest.is_empty() {
        items.push(reader.item()?);
    }
    Some(items)
}

fn write_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn write_length(out: &mut Vec<u8>, length: usize) {
    // A longer one makes the item exceed the largest record, and it is refused for that.
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn length(&mut self) -> Option<usize> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?) as usize)
    }

    fn bytes(&mut self) -> Option<Bytes> {
        let length = self.length()?;
        self.take(length).map(Bytes::copy_from_slice)
    }

    fn key(&mut self) -> Option<Key> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).ok().map(Key::from)
    }

    fn lease(&mut self) -> Option<Option<LeaseId>> {
        self.u64().map(|lease| (lease != 0).then_some(lease))
    }

    fn change(&mut self) -> Option<Change> {
        Some(match self.byte()? {
            PUT => {
                let (key, lease) = (self.key()?, self.lease()?);
                Change::Put {
                    key,
                    lease,
                    value: self.bytes()?,
                }
            }
            DELETE => Change::Delete {
                key: self.key()?,
                last: None,
            },
            DELETE_WITH_LAST => Change::Delete {
                key: self.key()?,
                last: Some(self.bytes()?),
            },
            _ => return None,
        })
    }

    fn item(&mut self) -> Option<Item> {
        Some(match self.byte()? {
            TRANSACTION => {
                let (revision, count) = (self.u64()?, self.length()?);
                let changes = (0..count).map(|_| self.change()).collect::<Option<Vec<_>>>()?;
                Item::Transaction { revision, changes }
            }
            COMPACT => Item::Compact(self.u64()?),
            GRANT => Item::Grant {
                lease: self.u64()?,
                ttl: Duration::from_millis(self.u64()?),
            },
            REVOKE => Item::Revoke(self.u64()?),
            ENTRY => Item::Entry(KeyValue {
                key: self.key()?,
                value: self.bytes()?,
                create_revision: self.u64()?,
                mod_revision: self.u64()?,
                version: self.u64()?,
                lease: self.lease()?,
            }),
            END => Item::End { entries: self.u64()? },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn items_are_read_as_they_were_written() {
        let old = Event::put(None, "a/b".into(), Bytes::from_static(b"1"), Some(3), 2).kv;
        let events: Vec<Arc<Event>> = vec![
            Arc::new(Event::put(None, "c".into(), Bytes::new(), None, 9)),
            Arc::new(Event::delete(old.clone(), Some(Bytes::from_static(b"last")), 9)),
            Arc::new(Event::delete(old.clone(), None, 9)),
        ];
        let mut body = Vec::new();
        write_transaction(&mut body, 9, &events);
        write_compact(&mut body, 8);
        write_grant(&mut body, 3, Duration::from_secs(60));
        write_revoke(&mut body, 3);
        write_entry(&mut body, &old);
        write_end(&mut body, 1);
        let expected = vec![
            Item::Transaction {
                revision: 9,
                changes: vec![
                    Change::Put {
                        key: "c".into(),
                        value: Bytes::new(),
                        lease: None,
                    },
                    Change::Delete {
                        key: "a/b".into(),
                        last: Some(Bytes::from_static(b"last")),
                    },
                    Change::Delete {
                        key: "a/b".into(),
                        last: None,
                    },
                ],
            },
            Item::Compact(8),
            Item::Grant {
                lease: 3,
                ttl: Duration::from_secs(60),
            },
            Item::Revoke(3),
            Item::Entry(old),
            Item::End { entries: 1 },
        ];
        assert_eq!(read_items(&body), Some(expected));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_items(&body);
        }
    }
}
