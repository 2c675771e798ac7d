//! Opening: from what is on the disk to the state it stands for.
//!
//! The newest snapshot is loaded, then the log is repeated from the file that holds the revision after it. Only the
//! end of the last log can be torn (see [`crate::frame`]); it is cut off. Everything else that does not fit is damage:
//! the store refuses to open, says which file and where, and leaves all as it is. What a crash left over (temporary
//! files, files that a snapshot replaced) is removed once everything was read.
//!
//! What was read may be in the system's cache only, if the process died but the machine did not. It is not enough to
//! sync the log again: when the disk had *failed* to write it, the system may have forgotten so and has nothing left to
//! write (the sync of the process before was told, and that process stopped; see [`crate::committer`]). So what was
//! read of the last log, and found sound, is written anew, and takes the old file's place, before anything is shown.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::codec;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::frame::{FileHeader, FileKind, HEADER_LENGTH, Tail, judge_tail, read_frame};
use crate::log::{Log, Segment, TEMPORARY};
use crate::snapshot;
use crate::state::State;
use crate::transaction::Revision;

/// The name of the last log while it is written anew.
const REWRITTEN: &str = "tmp-open";

/// The state, and the log to be continued.
pub(crate) struct Recovered {
    pub state: State,
    pub log: Log,
    /// The revision of the snapshot on the disk.
    pub snapshot: Option<Revision>,
}

/// Reads everything.
pub(crate) async fn recover(disk: Arc<dyn Disk>) -> Result<Recovered, OpenError> {
    let names = disk
        .list()
        .await
        .map_err(|source| io_error("list", "the store's folder", source))?;
    let logs: BTreeSet<Revision> = names
        .iter()
        .filter_map(|name| FileKind::Log.revision_of(name))
        .collect();
    let snapshot = names
        .iter()
        .filter_map(|name| FileKind::Snapshot.revision_of(name))
        .max();

    let (mut state, snapshot_bytes) = match snapshot {
        Some(revision) => {
            let name = FileKind::Snapshot.file_name(revision);
            let bytes = read(&*disk, &name).await?;
            (snapshot::read(&name, &bytes)?, bytes.len() as u64)
        }
        None => (State::new(), 0),
    };
    let mut needed = needed_logs(&logs, state.revision, snapshot)?;
    let log = match needed.pop() {
        None => {
            remove_leftovers(&*disk, &names, &BTreeSet::new()).await?;
            let created = Log::create(disk, state.revision + 1).await;
            created.map_err(|source| io_error("create", "the first log", source))?
        }
        Some(last) => {
            let mut replay = Replay {
                state: &mut state,
                next_batch: None,
            };
            let mut sealed = Vec::new();
            for first in needed {
                let name = FileKind::Log.file_name(first);
                let bytes = read(&*disk, &name).await?;
                if let Some(bad) = replay.file(&name, &bytes)? {
                    return Err(OpenError::damaged(&name, bad.offset as u64, bad.what));
                }
                sealed.push(Segment {
                    first,
                    bytes: bytes.len() as u64,
                });
            }
            let active = replay.last_file(&*disk, last).await?;
            let next_batch = replay.next_batch.expect("the last log's header was read");
            let keep = sealed.iter().chain([&active]).map(|segment| segment.name());
            let keep = keep
                .chain(snapshot.map(|revision| FileKind::Snapshot.file_name(revision)))
                .chain([REWRITTEN.to_owned()])
                .collect();
            remove_leftovers(&*disk, &names, &keep).await?;
            Log::new(disk, sealed, active, next_batch, snapshot_bytes)
        }
    };
    Ok(Recovered { state, log, snapshot })
}

/// The logs that must be read after a snapshot (or from the beginning), oldest first.
fn needed_logs(
    logs: &BTreeSet<Revision>,
    revision: Revision,
    snapshot: Option<Revision>,
) -> Result<Vec<Revision>, OpenError> {
    if let Some(&first) = logs.range(..=revision + 1).next_back() {
        return Ok(logs.range(first..).copied().collect());
    }
    match (logs.first(), snapshot) {
        (None, None) => Ok(Vec::new()),
        (_, Some(at)) => {
            let what = format!("the log with revision {}, which follows it, is missing", revision + 1);
            Err(OpenError::damaged(&FileKind::Snapshot.file_name(at), 0, what))
        }
        (Some(&first), None) => {
            let what = "the snapshot or log before it is missing";
            Err(OpenError::damaged(&FileKind::Log.file_name(first), 0, what))
        }
    }
}

