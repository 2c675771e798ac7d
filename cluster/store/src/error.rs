//! What can go wrong, as values that say where and what to do.

use std::io;
use std::path::PathBuf;

use crate::transaction::{Key, LeaseId, Revision};

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refused an operation.
    #[error("cannot {operation} {file}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        file: String,
        /// The disk's answer.
        source: io::Error,
    },
    /// Another process has the store open.
    #[error("{} is in use by another process; stop it first", folder.display())]
    Locked {
        /// The store's folder.
        folder: PathBuf,
    },
    /// The file's format is not one that this version reads.
    #[error("{file} has format {found}, but this version reads only format {supported}; use the version that wrote it")]
    Format {
        /// The file.
        file: String,
        /// The format in the file.
        found: u32,
        /// The format that is understood.
        supported: u32,
    },
    /// Acknowledged data cannot be read back. Nothing was changed.
    #[error(
        "{file} is damaged at byte {offset}: {what}. Nothing was changed. Restore the store's folder from a backup, or \
         move it away to begin with an empty store"
    )]
    Damaged {
        /// The file.
        file: String,
        /// Where the damaged part begins.
        offset: u64,
        /// What does not fit.
        what: String,
    },
}

impl OpenError {
    pub(crate) fn damaged(file: &str, offset: u64, what: impl Into<String>) -> OpenError {
        OpenError::Damaged {
            file: file.to_owned(),
            offset,
            what: what.into(),
        }
    }
}

/// Why a write was not acknowledged.
///
/// After [`DiskFull`](Self::DiskFull) and [`Io`](Self::Io) the fate of the writes under way is unknown: they may or may
/// not be there after the store is opened again. Until then the store refuses every write, because a failed sync
/// says nothing about what reached the disk, and a second one that succeeds says no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk is full. Make room and open the store again.
    #[error("the store's disk is full ({message}); make room and restart")]
    DiskFull {
        /// The disk's answer.
        message: String,
    },
    /// The disk failed. Writes are refused until the store is opened again.
    #[error("the store's disk failed ({message}); writes are refused until a restart")]
    Io {
        /// The disk's answer.
        message: String,
    },
    /// The store was closed; a write under way may or may not have happened.
    #[error("the store is closed")]
    Closed,
    /// A put names a lease that does not exist (any more). Nothing was written.
    #[error("lease {0} does not exist")]
    LeaseNotFound(LeaseId),
    /// A transaction changes one key twice. Nothing was written.
    #[error("the transaction changes {0} twice")]
    DuplicateKey(Key),
    /// A transaction is larger than a log record may be. Nothing was written.
    #[error("the transaction has {size} bytes; at most {limit} are possible")]
    TooLarge {
        /// Its encoded size in bytes.
        size: usize,
        /// The largest size in bytes.
        limit: usize,
    },
    /// A compaction names a revision that is not reached yet.
    #[error("revision {revision} is in the future; the store is at {current}")]
    Future {
        /// The revision asked for.
        revision: Revision,
        /// The store's revision.
        current: Revision,
    },
}

impl StoreError {
    pub(crate) fn from_io(error: &io::Error) -> StoreError {
        let message = error.to_string();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull { message },
            _ => StoreError::Io { message },
        }
    }
}

/// Why a revision cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The history of that revision was dropped.
    #[error("the revision is compacted; the oldest one is {oldest}")]
    Compacted {
        /// The oldest revision that can be read.
        oldest: Revision,
    },
    /// The store has not reached that revision.
    #[error("the revision is in the future; the store is at {current}")]
    Future {
        /// The store's revision.
        current: Revision,
    },
}

/// Why a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The watcher was too slow: events that it had not yet been given were compacted away.
    #[error("the next event is compacted; the oldest revision is {oldest}")]
    Compacted {
        /// The oldest revision that can be read.
        oldest: Revision,
    },
    /// The store was closed, and every event was handed out.
    #[error("the store is closed")]
    Closed,
}
