//! A disk in memory that can crash, fail and rot: for tests of the store and of what is built on it.
//!
//! It does what [`Disk`] allows a disk to do: what was not synced is lost by sectors of 512 bytes, removals and new
//! names are forgotten. It has no latency. It does not reorder a cut with the appends after it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::disk::Disk;

const SECTOR: usize = 512;

/// A [`Disk`] in memory.
#[derive(Default)]
pub struct MemoryDisk {
    state: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    files: BTreeMap<String, File>,
    /// Removed since the folder was last durable; a crash may bring them back.
    removed: BTreeMap<String, File>,
    operations: u64,
    syncs: u64,
    stop: Option<(u64, bool)>,
    fail_syncs: u32,
    room: Option<usize>,
}

#[derive(Clone, Default)]
struct File {
    content: Vec<u8>,
    /// What a crash cannot take; the content begins with it unless it was cut.
    durable: Vec<u8>,
    /// The name is durable.
    named: bool,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine loses its power: for each unsynced sector, cut, removal and new name, `keep` decides whether it
    /// outlives that. Operations work again afterwards.
    pub fn crash(&self, mut keep: impl FnMut() -> bool) {
        let mut state = self.lock();
        let removed = std::mem::take(&mut state.removed);
        for (name, file) in removed {
            if !state.files.contains_key(&name) && file.named && !keep() {
                state.files.insert(name, file);
            }
        }
        state.files.retain(|_, file| file.named || keep());
        for file in state.files.values_mut() {
            file.crash(&mut keep);
        }
        state.stop = None;
        state.fail_syncs = 0;
    }

    /// The machine stops at the operation after `operations` more that change something: that one and all later ones
    /// fail. `happens`: that one had its effect (as far as a crash leaves it).
    pub fn stop_after(&self, operations: u64, happens: bool) {
        let mut state = self.lock();
        state.stop = Some((state.operations + operations, happens));
    }

    /// The next `count` syncs fail, and leave open what is durable.
    pub fn fail_syncs(&self, count: u32) {
        self.lock().fail_syncs = count;
    }

    /// So many more bytes can be appended before the disk is full; `None`: any number.
    pub fn limit_room(&self, bytes: Option<usize>) {
        self.lock().room = bytes;
    }

    /// How many operations that change something were done.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// How many syncs were done.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// The files' names and contents.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.lock()
            .files
            .iter()
            .map(|(name, file)| (name.clone(), file.content.clone()))
            .collect()
    }

    /// Replaces or adds a file, durably.
    pub fn set_file(&self, name: &str, content: Vec<u8>) {
        self.lock().files.insert(
            name.to_owned(),
            File {
                durable: content.clone(),
                content,
                named: true,
            },
        );
    }

    /// Removes a file, durably.
    pub fn remove_file(&self, name: &str) {
        self.lock().files.remove(name);
    }

    /// A second disk with the same durable and other contents, and no faults.
    pub fn copy(&self) -> MemoryDisk {
        let state = self.lock();
        let contents = Contents {
            files: state.files.clone(),
            removed: state.removed.clone(),
            ..Contents::default()
        };
        MemoryDisk {
            state: Mutex::new(contents),
        }
    }
}

impl File {
    fn sync(&mut self) {
        let common = self.durable.len().min(self.content.len());
        self.durable.truncate(common);
        self.durable.extend_from_slice(&self.content[common..]);
    }

    fn crash(&mut self, keep: &mut impl FnMut() -> bool) {
        if self.content.len() < self.durable.len() && !keep() {
            self.content = self.durable.clone();
        }
        let safe = self.durable.len().min(self.content.len());
        let (mut start, mut kept) = (safe, safe);
        while start < self.content.len() {
            let end = ((start / SECTOR + 1) * SECTOR).min(self.content.len());
            if keep() {
                kept = end;
            } else {
                self.content[start..end].fill(0);
            }
            start = end;
        }
        self.content.truncate(kept);
        self.durable = self.content.clone();
        self.named = true;
    }
}

impl Contents {
    /// Counts an operation; the error is what it returns, after doing its work if the flag says so.
    fn step(&mut self) -> (bool, io::Result<()>) {
        let now = self.operations;
        self.operations += 1;
        match self.stop {
            Some((at, happens)) if now >= at => (now == at && happens, Err(io::Error::other("the machine stopped"))),
            _ => (true, Ok(())),
        }
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        self.files
            .get_mut(name)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no file {name}")))
    }
}

#[async_trait]
impl Disk for MemoryDisk {
    async fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().files.keys().cloned().collect())
    }

    async fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.lock().file(name).map(|file| file.content.clone())
    }

    async fn append(&self, name: &str, data: Bytes) -> io::Result<()> {
        let mut state = self.lock();
        let (happens, mut result) = state.step();
        if happens {
            let mut length = data.len();
            if let Some(room) = &mut state.room {
                length = length.min(*room);
                *room -= length;
                if length < data.len() {
                    result = Err(io::Error::new(io::ErrorKind::StorageFull, "no space left"));
                }
            }
            state
                .files
                .entry(name.to_owned())
                .or_default()
                .content
                .extend_from_slice(&data[..length]);
        }
        result
    }

    async fn sync(&self, name: &str) -> io::Result<()> {
        // Others get their turn, as while a real disk works.
        tokio::task::yield_now().await;
        let mut state = self.lock();
        let (happens, result) = state.step();
        state.syncs += 1;
        if state.fail_syncs > 0 {
            state.fail_syncs -= 1;
            return Err(io::Error::other("the sync failed"));
        }
        if happens {
            state.file(name)?.sync();
        }
        result
    }

    async fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        let mut state = self.lock();
        let (happens, result) = state.step();
        if happens {
            state
                .file(name)?
                .content
                .truncate(usize::try_from(length).unwrap_or(usize::MAX));
        }
        result
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        let (happens, result) = state.step();
        if happens {
            state.file(from)?;
            if let Some(file) = state.files.remove(from) {
                state.files.insert(to.to_owned(), file);
            }
            state.removed.clear();
            state.files.values_mut().for_each(|file| file.named = true);
        }
        result
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        let (happens, result) = state.step();
        if happens {
            state.file(name)?;
            if let Some(file) = state.files.remove(name) {
                state.removed.insert(name.to_owned(), file);
            }
        }
        result
    }
}
