//! A revisioned key-value store: transactions, watch, compaction, leases, durability.
//!
//! It is to one process what etcd is to a cluster, and knows nothing of what is stored in it.
//!
//! * **Revisions.** Every transaction has its own, one greater than the last. All reads are of one revision; until they
//!   are compacted, old ones can be read too.
//! * **Transactions** ([`Transaction`]) compare and then write, wholly or not at all. A value may depend on its
//!   revision.
//! * **Durability.** An acknowledged write is on the disk: an append-only log with checksums, of which one sync serves
//!   all transactions that wait. Readers and watchers see only what is durable, and never wait for the disk. What a
//!   crash may leave and what is refused as damage is told in `frame.rs`; the way back from the disk in `recovery.rs`.
//! * **Watch** ([`Watcher`]): every event, once, in order, from any revision that is not compacted, also across a
//!   restart.
//! * **Compaction** drops history from memory, and from time to time from the disk; when to compact is the caller's
//!   business. Without it, memory and log grow for ever.
//! * **Leases** end, and take their keys with them.
//!
//! The disk is a trait, [`Disk`]: files in the real world (`FileDisk`), a model of them in the simulator.
//!
//! What it does not do: replicate, authenticate, or hold more than fits in memory. It writes a snapshot between two
//! batches of commits, which wait for it.
//!
//! ```
//! # use std::sync::Arc;
//! # use orrery_store::{MemoryDisk, Options, Outcome, Store, Transaction};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::open(Arc::new(MemoryDisk::new()), Options::default()).await?;
//! let created = store.commit(Transaction::create("pods/web", "a value")).await?;
//! assert_eq!(created, Outcome::Committed { revision: 2 });
//!
//! let mut watcher = store.watch("pods/", 0)?;
//! let events = watcher.next().await?;
//! assert_eq!(events[0].kv.value, "a value");
//! # Ok(())
//! # }
//! ```

mod batch;
mod codec;
mod committer;
mod disk;
mod error;
#[cfg(not(madsim))]
mod files;
mod frame;
mod groups;
mod index;
mod lease;
mod log;
mod memory;
mod mutant;
mod range;
mod recovery;
mod snapshot;
mod state;
mod store;
mod transaction;
mod watch;

pub use disk::Disk;
pub use error::{OpenError, RangeError, StoreError, WatchError};
#[cfg(not(madsim))]
pub use files::FileDisk;
pub use memory::MemoryDisk;
pub use range::{Range, RangeResult};
pub use store::{Options, Store};
pub use transaction::{
    Compare, Event, EventKind, Key, KeyValue, LeaseId, Operation, Outcome, Revision, Transaction, Value,
};
pub use watch::Watcher;