struct BadFrame {
    offset: usize,
    what: &'static str,
}

struct Replay<'a> {
    state: &'a mut State,
    next_batch: Option<u64>,
}

impl Replay<'_> {
    /// Repeats a log up to its end, or to the first frame that cannot be read.
    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<Option<BadFrame>, OpenError> {
        let header = FileHeader::decode(FileKind::Log, name, bytes)?;
        let mut batch = header.second;
        if self.next_batch.is_some_and(|expected| expected != batch) {
            return Err(OpenError::damaged(
                name,
                0,
                "the log before it is missing or incomplete",
            ));
        }
        self.next_batch = Some(batch);
        let mut offset = HEADER_LENGTH;
        let now = Instant::now();
        while offset < bytes.len() {
            let frame = match read_frame(bytes, offset) {
                Ok(frame) => frame,
                Err(what) => return Ok(Some(BadFrame { offset, what })),
            };
            let damaged = |what: &str| OpenError::damaged(name, offset as u64, what);
            if frame.number != batch {
                return Err(damaged(&format!(
                    "batch {} stands where batch {batch} should",
                    frame.number
                )));
            }
            for item in codec::read_items(frame.body).ok_or_else(|| damaged("the frame holds no valid items"))? {
                self.state.replay(item, now).map_err(|what| damaged(&what))?;
            }
            offset = frame.end;
            batch += 1;
            self.next_batch = Some(batch);
        }
        Ok(None)
    }

    /// Repeats the last log, cuts off a torn end, and makes what is left durable.
    async fn last_file(&mut self, disk: &dyn Disk, first: Revision) -> Result<Segment, OpenError> {
        let name = FileKind::Log.file_name(first);
        let bytes = read(disk, &name).await?;
        let mut length = bytes.len();
        if let Some(bad) = self.file(&name, &bytes)? {
            // A reading that goes wrong once must not cost data: only what reads the same twice is cut off.
            let torn = judge_tail(&bytes, bad.offset) == Tail::Torn && read(disk, &name).await? == bytes;
            if !torn {
                return Err(OpenError::damaged(&name, bad.offset as u64, bad.what));
            }
            length = bad.offset;
        }
        write_anew(disk, &name, Bytes::from(bytes).slice(..length))
            .await
            .map_err(|source| io_error("write anew", &name, source))?;
        Ok(Segment {
            first,
            bytes: length as u64,
        })
    }
}

/// Replaces a file by one of the same name with this content.
async fn write_anew(disk: &dyn Disk, name: &str, content: Bytes) -> io::Result<()> {
    // An attempt that was cut off may have left it behind; it must not be continued.
    match disk.remove(REWRITTEN).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    disk.append_and_sync(REWRITTEN, content).await?;
    disk.rename(REWRITTEN, name).await
}

/// Removes the store's files that are not in `keep`.
async fn remove_leftovers(disk: &dyn Disk, names: &[String], keep: &BTreeSet<String>) -> Result<(), OpenError> {
    let ours = |name: &str| {
        let kinds = [FileKind::Log, FileKind::Snapshot];
        name.starts_with(TEMPORARY) || kinds.iter().any(|kind| kind.revision_of(name).is_some())
    };
    for name in names.iter().filter(|name| ours(name) && !keep.contains(*name)) {
        disk.remove(name)
            .await
            .map_err(|source| io_error("remove", name, source))?;
    }
    Ok(())
}

async fn read(disk: &dyn Disk, name: &str) -> Result<Vec<u8>, OpenError> {
    disk.read(name).await.map_err(|source| io_error("read", name, source))
}

fn io_error(operation: &'static str, file: &str, source: io::Error) -> OpenError {
    OpenError::Io {
        operation,
        file: file.to_owned(),
        source,
    }
}
