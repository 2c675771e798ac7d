//! Crashes at any moment: what was acknowledged stays, what was not is there wholly or not at all.
#![cfg(not(madsim))]

mod common;

use std::sync::Arc;

use common::{Dice, Model, Step, block_on, open, small};
use orrery_store::{MemoryDisk, Options, Outcome, Store, StoreError, Transaction};

const KEYS: [&str; 6] = ["a/1", "a/2", "a/3", "b/1", "b/2", "c"];

fn step(dice: &mut Dice) -> Step {
    let key = |dice: &mut Dice| KEYS[dice.roll(KEYS.len() as u64) as usize].to_owned();
    match dice.roll(4) {
        0 => Step::Create(key(dice)),
        1 => Step::Delete(key(dice), true),
        _ => Step::Update(key(dice), true),
    }
}

/// Commits in groups until the machine stops; returns what became of each, in order.
async fn work(store: &Store, dice: &mut Dice, mut model: Model, rounds: u64) -> Model {
    for round in 0..rounds {
        let size = 1 + dice.roll(4);
        let steps: Vec<Step> = (0..size).map(|_| step(dice)).collect();
        let now = model.now().clone();
        let pad = "x".repeat(dice.roll(900) as usize);
        let make = |step: &Step| step.transaction(|key| now.get(key).cloned(), &format!("{round}{pad}"));
        let outcomes = futures_util::future::join_all(steps.iter().map(|step| store.commit(make(step)))).await;
        let acknowledged = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        for (outcome, step) in outcomes.into_iter().zip(&steps) {
            let expected = model.commit(make(step));
            match outcome {
                Ok(outcome) => assert_eq!(outcome, expected),
                Err(error) => assert!(matches!(error, StoreError::Io { .. }), "{error}"),
            }
        }
        if acknowledged < steps.len() {
            // The model has now also what is open; the states tell which part of it is there.
            assert_eq!(acknowledged, 0, "a batch is acknowledged wholly or not at all");
            return model;
        }
        if dice.roll(6) == 0 {
            let target = store
                .compact_revision()
                .max(model.revision().saturating_sub(dice.roll(8)));
            if store.compact(target).await.is_err() {
                return model;
            }
        }
    }
    model
}

/// A store after a crash is one of the model's states, at or after what was acknowledged; the model is cut to it.
fn settle(store: &Store, model: &mut Model, acknowledged: u64) {
    let revision = store.revision();
    assert!(
        revision >= acknowledged,
        "revision fell from {acknowledged} to {revision}"
    );
    assert!(revision <= model.revision(), "revision {revision} was never written");
    model.states.truncate(revision as usize + 1);
    model.events.retain(|event| event.revision <= revision);
    model.check(store);
}

#[test]
fn whatever_was_acknowledged_outlives_crashes_at_any_operation() {
    let mut snapshots = 0;
    for seed in 0..1500 {
        block_on(async {
            let mut dice = Dice(seed);
            let disk = Arc::new(MemoryDisk::new());
            let mut model = Model::new();
            for _ in 0..4 {
                let store = match Store::open(disk.clone(), small()).await {
                    Ok(store) => store,
                    // The machine stopped while the store was opened; once more.
                    Err(_) => {
                        disk.crash(|| dice.coin());
                        open(&disk, small()).await
                    }
                };
                settle(&store, &mut model, 0);
                let compacted = store.compact_revision();
                disk.stop_after(dice.roll(40), dice.coin());
                model = work(&store, &mut dice, model, 25).await;
                let mut acknowledged = store.revision();
                assert!(store.compact_revision() >= compacted);
                let compacted = store.compact_revision();
                drop(store);
                if dice.roll(3) == 0 {
                    // Only the process dies at first: what the next one shows must be as safe as if it were its own.
                    disk.stop_after(1 << 40, false);
                    let store = open(&disk, small()).await;
                    settle(&store, &mut model, acknowledged);
                    acknowledged = store.revision();
                    drop(store);
                }
                // Each crash has its own likelihood of losing a sector.
                let chance = dice.roll(11);
                disk.crash(|| dice.roll(10) < chance);
                snapshots += usize::from(disk.files().keys().any(|name| name.starts_with("snapshot-")));

                // A crash during recovery must not hurt either.
                disk.stop_after(dice.roll(4), dice.coin());
                drop(Store::open(disk.clone(), small()).await);
                disk.crash(|| dice.roll(10) < chance);

                let store = open(&disk, small()).await;
                settle(&store, &mut model, acknowledged);
                assert!(store.compact_revision() >= compacted, "the compaction is lost");
                drop(store);
                disk.stop_after(dice.roll(12), dice.coin());
            }
        });
    }
    assert!(snapshots > 500, "only {snapshots} crashes met a snapshot");
}

