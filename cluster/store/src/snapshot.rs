//! Snapshots: the state at one revision in one file, so that older logs can go.
//!
//! A snapshot shows the *compaction* revision, not the newest one: together with the log after it, it is exactly what
//! memory holds, so that watches resume over a restart as far back as before it. Leases have no revisions; a snapshot
//! has those that lived when it was written. Reading the log after it repeats some of their grants and ends, which
//! comes to the same.

use std::io;

use bytes::Bytes;
use tokio::time::Instant;

use crate::codec::{self, Item};
use crate::disk::Disk;
use crate::error::OpenError;
use crate::frame::{FileHeader, FileKind, FrameWriter, HEADER_LENGTH, read_frame};
use crate::log::Log;
use crate::range::Range;
use crate::state::State;
use crate::store::Shared;
use crate::transaction::{Key, Revision};

/// How many keys are read from memory at once, to keep locks short.
const PAGE: usize = 256;
/// A frame is written when it has so many bytes.
const FRAME_BYTES: usize = 1 << 20;

/// Writes the state at the compaction revision, removes what it replaces, and returns that revision.
///
/// Commits wait meanwhile: this runs in the commit task, between two batches, for about the time it takes to write
/// the state to the disk.
///
/// # Errors
///
/// The log is not touched by them. A snapshot that is complete but failed to get its name may still have got it.
pub(crate) async fn write(shared: &Shared, log: &mut Log, previous: Option<Revision>) -> io::Result<Revision> {
    let temporary = log.temporary();
    let written = write_file(shared, log.disk(), &temporary).await;
    let Ok((revision, bytes)) = written else {
        // What stays is removed at the next opening.
        let _ = log.disk().remove(&temporary).await;
        return written.map(|(revision, _)| revision);
    };
    log.snapshot_bytes = bytes;
    if let Some(previous) = previous.filter(|previous| *previous != revision) {
        let _ = log.disk().remove(&FileKind::Snapshot.file_name(previous)).await;
    }
    log.remove_obsolete(revision).await;
    Ok(revision)
}

/// Returns the snapshot's revision and size.
async fn write_file(shared: &Shared, disk: &dyn Disk, temporary: &str) -> io::Result<(Revision, u64)> {
    let (revision, head, mut frame) = begin(shared);
    disk.append(temporary, Bytes::from(head)).await?;
    let (mut offset, mut number, mut entries) = (HEADER_LENGTH as u64, 1, 0);
    let mut after: Option<Key> = None;
    loop {
        let range = Range {
            after: after.take(),
            ..Range::default().at(revision).limit(PAGE)
        };
        let page = shared.read().range(&range).expect("this task alone compacts");
        for kv in &page.items {
            codec::write_entry(frame.body(), kv);
        }
        entries += page.items.len() as u64;
        if !page.more {
            codec::write_end(frame.body(), entries);
        }
        if !page.more || frame.body_length() >= FRAME_BYTES {
            let bytes = std::mem::replace(&mut frame, FrameWriter::new()).finish(number, offset);
            offset += bytes.len() as u64;
            number += 1;
            disk.append(temporary, Bytes::from(bytes)).await?;
        }
        if !page.more {
            break;
        }
        after = page.items.last().map(|kv| kv.key.clone());
    }
    disk.sync(temporary).await?;
    disk.rename(temporary, &FileKind::Snapshot.file_name(revision)).await?;
    Ok((revision, offset))
}

/// The file's header, and a first frame with the leases.
fn begin(shared: &Shared) -> (Revision, Vec<u8>, FrameWriter) {
    let state = shared.read();
    let revision = state.compact_revision;
    let header = FileHeader {
        kind: FileKind::Snapshot,
        first: revision,
        second: state.leases.last(),
    };
    let mut frame = FrameWriter::new();
    for (lease, ttl) in state.leases.iter() {
        codec::write_grant(frame.body(), lease, ttl);
    }
    (revision, header.encode(), frame)
}

/// Reads the snapshot `file`.
pub(crate) fn read(file: &str, bytes: &[u8]) -> Result<State, OpenError> {
    let header = FileHeader::decode(FileKind::Snapshot, file, bytes)?;
    let mut state = State::at_snapshot(header.first, header.second);
    let (mut offset, mut number, mut entries) = (HEADER_LENGTH, 1, 0);
    loop {
        let damaged = |what: &str| OpenError::damaged(file, offset as u64, what);
        let frame = read_frame(bytes, offset).map_err(damaged)?;
        if frame.number != number {
            return Err(damaged("the frame is out of place"));
        }
        for item in codec::read_items(frame.body).ok_or_else(|| damaged("the frame holds no valid items"))? {
            match item {
                Item::Entry(kv) => {
                    entries += 1;
                    state.insert(kv);
                }
                Item::Grant { lease, ttl } => {
                    state.leases.grant(lease, ttl, Instant::now());
                }
                Item::End { entries: expected } if expected == entries && frame.end == bytes.len() => return Ok(state),
                _ => return Err(damaged("the frame holds an item that does not belong there")),
            }
        }
        offset = frame.end;
        number += 1;
    }
}
