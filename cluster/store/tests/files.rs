//! The store on real files.
#![cfg(not(madsim))]
#![allow(clippy::disallowed_methods, reason = "it drives the real disk from outside")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Instant;

use common::{committed, small};
use orrery_store::{FileDisk, OpenError, Options, Store, Transaction};

async fn open(folder: &std::path::Path, options: Options) -> Result<Store, OpenError> {
    Store::open(Arc::new(FileDisk::open(folder)?), options).await
}

/// The folder is free again once the store's tasks are gone.
async fn reopen(folder: &std::path::Path) -> Store {
    loop {
        match open(folder, small()).await {
            Err(OpenError::Locked { .. }) => tokio::task::yield_now().await,
            result => return result.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_folder_is_opened_by_one_store_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path, Options::default()).await.unwrap();
    let error = open(&path, Options::default()).await.err().unwrap();
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(error.to_string().contains("in use by another process"), "{error}");
    store.close().await;
    drop(store);
    reopen(&path).await;
}

#[tokio::test]
async fn files_are_for_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/store");
    let store = open(&path, Options::default()).await.unwrap();
    store.commit(Transaction::create("secret", "1")).await.unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for entry in std::fs::read_dir(&path).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn contents_outlive_restarts_snapshots_and_a_torn_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut revision = 1;
    for round in 0..4 {
        let store = reopen(folder.path()).await;
        assert_eq!(store.revision(), revision);
        for i in 0..30 {
            let put = Transaction::new().put(format!("k{i}"), format!("round {round}").into_bytes());
            revision = committed(store.commit(put).await.unwrap());
        }
        store.compact(revision - 5).await.unwrap();
        store.close().await;
        drop(store);
        let names = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let last = names
            .filter(|path| path.to_string_lossy().contains("log-"))
            .max()
            .unwrap();
        let mut content = std::fs::read(&last).unwrap();
        content.extend_from_slice(&[0; 100]);
        std::fs::write(&last, content).unwrap();
    }
    let store = reopen(folder.path()).await;
    assert_eq!(
        (store.revision(), &store.get("k7").unwrap().value[..]),
        (revision, &b"round 3"[..])
    );
}

/// Prints how fast it is; only an absurd slowness fails, as machines differ.
#[tokio::test]
async fn many_writers_are_served_fast() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = open(folder.path(), Options::default()).await.unwrap();
    let start = Instant::now();
    let tasks: Vec<_> = (0..64)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for i in 0..50 {
                    let create = Transaction::create(format!("pods/{writer}/{i}"), vec![b'x'; 1024]);
                    committed(store.commit(create).await.unwrap());
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let rate = 3200.0 / start.elapsed().as_secs_f64();
    println!("{rate:.0} durable creates of 1 KiB a second with 64 writers");
    assert!(rate > 200.0, "{rate:.0} creates a second");
}
