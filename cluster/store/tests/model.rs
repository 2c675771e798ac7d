//! The store against a plain model of one: random transactions, compactions and restarts.
#![cfg(not(madsim))]

mod common;

use std::sync::Arc;

use common::{Model, Step, block_on, open, small};
use orrery_store::{MemoryDisk, Range, RangeError};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Act {
    Step(Step),
    /// Several at once, in one batch.
    Together(Vec<Step>),
    /// At so many hundredths of the way from the last compaction to now.
    Compact(u64),
    Reopen,
    Watch(u64),
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "a/", "a/1", "a/10", "a/2", "a0", "b/1", "b/ü", "c"]).prop_map(str::to_owned)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => key().prop_map(Step::Create),
        4 => (key(), prop::bool::weighted(0.8)).prop_map(|(key, right)| Step::Update(key, right)),
        2 => (key(), prop::bool::weighted(0.8)).prop_map(|(key, right)| Step::Delete(key, right)),
        2 => (key(), key()).prop_filter("a key once", |(a, b)| a != b).prop_map(|(a, b)| Step::Both(a, b)),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        10 => step().prop_map(Act::Step),
        3 => prop::collection::vec(step(), 2..6).prop_map(Act::Together),
        2 => (0..=100_u64).prop_map(Act::Compact),
        1 => Just(Act::Reopen),
        2 => (0..=100_u64).prop_map(Act::Watch),
    ]
}

async fn play(acts: Vec<Act>) {
    let disk = Arc::new(MemoryDisk::new());
    let mut store = open(&disk, small()).await;
    let mut model = Model::new();
    let mut watchers = Vec::new();
    let mut compacted = 0;
    for (number, act) in acts.into_iter().enumerate() {
        let text = format!("value {number}");
        match act {
            Act::Step(step) => {
                let now = model.now().clone();
                let make = || step.transaction(|key| now.get(key).cloned(), &text);
                let outcome = store.commit(make()).await.unwrap();
                assert_eq!(outcome, model.commit(make()));
            }
            Act::Together(steps) => {
                let now = model.now().clone();
                let make = |step: &Step| step.transaction(|key| now.get(key).cloned(), &text);
                let outcomes = futures_util::future::join_all(steps.iter().map(|step| store.commit(make(step)))).await;
                for (outcome, step) in outcomes.into_iter().zip(&steps) {
                    assert_eq!(outcome.unwrap(), model.commit(make(step)));
                }
            }
            Act::Compact(hundredths) => {
                // Watchers that are behind would rightly be told so; that has a test of its own.
                for (watcher, after) in &mut watchers {
                    model.check_watch(watcher, *after);
                    *after = model.revision();
                }
                compacted += (model.revision() - compacted) * hundredths / 100;
                store.compact(compacted).await.unwrap();
                assert_eq!(store.compact_revision(), compacted);
                if compacted > 0 {
                    let gone = RangeError::Compacted { oldest: compacted };
                    assert_eq!(store.range(Range::default().at(compacted - 1)), Err(gone));
                    assert_eq!(store.watch("", compacted - 1).err(), Some(gone));
                }
            }
            Act::Reopen => {
                watchers.clear();
                store.close().await;
                store = open(&disk, small()).await;
                assert_eq!(store.compact_revision(), compacted);
                model.check(&store);
            }
            Act::Watch(hundredths) => {
                let after = compacted + (model.revision() - compacted) * hundredths / 100;
                let prefix = ["", "a", "a/", "b/", "a/1"][hundredths as usize % 5];
                watchers.push((store.watch(prefix, after).unwrap(), after));
            }
        }
        for (key, kv) in model.now() {
            assert_eq!(store.get(key).as_ref(), Some(kv));
        }
    }
    for (mut watcher, after) in watchers {
        model.check_watch(&mut watcher, after);
    }
    model.check(&store);
    let future = RangeError::Future {
        current: model.revision(),
    };
    assert_eq!(store.range(Range::default().at(model.revision() + 1)), Err(future));
    assert_eq!(store.watch("", model.revision() + 1).err(), Some(future));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(acts in prop::collection::vec(act(), 1..60)) {
        block_on(play(acts));
    }
}