#[test]
fn a_torn_batch_is_dropped_wholly() {
    block_on(async {
        let disk = Arc::new(MemoryDisk::new());
        let store = open(&disk, Options::default()).await;
        store.commit(Transaction::create("first", "safe")).await.unwrap();
        disk.fail_syncs(1);
        let big = |key: &'static str| store.commit(Transaction::create(key, vec![7; 3000]));
        let (a, b) = tokio::join!(big("a"), big("b"));
        assert!(a.is_err() && b.is_err());
        drop(store);
        let mut sectors = 0;
        disk.crash(|| {
            sectors += 1;
            sectors != 3
        });
        assert!(sectors > 10);
        let store = open(&disk, Options::default()).await;
        assert_eq!((store.revision(), store.get("a"), store.get("b")), (2, None, None));
        assert_eq!(store.get("first").unwrap().value, "safe");
        assert_eq!(
            store.commit(Transaction::create("a", "again")).await,
            Ok(Outcome::Committed { revision: 3 })
        );
    });
}

#[test]
fn after_a_failed_sync_every_write_is_refused_until_the_store_is_opened_again() {
    block_on(async {
        let disk = Arc::new(MemoryDisk::new());
        let store = open(&disk, Options::default()).await;
        store.commit(Transaction::create("a", "1")).await.unwrap();
        disk.fail_syncs(1);
        let (told, failed) = tokio::join!(store.failed(), store.commit(Transaction::create("b", "1")));
        let failed = failed.unwrap_err();
        assert_eq!(told, failed, "who waits for it is told");
        let operations = disk.operations();
        assert_eq!(store.commit(Transaction::create("c", "1")).await, Err(failed.clone()));
        assert_eq!(
            store.grant(std::time::Duration::from_secs(1)).await,
            Err(failed.clone())
        );
        assert_eq!(disk.operations(), operations, "the disk is not touched again");
        assert_eq!(store.failure(), Some(failed.clone()));
        assert_eq!(store.failed().await, failed, "who asks later is told, too");
        assert_eq!((store.revision(), store.get("b")), (2, None), "nothing unsure is shown");
        assert!(store.get("a").is_some(), "reads go on");
        drop(store);
        disk.crash(|| false);
        let store = open(&disk, Options::default()).await;
        assert_eq!(store.revision(), 2);
        store.commit(Transaction::create("b", "1")).await.unwrap();
    });
}

#[test]
fn a_full_disk_is_named_and_costs_nothing_acknowledged() {
    block_on(async {
        let disk = Arc::new(MemoryDisk::new());
        let store = open(&disk, Options::default()).await;
        store.commit(Transaction::create("a", "1")).await.unwrap();
        disk.limit_room(Some(700));
        let error = store.commit(Transaction::create("b", vec![7; 2000])).await.unwrap_err();
        assert!(error.to_string().contains("is full"), "{error}");
        drop(store);
        disk.limit_room(None);
        let store = open(&disk, Options::default()).await;
        assert_eq!((store.revision(), store.get("b")), (2, None));
        store.commit(Transaction::create("b", "1")).await.unwrap();
    });
}
