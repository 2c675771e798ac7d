//! A simulated disk: what is written is not durable until it is synced, and a crash of its machine keeps any part of
//! it.
//!
//! It keeps the promises of [`orrery_store::Disk`] and no more: unsynced appends lose any of their sectors of 512 bytes
//! (they read as zeros) or are cut short, unsynced truncations may not have happened, names that no rename has made
//! durable may be forgotten, removed files may be back. A crash of the *process* loses nothing: the system's cache
//! outlives it.
//!
//! It can be in trouble ([`Trouble`]): slow, full, failing, or with a wrong bit in what it reads. A sync that fails is
//! the worst of it: the system forgets what it was to write, goes on showing it, and no later sync writes it. Not
//! simulated: a medium that loses what was synced (no store on one disk survives that).

mod content;
mod file;
#[cfg(test)]
mod tests;
mod troubles;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use orrery_api::random::Random;
use orrery_store::Disk;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::faults::Victims;
use crate::scenario::DiskOperation;
use file::File;
pub use troubles::Trouble;
use troubles::Troubles;

/// How long a sync takes.
const SYNC: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(4));

/// A disk of one machine. It outlives processes and crashes.
pub struct SimDisk {
    files: Mutex<BTreeMap<String, File>>,
    /// Files that were removed, but not durably.
    removed: Mutex<BTreeMap<String, File>>,
    random: Random,
    troubles: Mutex<Troubles>,
    /// What troubles draw.
    chance: Random,
    /// Told when a trouble has passed by itself.
    passed: Notify,
}

/// What a crash did to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loss {
    /// Bytes that were written, not synced, and are gone or zero.
    pub bytes: usize,
    /// Names forgotten or back.
    pub names: usize,
}

fn absent(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}

impl SimDisk {
    /// An empty disk whose crashes draw from `random`.
    pub fn new(random: Random) -> Self {
        SimDisk {
            files: Mutex::default(),
            removed: Mutex::default(),
            troubles: Mutex::default(),
            chance: random.stream("troubles"),
            passed: Notify::new(),
            random,
        }
    }

    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on something is wrong with it, and befalls operations; a number for [`end`](Self::end).
    pub fn begin(&self, trouble: Trouble, victims: Victims) -> u64 {
        self.troubles().begin(trouble, victims)
    }

    /// A trouble is over.
    pub fn end(&self, number: u64) {
        self.troubles().end(number);
        self.passed.notify_waiters();
    }

    /// Nothing is wrong with it any more.
    pub fn end_all(&self) {
        self.troubles().end_all();
        self.passed.notify_waiters();
    }

    /// Waits until a trouble is over.
    pub async fn over(&self, number: u64) {
        loop {
            let mut passed = std::pin::pin!(self.passed.notified());
            passed.as_mut().enable();
            if !self.troubles().lasts(number) {
                return;
            }
            passed.await;
        }
    }

    /// How often it failed so far, or showed what had not been written.
    pub fn harm(&self) -> u64 {
        self.troubles().harm()
    }

    /// Whether an operation that is tried now fails.
    fn fails(&self, tried: DiskOperation) -> io::Result<()> {
        let outcome = self.troubles().fails(tried);
        if outcome.is_err() {
            self.passed.notify_waiters();
        }
        outcome
    }

    /// How much later an operation begins, and how much later it ends.
    fn delay(&self) -> (Duration, Duration) {
        let by: Duration = self.troubles().slow().iter().map(|by| by.draw(&self.chance)).sum();
        (by / 2, by - by / 2)
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, File>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn removed(&self) -> MutexGuard<'_, BTreeMap<String, File>> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine loses power: whatever is not durable may be lost, each part for itself.
    pub fn crash(&self) -> Loss {
        let mut loss = Loss::default();
        let mut files = self.files();
        for (name, file) in std::mem::take(&mut *self.removed()) {
            if self.random.chance(0.5) && !files.contains_key(&name) {
                files.insert(name, file);
                loss.names += 1;
            }
        }
        files.retain(|_, file| {
            let kept = file.named || self.random.chance(0.5);
            if !kept {
                loss.names += 1;
                loss.bytes += file.content.len();
            }
            kept
        });
        for file in files.values_mut() {
            loss.bytes += file.crash(&self.random);
        }
        loss
    }
}

#[async_trait]
impl Disk for SimDisk {
    async fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    async fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.fails(DiskOperation::Read)?;
        let content = self.files().get(name).map(|file| file.content.whole());
        let mut content = content.ok_or_else(|| absent(name))?;
        if !content.is_empty()
            && let Some(which) = self.troubles().wrong_bit()
        {
            let bit = self.chance.stream(&which).stream(name).below(content.len() as u64 * 8) as usize;
            content[bit / 8] ^= 1 << (bit % 8);
            self.passed.notify_waiters();
        }
        Ok(content)
    }

    async fn append(&self, name: &str, data: Bytes) -> io::Result<()> {
        let (before, after) = self.delay();
        pass(before).await;
        self.fails(DiskOperation::Append)?;
        let fits = self.troubles().take_room(data.len());
        self.files()
            .entry(name.to_owned())
            .or_default()
            .content
            .append(&data[..fits]);
        if fits < data.len() {
            let message = format!("no room for {} of {} bytes", data.len() - fits, data.len());
            return Err(io::Error::new(io::ErrorKind::StorageFull, message));
        }
        pass(after).await;
        Ok(())
    }

    async fn sync(&self, name: &str) -> io::Result<()> {
        let (before, after) = self.delay();
        sleep(self.random.duration(SYNC.0, SYNC.1) + before).await;
        let failure = self.fails(DiskOperation::Sync);
        {
            let mut files = self.files();
            let file = files.get_mut(name).ok_or_else(|| absent(name))?;
            match &failure {
                Ok(()) => file.sync(),
                Err(_) => file.forget(),
            }
        }
        pass(after).await;
        failure
    }

    async fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        let mut files = self.files();
        let file = files.get_mut(name).ok_or_else(|| absent(name))?;
        let before = file.content.len();
        file.truncate(length as usize);
        self.troubles().give_room(before - file.content.len());
        Ok(())
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (before, after) = self.delay();
        sleep(self.random.duration(SYNC.0, SYNC.1) + before).await;
        // What fails may have happened all the same.
        let failure = self.fails(DiskOperation::Rename);
        if failure.is_ok() || self.chance.chance(0.5) {
            let mut files = self.files();
            let file = files.remove(from).ok_or_else(|| absent(from))?;
            let replaced = files.insert(to.to_owned(), file);
            files.values_mut().for_each(|file| file.named = true);
            self.removed().clear();
            self.troubles().give_room(replaced.map_or(0, |file| file.content.len()));
        }
        pass(after).await;
        failure
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        let file = self.files().remove(name).ok_or_else(|| absent(name))?;
        self.troubles().give_room(file.content.len());
        if file.named {
            self.removed().insert(name.to_owned(), file);
        }
        Ok(())
    }
}

/// Lets time pass, if any shall: a sleep of nothing would let others go first.
async fn pass(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}
