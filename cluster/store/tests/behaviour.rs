//! The store's contract, sentence by sentence.
#![cfg(not(madsim))]
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{block_on, committed, open, small, stamped};
use orrery_store::{
    EventKind, Key, MemoryDisk, Operation, Options, Outcome, Range, StoreError, Transaction, WatchError,
};

#[test]
fn the_first_write_of_a_new_store_is_revision_two() {
    block_on(async {
        let store = open(&Arc::new(MemoryDisk::new()), Options::default()).await;
        assert_eq!((store.revision(), store.compact_revision()), (1, 0));
        let outcome = store.commit(Transaction::create("a", stamped("a"))).await.unwrap();
        assert_eq!(outcome, Outcome::Committed { revision: 2 });
        assert_eq!(store.get("a").unwrap().value, "a@2");
    });
}

#[test]
fn writers_that_wait_together_share_a_sync() {
    block_on(async {
        let disk = Arc::new(MemoryDisk::new());
        let store = open(&disk, Options::default()).await;
        let before = disk.syncs();
        let mut tasks = Vec::new();
        for i in 0..1000 {
            let store = store.clone();
            tasks.push(tokio::spawn(async move {
                store.commit(Transaction::create(format!("k{i:04}"), "v")).await
            }));
        }
        for task in tasks {
            committed(task.await.unwrap().unwrap());
        }
        assert_eq!(store.revision(), 1001);
        assert!(disk.syncs() - before < 20, "{} syncs", disk.syncs() - before);
    });
}

