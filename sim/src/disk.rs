//! A simulated disk: what is written is not durable until it is synced, and a crash of its machine keeps any part of it.
//!
//! It keeps the promises of [`orrery_store::Disk`] and no more: unsynced appends lose any of their sectors of 512 bytes
//! (they read as zeros) or are cut short, unsynced truncations may not have happened, names that no rename has made
//! durable may be forgotten, removed files may be back. A crash of the *process* loses nothing: the system's cache
//! outlives it. Not simulated here: I/O errors, a full disk, corrupted reads.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use orrery_api::random::Random;
use orrery_store::Disk;
use tokio::time::sleep;

/// What a crash loses or keeps as a whole.
const SECTOR: usize = 512;

/// How long a sync takes.
const SYNC: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(4));

/// A disk of one machine. It outlives processes and crashes.
pub struct SimDisk {
    files: Mutex<BTreeMap<String, File>>,
    /// Files that were removed, but not durably.
    removed: Mutex<BTreeMap<String, File>>,
    random: Random,
}

#[derive(Debug, Clone, Default)]
struct File {
    content: Vec<u8>,
    /// So many bytes of `content` are durable.
    durable: usize,
    /// Durable bytes behind `durable` that an unsynced truncation cut off.
    cut: Vec<u8>,
    /// Whether the name is durable.
    named: bool,
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
            random,
        }
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

    /// All bytes of all files; for tests and reports.
    pub fn size(&self) -> usize {
        self.files().values().map(|file| file.content.len()).sum()
    }
}

impl File {
    fn crash(&mut self, random: &Random) -> usize {
        let mut lost = 0;
        let appended = self.content.len() - self.durable;
        if !self.cut.is_empty() && random.chance(0.5) {
            // The truncation, and what was written after it, did not reach the disk.
            lost += appended;
            self.content.truncate(self.durable);
            let cut = std::mem::take(&mut self.cut);
            self.content.extend_from_slice(&cut);
        } else if appended > 0 {
            let kept = random.below(appended as u64 + 1) as usize;
            lost += appended - kept;
            self.content.truncate(self.durable + kept);
            let mut start = self.durable;
            while start < self.content.len() {
                let end = ((start / SECTOR + 1) * SECTOR).min(self.content.len());
                if random.chance(0.3) {
                    lost += end - start;
                    self.content[start..end].fill(0);
                }
                start = end;
            }
        }
        self.cut.clear();
        self.durable = self.content.len();
        self.named = true;
        lost
    }

    fn sync(&mut self) {
        self.durable = self.content.len();
        self.cut.clear();
    }

    fn truncate(&mut self, length: usize) {
        if length < self.durable {
            let mut cut = self.content[length..self.durable].to_vec();
            cut.append(&mut self.cut);
            self.cut = cut;
            self.durable = length;
        }
        self.content.truncate(length);
    }
}

#[async_trait]
impl Disk for SimDisk {
    async fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    async fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.files()
            .get(name)
            .map(|file| file.content.clone())
            .ok_or_else(|| absent(name))
    }

    async fn append(&self, name: &str, data: Bytes) -> io::Result<()> {
        self.files()
            .entry(name.to_owned())
            .or_default()
            .content
            .extend_from_slice(&data);
        Ok(())
    }

    async fn sync(&self, name: &str) -> io::Result<()> {
        sleep(self.random.duration(SYNC.0, SYNC.1)).await;
        self.files().get_mut(name).map(File::sync).ok_or_else(|| absent(name))
    }

    async fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        self.files()
            .get_mut(name)
            .map(|file| file.truncate(length as usize))
            .ok_or_else(|| absent(name))
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        sleep(self.random.duration(SYNC.0, SYNC.1)).await;
        let mut files = self.files();
        let file = files.remove(from).ok_or_else(|| absent(from))?;
        files.insert(to.to_owned(), file);
        files.values_mut().for_each(|file| file.named = true);
        self.removed().clear();
        Ok(())
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        let file = self.files().remove(name).ok_or_else(|| absent(name))?;
        if file.named {
            self.removed().insert(name.to_owned(), file);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::in_simulation;

    #[test]
    fn what_was_synced_survives_every_crash() {
        for seed in 0..200 {
            in_simulation(seed, move || async move {
                let disk = SimDisk::new(Random::from_number(seed));
                disk.append("new", Bytes::from_static(&[7; 1500])).await.unwrap();
                disk.sync("new").await.unwrap();
                disk.rename("new", "log").await.unwrap();
                disk.append("log", Bytes::from_static(&[9; 3000])).await.unwrap();
                disk.crash();
                let content = disk.read("log").await.unwrap();
                assert!(content.len() >= 1500 && content[..1500].iter().all(|byte| *byte == 7));
                assert!(content[1500..].iter().all(|byte| *byte == 9 || *byte == 0));
            });
        }
    }

    #[test]
    fn an_unsynced_write_may_be_lost_torn_or_kept() {
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..60 {
            outcomes.insert(in_simulation(seed, move || async move {
                let disk = SimDisk::new(Random::from_number(seed));
                disk.append("new", Bytes::new()).await.unwrap();
                disk.rename("new", "log").await.unwrap();
                disk.append("log", Bytes::from_static(&[9; 1024])).await.unwrap();
                disk.crash();
                let content = disk.read("log").await.unwrap();
                (content.len() < 1024, content.contains(&0))
            }));
        }
        assert!(
            outcomes.contains(&(true, false)) && outcomes.contains(&(true, true)),
            "{outcomes:?}"
        );
    }

    #[test]
    fn an_unsynced_truncation_may_not_have_happened() {
        let lengths: std::collections::BTreeSet<usize> = (0..40)
            .map(|seed| {
                in_simulation(seed, move || async move {
                    let disk = SimDisk::new(Random::from_number(seed));
                    disk.append("new", Bytes::from_static(&[1; 100])).await.unwrap();
                    disk.sync("new").await.unwrap();
                    disk.rename("new", "log").await.unwrap();
                    disk.truncate("log", 40).await.unwrap();
                    disk.crash();
                    disk.read("log").await.unwrap().len()
                })
            })
            .collect();
        assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [40, 100]);
    }
}
