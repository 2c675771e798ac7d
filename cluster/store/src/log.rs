//! The log's files: appending batches, continuing in a new file, removing old ones.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::Disk;
use crate::frame::{FileHeader, FileKind, FrameWriter, HEADER_LENGTH};
use crate::mutant;
use crate::transaction::Revision;

/// Names of files that are not complete yet begin so; they are removed at the next opening.
pub(crate) const TEMPORARY: &str = "tmp-";

/// One file of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The revision of its first transaction.
    pub first: Revision,
    pub bytes: u64,
}

impl Segment {
    pub(crate) fn name(self) -> String {
        FileKind::Log.file_name(self.first)
    }
}

/// The log, open for appending.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    /// Files that are complete, oldest first.
    pub(crate) sealed: Vec<Segment>,
    pub(crate) active: Segment,
    active_name: String,
    /// The number that the next batch gets.
    next_batch: u64,
    /// Of the last snapshot; 0 if there is none.
    pub(crate) snapshot_bytes: u64,
    /// Makes temporary names unique, as an attempt that failed may leave its file behind.
    attempts: u64,
}

impl Log {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        sealed: Vec<Segment>,
        active: Segment,
        next_batch: u64,
        snapshot_bytes: u64,
    ) -> Log {
        Log {
            disk,
            sealed,
            active,
            active_name: active.name(),
            next_batch,
            snapshot_bytes,
            attempts: 0,
        }
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Makes the first file of an empty store's log.
    pub(crate) async fn create(disk: Arc<dyn Disk>, first: Revision) -> io::Result<Log> {
        let mut log = Log::new(disk, Vec::new(), Segment { first, bytes: 0 }, 1, 0);
        let temporary = log.prepare_segment(first).await?;
        log.activate(&temporary, first).await?;
        Ok(log)
    }

    /// Appends a batch, durably. After an error nothing more may be appended.
    pub(crate) async fn append(&mut self, frame: FrameWriter) -> io::Result<()> {
        let bytes = frame.finish(self.next_batch, self.active.bytes);
        let length = bytes.len() as u64;
        let bytes = Bytes::from(bytes);
        if mutant::active("B10") {
            self.disk.append(&self.active_name, bytes).await?;
        } else {
            self.disk.append_and_sync(&self.active_name, bytes).await?;
        }
        self.active.bytes += length;
        self.next_batch += 1;
        Ok(())
    }

    /// Makes durable what was appended (mutant B10 alone does so late).
    pub(crate) async fn sync(&self) -> io::Result<()> {
        self.disk.sync(&self.active_name).await
    }

    /// Continues the log in a new file, whose first transaction will be at `first`.
    ///
    /// An error means that it is unknown in which file the log goes on: nothing more may be appended. If merely the
    /// new file could not be prepared, the old one is continued.
    pub(crate) async fn rotate(&mut self, first: Revision) -> io::Result<()> {
        let old = self.active;
        if let Ok(temporary) = self.prepare_segment(first).await {
            self.activate(&temporary, first).await?;
            self.sealed.push(old);
        }
        Ok(())
    }

    async fn prepare_segment(&mut self, first: Revision) -> io::Result<String> {
        let temporary = self.temporary();
        let header = FileHeader {
            kind: FileKind::Log,
            first,
            second: self.next_batch,
        }
        .encode();
        self.disk.append_and_sync(&temporary, Bytes::from(header)).await?;
        Ok(temporary)
    }

    async fn activate(&mut self, temporary: &str, first: Revision) -> io::Result<()> {
        let segment = Segment {
            first,
            bytes: HEADER_LENGTH as u64,
        };
        self.disk.rename(temporary, &segment.name()).await?;
        self.active = segment;
        self.active_name = segment.name();
        Ok(())
    }

    /// A name for a file that is to get its real name when it is complete.
    pub(crate) fn temporary(&mut self) -> String {
        self.attempts += 1;
        format!("{TEMPORARY}{}", self.attempts)
    }

    /// How many files hold nothing but history up to `revision`.
    fn obsolete(&self, revision: Revision) -> usize {
        let following = self.sealed.iter().skip(1).chain([&self.active]);
        self.sealed
            .iter()
            .zip(following)
            .take_while(|(_, next)| next.first <= revision + 1)
            .count()
    }

    /// How many bytes a snapshot at `revision` makes superfluous.
    pub(crate) fn obsolete_bytes(&self, revision: Revision) -> u64 {
        self.sealed[..self.obsolete(revision)]
            .iter()
            .map(|segment| segment.bytes)
            .sum()
    }

    /// Removes the files that a durable snapshot at `revision` makes superfluous, oldest first. What cannot be removed
    /// is left for the next time.
    pub(crate) async fn remove_obsolete(&mut self, revision: Revision) {
        for _ in 0..self.obsolete(revision) {
            if self.disk.remove(&self.sealed[0].name()).await.is_err() {
                return;
            }
            self.sealed.remove(0);
        }
    }
}
