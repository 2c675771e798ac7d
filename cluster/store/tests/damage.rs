//! Damage is refused with a clear word, and never half read.
#![cfg(not(madsim))]

mod common;

use std::sync::Arc;

use common::{block_on, committed, open, small};
use orrery_store::{MemoryDisk, OpenError, Options, Range, Store, Transaction};

/// A store with a snapshot, several logs, and its contents.
async fn worn_disk() -> Arc<MemoryDisk> {
    let disk = Arc::new(MemoryDisk::new());
    let store = open(&disk, small()).await;
    let lease = store.grant(std::time::Duration::from_secs(600)).await.unwrap();
    for round in 0..12_u64 {
        let key = format!("k{}", round % 5);
        let transaction = Transaction::new().put(key, format!("value {round}").repeat(3).into_bytes());
        let revision = committed(store.commit(transaction.with_lease(lease)).await.unwrap());
        if round == 7 {
            store.compact(revision).await.unwrap();
        }
    }
    store.close().await;
    let names = disk.files();
    assert_eq!(names.keys().filter(|name| name.starts_with("snapshot-")).count(), 1);
    assert!(names.keys().filter(|name| name.starts_with("log-")).count() >= 2);
    disk
}

async fn contents(disk: Arc<MemoryDisk>) -> Result<(u64, Range, String), OpenError> {
    let store = Store::open(disk, small()).await?;
    let range = store.range(Range::default()).unwrap();
    Ok((store.revision(), Range::default(), format!("{range:?}")))
}

#[test]
fn any_flipped_bit_in_any_file_is_refused() {
    block_on(async {
        let disk = worn_disk().await;
        let mut tried = 0;
        for (name, content) in disk.files() {
            for byte in 0..content.len() {
                let bad = Arc::new(disk.copy());
                let mut content = content.clone();
                content[byte] ^= 1 << (byte % 8);
                bad.set_file(&name, content);
                let before = bad.files();
                let error = contents(bad.clone()).await.expect_err(&format!("{name}, byte {byte}"));
                match error {
                    OpenError::Damaged { file, .. } | OpenError::Format { file, .. } => assert_eq!(file, name),
                    other => panic!("{other}"),
                }
                assert_eq!(bad.files(), before, "nothing is changed");
                tried += 1;
            }
        }
        assert!(tried > 500);
    });
}

#[test]
fn the_error_names_file_place_and_way_out() {
    block_on(async {
        let disk = Arc::new(MemoryDisk::new());
        let store = open(&disk, Options::default()).await;
        store.commit(Transaction::create("a", "1")).await.unwrap();
        store.commit(Transaction::create("b", "1")).await.unwrap();
        store.close().await;
        let (name, mut content) = disk.files().pop_first().unwrap();
        content[60] ^= 1;
        disk.set_file(&name, content);
        let error = contents(disk).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "log-00000000000000000002 is damaged at byte 32: the frame's checksum does not match. Nothing was changed. \
             Restore the store's folder from a backup, or move it away to begin with an empty store"
        );
    });
}

#[test]
fn zeros_in_acknowledged_data_are_damage_when_later_data_follows() {
    block_on(async {
        let disk = Arc::new(MemoryDisk::new());
        let store = open(&disk, Options::default()).await;
        store.commit(Transaction::create("a", vec![7; 3000])).await.unwrap();
        store.commit(Transaction::create("b", "later")).await.unwrap();
        store.close().await;
        let (name, mut content) = disk.files().pop_first().unwrap();
        content[512..1024].fill(0);
        disk.set_file(&name, content);
        assert!(matches!(
            contents(disk).await,
            Err(OpenError::Damaged { offset: 32, .. })
        ));
    });
}

#[test]
fn a_missing_file_is_refused() {
    block_on(async {
        let disk = worn_disk().await;
        for name in disk.files().keys() {
            let bad = Arc::new(disk.copy());
            bad.remove_file(name);
            let last = disk.files().keys().rfind(|name| name.starts_with("log-")).cloned();
            if Some(name) == last.as_ref() {
                // Indistinguishable from a store that ended there.
                continue;
            }
            assert!(matches!(contents(bad).await, Err(OpenError::Damaged { .. })), "{name}");
        }
    });
}

#[test]
fn a_log_that_ends_early_is_refused_unless_it_is_the_last() {
    block_on(async {
        let disk = worn_disk().await;
        let files = disk.files();
        let logs: Vec<_> = files.keys().filter(|name| name.starts_with("log-")).collect();
        for name in &logs[..logs.len() - 1] {
            for length in 0..files[*name].len() {
                let bad = Arc::new(disk.copy());
                bad.set_file(name, files[*name][..length].to_vec());
                assert!(
                    matches!(contents(bad).await, Err(OpenError::Damaged { .. })),
                    "{name} cut at {length}"
                );
            }
        }
    });
}

#[test]
fn leftovers_of_a_crash_are_removed_and_others_files_are_left_alone() {
    block_on(async {
        let disk = worn_disk().await;
        let whole = contents(Arc::new(disk.copy())).await.unwrap();
        disk.set_file("tmp-1", b"half a snapshot".to_vec());
        disk.set_file("log-00000000000000000002", b"replaced by the snapshot".to_vec());
        disk.set_file("snapshot-00000000000000000001", b"an older one".to_vec());
        disk.set_file("notes.txt", b"mine".to_vec());
        assert_eq!(contents(disk.clone()).await.unwrap(), whole);
        let names = disk.files();
        assert!(names.contains_key("notes.txt") && !names.contains_key("tmp-1"));
        assert!(!names.contains_key("snapshot-00000000000000000001"));
        assert!(!names.contains_key("log-00000000000000000002"));
    });
}
