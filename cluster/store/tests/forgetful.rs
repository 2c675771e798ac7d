//! A system that forgets what it failed to write ("fsyncgate"): it reads on, and no later sync writes it.
#![cfg(not(madsim))]

mod common;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use common::block_on;
use orrery_store::{Disk, MemoryDisk, Options, Store, Transaction};

/// A disk under such a system.
#[derive(Default)]
struct Forgetful {
    disk: MemoryDisk,
    /// By file: so many bytes were synced, or are thought to be.
    synced: Mutex<BTreeMap<String, usize>>,
    /// By file: what was forgotten.
    forgotten: Mutex<BTreeMap<String, Range<usize>>>,
    fails: Mutex<bool>,
}

impl Forgetful {
    /// The machine loses power: what was forgotten reads as zeros.
    fn crash(&self) {
        for (name, range) in std::mem::take(&mut *self.forgotten.lock().unwrap()) {
            if let Some(mut content) = self.disk.files().remove(&name) {
                content[range].fill(0);
                self.disk.set_file(&name, content);
            }
        }
        self.disk.crash(|| false);
    }
}

#[async_trait]
impl Disk for Forgetful {
    async fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list().await
    }

    async fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.disk.read(name).await
    }

    async fn append(&self, name: &str, data: Bytes) -> io::Result<()> {
        self.disk.append(name, data).await
    }

    async fn sync(&self, name: &str) -> io::Result<()> {
        let length = self.disk.read(name).await?.len();
        let before = self.synced.lock().unwrap().insert(name.to_owned(), length).unwrap_or(0);
        self.disk.sync(name).await?;
        if *self.fails.lock().unwrap() {
            let mut forgotten = self.forgotten.lock().unwrap();
            forgotten.insert(name.to_owned(), before..length);
            return Err(io::Error::other("the sync failed"));
        }
        Ok(())
    }

    async fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        self.disk.truncate(name, length).await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.forgotten.lock().unwrap().remove(to);
        let synced = self.synced.lock().unwrap().remove(from).unwrap_or(0);
        self.synced.lock().unwrap().insert(to.to_owned(), synced);
        self.disk.rename(from, to).await
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        self.forgotten.lock().unwrap().remove(name);
        self.synced.lock().unwrap().remove(name);
        self.disk.remove(name).await
    }
}

#[test]
fn what_a_failed_sync_left_in_the_cache_costs_no_later_write() {
    block_on(async {
        let disk = Arc::new(Forgetful::default());
        let put = |key: &'static str| Transaction::create(key, vec![7; 700]);
        let store = Store::open(disk.clone(), Options::default()).await.unwrap();
        store.commit(put("before")).await.unwrap();
        *disk.fails.lock().unwrap() = true;
        store.commit(put("failed")).await.unwrap_err();
        *disk.fails.lock().unwrap() = false;
        store.commit(put("refused")).await.unwrap_err();
        store.close().await;

        let store = Store::open(disk.clone(), Options::default()).await.unwrap();
        store.commit(put("after")).await.unwrap();
        let revision = store.revision();
        store.close().await;
        disk.crash();

        let store = Store::open(disk, Options::default()).await.unwrap();
        assert_eq!(store.revision(), revision);
        assert!(store.get("before").is_some() && store.get("after").is_some());
    });
}

#[test]
fn an_opening_that_was_cut_off_is_begun_anew() {
    block_on(async {
        let disk = Arc::new(MemoryDisk::new());
        let store = Store::open(disk.clone(), Options::default()).await.unwrap();
        store.commit(Transaction::create("key", "value")).await.unwrap();
        let revision = store.revision();
        store.close().await;
        disk.set_file("tmp-open", b"half a log".to_vec());
        let store = Store::open(disk.clone(), Options::default()).await.unwrap();
        assert_eq!(store.revision(), revision);
        assert!(store.get("key").is_some() && !disk.files().contains_key("tmp-open"));
    });
}