#[test]
fn two_updates_of_one_base_never_both_succeed() {
    block_on(async {
        let store = open(&Arc::new(MemoryDisk::new()), Options::default()).await;
        store.commit(Transaction::create("n", "0")).await.unwrap();
        let mut tasks = Vec::new();
        for _ in 0..20 {
            let store = store.clone();
            tasks.push(tokio::spawn(async move {
                let mut done = 0;
                while done < 20 {
                    let now = store.get("n").unwrap();
                    let number: u64 = std::str::from_utf8(&now.value).unwrap().parse().unwrap();
                    let next = (number + 1).to_string().into_bytes();
                    match store
                        .commit(Transaction::update("n", now.mod_revision, next))
                        .await
                        .unwrap()
                    {
                        Outcome::Committed { revision } => {
                            done += 1;
                            assert!(store.revision() >= revision, "a write is seen once it is acknowledged");
                        }
                        Outcome::Conflict { current, .. } => {
                            assert!(current.unwrap().mod_revision > now.mod_revision);
                            assert!(store.get("n").unwrap().mod_revision > now.mod_revision);
                        }
                    }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let n = store.get("n").unwrap();
        assert_eq!((&n.value[..], n.version), (&b"400"[..], 401));
    });
}

#[test]
fn a_transaction_that_changes_nothing_takes_no_revision() {
    block_on(async {
        let disk = Arc::new(MemoryDisk::new());
        let store = open(&disk, Options::default()).await;
        let operations = disk.operations();
        let nothing = Transaction::new().then(Operation::Delete {
            key: "none".into(),
            last: None,
        });
        assert_eq!(store.commit(nothing).await, Ok(Outcome::Committed { revision: 1 }));
        assert_eq!(store.revision(), 1);
        assert_eq!(disk.operations(), operations);
    });
}

#[test]
fn a_key_may_be_changed_only_once_in_a_transaction() {
    block_on(async {
        let store = open(&Arc::new(MemoryDisk::new()), Options::default()).await;
        let twice = Transaction::new().put("a", "1").put("a", "2");
        assert_eq!(store.commit(twice).await, Err(StoreError::DuplicateKey("a".into())));
        assert_eq!(store.revision(), 1);
    });
}

#[test]
fn a_transaction_beyond_the_largest_record_is_refused_and_the_next_one_is_not() {
    block_on(async {
        let store = open(&Arc::new(MemoryDisk::new()), Options::default()).await;
        let huge = store.commit(Transaction::create("huge", vec![1; 65 << 20]));
        let small = store.commit(Transaction::create("small", "1"));
        let (huge, small) = tokio::join!(huge, small);
        assert!(matches!(huge, Err(StoreError::TooLarge { .. })));
        assert_eq!(small, Ok(Outcome::Committed { revision: 2 }));
        assert_eq!(store.get("huge"), None);
    });
}

#[test]
fn a_delete_event_shows_the_last_state_with_the_deletions_revision() {
    block_on(async {
        let store = open(&Arc::new(MemoryDisk::new()), Options::default()).await;
        store.commit(Transaction::create("a", "old")).await.unwrap();
        store
            .commit(Transaction::delete("a", 2, Some(stamped("gone"))))
            .await
            .unwrap();
        let events = store.watch("a", 2).unwrap().next().await.unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].kind, EventKind::Delete);
        assert_eq!(
            (&events[0].kv.value[..], events[0].kv.mod_revision),
            (&b"gone@3"[..], 3)
        );
        assert_eq!(events[0].previous.as_ref().unwrap().value, "old");
    });
}

#[test]
fn a_watcher_waits_and_progress_covers_what_it_does_not_match() {
    block_on(async {
        let store = open(&Arc::new(MemoryDisk::new()), Options::default()).await;
        let mut watcher = store.watch("pods/", store.revision()).unwrap();
        let writer = store.clone();
        let task = tokio::spawn(async move {
            tokio::task::yield_now().await;
            writer.commit(Transaction::create("nodes/a", "1")).await.unwrap();
            writer
                .commit(
                    Transaction::new()
                        .put("pods/a", "1")
                        .put("pods/b", "1")
                        .put("nodes/b", "1"),
                )
                .await
                .unwrap();
            writer.commit(Transaction::create("nodes/c", "1")).await.unwrap();
        });
        let events = watcher.next().await.unwrap();
        let keys: Vec<&str> = events.iter().map(|event| &*event.kv.key).collect();
        assert_eq!(keys, ["pods/a", "pods/b"]);
        assert!(watcher.progress() >= 3);
        task.await.unwrap();
        assert_eq!(watcher.progress(), 4);
        store.commit(Transaction::create("pods/c", "1")).await.unwrap();
        store.commit(Transaction::create("nodes/d", "1")).await.unwrap();
        assert_eq!(watcher.progress(), 4, "the next event is of revision 5");
        assert_eq!(watcher.next().await.unwrap().len(), 1);
        assert_eq!(watcher.progress(), 6);
    });
}

#[test]
fn a_large_transaction_reaches_watchers_in_one_piece() {
    block_on(async {
        let store = open(&Arc::new(MemoryDisk::new()), Options::default()).await;
        let mut watcher = store.watch("", 1).unwrap();
        store.commit(Transaction::create("first", "1")).await.unwrap();
        let large = (0..3000).fold(Transaction::new(), |tx, i| tx.put(format!("k{i}"), "v"));
        store.commit(large).await.unwrap();
        store.commit(Transaction::create("last", "1")).await.unwrap();
        let mut revisions = Vec::new();
        while watcher.progress() < store.revision() {
            let events = watcher.next().await.unwrap();
            if let Some(&last) = revisions.last() {
                assert!(events[0].revision > last, "a transaction is split");
            }
            revisions.extend(events.iter().map(|event| event.revision));
        }
        assert_eq!(revisions.len(), 3002);
    });
}

#[test]
fn only_a_watcher_that_misses_an_event_is_told_of_a_compaction() {
    block_on(async {
        let store = open(&Arc::new(MemoryDisk::new()), Options::default()).await;
        let mut slow = store.watch("a", 1).unwrap();
        let mut idle = store.watch("b", 1).unwrap();
        for i in 0..5 {
            store.commit(Transaction::create(format!("a{i}"), "1")).await.unwrap();
        }
        store.compact(4).await.unwrap();
        assert_eq!(slow.next().await, Err(WatchError::Compacted { oldest: 4 }));
        assert_eq!(slow.progress(), 1);
        assert_eq!(idle.progress(), 6);
        store.commit(Transaction::create("b", "1")).await.unwrap();
        assert_eq!(idle.next().await.unwrap()[0].revision, 7);
    });
}

#[test]
fn a_watch_resumes_over_a_restart_from_any_revision_since_the_compaction() {
    block_on(async {
        let disk = Arc::new(MemoryDisk::new());
        let store = open(&disk, small()).await;
        for i in 0..40 {
            store
                .commit(Transaction::create(format!("k{i:02}"), "some value"))
                .await
                .unwrap();
        }
        store.compact(30).await.unwrap();
        store.close().await;
        assert!(
            disk.files().keys().any(|name| name == "snapshot-00000000000000000030"),
            "{:?}",
            disk.files().keys()
        );
        let store = open(&disk, small()).await;
        assert_eq!((store.revision(), store.compact_revision()), (41, 30));
        assert_eq!(store.watch("", 30).unwrap().next().await.unwrap().len(), 11);
        assert_eq!(store.range(Range::default().at(30)).unwrap().items.len(), 29);
    });
}

#[test]
fn compaction_bounds_the_log() {
    block_on(async {
        let disk = Arc::new(MemoryDisk::new());
        let store = open(
            &disk,
            Options {
                snapshot_log_bytes: 10_000,
                segment_bytes: 2_000,
                ..Options::default()
            },
        )
        .await;
        let mut most = 0;
        for i in 0..2000_u64 {
            let revision = committed(
                store
                    .commit(Transaction::new().put(format!("k{}", i % 10), vec![1; 100]))
                    .await
                    .unwrap(),
            );
            if i % 20 == 0 {
                store.compact(revision - 1).await.unwrap();
            }
            most = most.max(disk.files().values().map(Vec::len).sum::<usize>());
        }
        assert!(most < 30_000, "{most} bytes");
        store.compact(99_999).await.unwrap_err();
    });
}

#[test]
fn the_keys_of_a_lease_go_in_one_transaction_when_it_ends() {
    block_on(async {
        let store = open(&Arc::new(MemoryDisk::new()), Options::default()).await;
        let long = store.grant(Duration::from_secs(3600)).await.unwrap();
        let short = store.grant(Duration::from_millis(60)).await.unwrap();
        let two = Transaction::new().put("a", "1").put("b", "1").with_lease(short);
        store.commit(two).await.unwrap();
        store
            .commit(Transaction::new().put("c", "1").with_lease(long))
            .await
            .unwrap();
        store
            .commit(Transaction::new().put("left", "1").with_lease(short))
            .await
            .unwrap();
        let base = committed(store.commit(Transaction::new().put("left", "2")).await.unwrap());
        let mut watcher = store.watch("", base).unwrap();
        let events = tokio::time::timeout(Duration::from_secs(10), watcher.next())
            .await
            .unwrap()
            .unwrap();
        let seen: Vec<_> = events
            .iter()
            .map(|event| (&*event.kv.key, event.kind, event.revision))
            .collect();
        assert_eq!(
            seen,
            [("a", EventKind::Delete, base + 1), ("b", EventKind::Delete, base + 1)]
        );
        assert!(store.get("left").is_some() && store.get("c").is_some());
        let late = Transaction::new().put("late", "1").with_lease(short);
        assert_eq!(store.commit(late).await, Err(StoreError::LeaseNotFound(short)));
        store.revoke(long).await.unwrap();
        store.revoke(long).await.unwrap();
        assert_eq!(store.get("c"), None);
    });
}

#[test]
fn a_lease_outlives_a_restart_and_its_id_is_not_used_again() {
    block_on(async {
        let disk = Arc::new(MemoryDisk::new());
        let store = open(&disk, small()).await;
        let lease = store.grant(Duration::from_millis(300)).await.unwrap();
        store
            .commit(Transaction::new().put("a", "1").with_lease(lease))
            .await
            .unwrap();
        let revoked = store.grant(Duration::from_secs(9)).await.unwrap();
        store.revoke(revoked).await.unwrap();
        for _ in 0..30 {
            let revision = committed(
                store
                    .commit(Transaction::new().put("filler", vec![1; 50]))
                    .await
                    .unwrap(),
            );
            store.compact(revision).await.unwrap();
        }
        store.close().await;
        assert!(disk.files().keys().any(|name| name.starts_with("snapshot-")));
        let store = open(&disk, small()).await;
        assert_eq!(store.get("a").unwrap().lease, Some(lease));
        assert!(store.grant(Duration::from_secs(9)).await.unwrap() > revoked);
        let mut watcher = store.watch("a", store.revision()).unwrap();
        let events = tokio::time::timeout(Duration::from_secs(10), watcher.next())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(events[0].kind, EventKind::Delete);
    });
}

#[test]
fn a_put_and_the_end_of_its_lease_in_one_batch_leave_nothing_behind() {
    block_on(async {
        let store = open(&Arc::new(MemoryDisk::new()), Options::default()).await;
        let lease = store.grant(Duration::from_secs(60)).await.unwrap();
        let put = |key: &'static str| store.commit(Transaction::new().put(Key::from(key), "1").with_lease(lease));
        let (before, end, after) = tokio::join!(put("before"), store.revoke(lease), put("after"));
        assert_eq!((before, end), (Ok(Outcome::Committed { revision: 2 }), Ok(())));
        assert_eq!(after, Err(StoreError::LeaseNotFound(lease)));
        assert_eq!((store.get("before"), store.revision()), (None, 3));
    });
}

#[test]
fn closing_does_what_waits_and_refuses_the_rest() {
    block_on(async {
        let disk = Arc::new(MemoryDisk::new());
        let store = open(&disk, Options::default()).await;
        let mut watcher = store.watch("", 1).unwrap();
        let (first, ()) = tokio::join!(store.commit(Transaction::create("a", "1")), store.close());
        committed(first.unwrap());
        assert_eq!(
            store.commit(Transaction::create("b", "1")).await,
            Err(StoreError::Closed)
        );
        assert!(store.get("a").is_some());
        assert_eq!(watcher.next().await.unwrap().len(), 1);
        assert_eq!(watcher.next().await, Err(WatchError::Closed));
        store.close().await;
    });
}

#[test]
fn watchers_end_when_the_last_handle_goes() {
    block_on(async {
        let store = open(&Arc::new(MemoryDisk::new()), Options::default()).await;
        let mut watcher = store.watch("", 1).unwrap();
        let waiting = tokio::spawn(async move { watcher.next().await });
        tokio::task::yield_now().await;
        drop(store);
        assert_eq!(waiting.await.unwrap(), Err(WatchError::Closed));
    });
}
