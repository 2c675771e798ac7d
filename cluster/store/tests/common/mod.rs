//! What the store's tests share: a plain model of a store, and small helpers.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use orrery_store::{
    Compare, Event, EventKind, KeyValue, MemoryDisk, Operation, Options, Outcome, Range, Revision, Store, Transaction,
    Value, Watcher,
};

/// Runs a future to its end, in an executor of its own, with a limit.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), future)
            .await
            .expect("the test hangs")
    })
}

/// Options that make snapshots and new log files happen all the time.
pub fn small() -> Options {
    Options {
        snapshot_log_bytes: 300,
        segment_bytes: 200,
        ..Options::default()
    }
}

/// Opens the store on a disk in memory.
pub async fn open(disk: &Arc<MemoryDisk>, options: Options) -> Store {
    Store::open(disk.clone(), options).await.unwrap()
}

/// The revision of a transaction that must have happened.
pub fn committed(outcome: Outcome) -> Revision {
    match outcome {
        Outcome::Committed { revision } => revision,
        Outcome::Conflict { key, current } => panic!("conflict at {key}: {current:?}"),
    }
}

/// A value that tells its revision.
pub fn stamped(text: &str) -> Value {
    let text = text.to_owned();
    Value::at_revision(move |revision| format!("{text}@{revision}").into())
}

/// A small random generator whose streams are the test's own.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    pub fn coin(&mut self) -> bool {
        self.roll(2) == 0
    }
}

/// A change to try, with plain values.
#[derive(Clone, Debug)]
pub enum Step {
    Create(String),
    /// `true`: with the right revision.
    Update(String, bool),
    Delete(String, bool),
    /// Puts and deletes, unconditionally.
    Both(String, String),
}

impl Step {
    /// The transaction that does it, given what the store holds.
    pub fn transaction(&self, current: impl Fn(&str) -> Option<KeyValue>, text: &str) -> Transaction {
        let at =
            |key: &str, right: bool| current(key).map_or(u64::from(!right), |kv| kv.mod_revision - u64::from(!right));
        match self {
            Step::Create(key) => Transaction::create(key.as_str(), stamped(text)),
            Step::Update(key, right) => Transaction::update(key.as_str(), at(key, *right), stamped(text)),
            Step::Delete(key, right) => Transaction::delete(key.as_str(), at(key, *right), Some(stamped(text))),
            Step::Both(put, delete) => Transaction::new()
                .when(Compare::Exists {
                    key: delete.as_str().into(),
                })
                .put(put.as_str(), stamped(text))
                .then(Operation::Delete {
                    key: delete.as_str().into(),
                    last: None,
                }),
        }
    }
}

/// The plainest store there can be: every state and every event there ever was.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// By revision, from 1 on.
    pub states: Vec<BTreeMap<String, KeyValue>>,
    pub events: Vec<Event>,
}

impl Model {
    pub fn new() -> Model {
        Model {
            states: vec![BTreeMap::new(), BTreeMap::new()],
            events: Vec::new(),
        }
    }

    pub fn revision(&self) -> Revision {
        self.states.len() as u64 - 1
    }

    pub fn now(&self) -> &BTreeMap<String, KeyValue> {
        self.states.last().unwrap()
    }

    /// Does a transaction.
    pub fn commit(&mut self, transaction: Transaction) -> Outcome {
        let mut state = self.now().clone();
        for compare in &transaction.compare {
            let current = state.get(&**compare.key());
            let holds = match compare {
                Compare::ModRevision { is, .. } => current.map_or(0, |kv| kv.mod_revision) == *is,
                Compare::Exists { .. } => current.is_some(),
                Compare::Absent { .. } => current.is_none(),
            };
            if !holds {
                return Outcome::Conflict {
                    key: compare.key().clone(),
                    current: current.cloned(),
                };
            }
        }
        let revision = self.revision() + 1;
        let before = self.events.len();
        let bytes = |value| match value {
            Value::Bytes(bytes) => bytes,
            Value::AtRevision(make) => make(revision),
        };
        for operation in transaction.then {
            match operation {
                Operation::Put { key, value, lease } => {
                    let previous = state.get(&*key).cloned();
                    let kv = KeyValue {
                        key: key.clone(),
                        value: bytes(value),
                        create_revision: previous.as_ref().map_or(revision, |kv| kv.create_revision),
                        mod_revision: revision,
                        version: previous.as_ref().map_or(0, |kv| kv.version) + 1,
                        lease,
                    };
                    state.insert(key.to_string(), kv.clone());
                    self.events.push(Event {
                        revision,
                        kind: EventKind::Put,
                        kv,
                        previous,
                    });
                }
                Operation::Delete { key, last } => {
                    let Some(previous) = state.remove(&*key) else { continue };
                    let value = last.map(bytes).unwrap_or(previous.value.clone());
                    let kv = KeyValue {
                        value,
                        mod_revision: revision,
                        version: 0,
                        lease: None,
                        ..previous.clone()
                    };
                    self.events.push(Event {
                        revision,
                        kind: EventKind::Delete,
                        kv,
                        previous: Some(previous),
                    });
                }
            }
        }
        if self.events.len() == before {
            return Outcome::Committed { revision: revision - 1 };
        }
        self.states.push(state);
        Outcome::Committed { revision }
    }

    /// Checks everything that a store at the model's revision can be asked.
    pub fn check(&self, store: &Store) {
        assert_eq!(store.revision(), self.revision());
        for revision in store.compact_revision()..=self.revision() {
            self.check_state(store, revision);
        }
        for after in store.compact_revision()..=self.revision() {
            for prefix in ["", "a", "a/", "b/", "a/1", "none"] {
                let mut watcher = store.watch(prefix, after).unwrap();
                self.check_watch(&mut watcher, after);
                assert_eq!(watcher.progress(), self.revision());
            }
        }
    }

    fn check_state(&self, store: &Store, revision: Revision) {
        let state = &self.states[revision as usize];
        let whole = store.range(Range::default().at(revision)).unwrap();
        assert_eq!(whole.revision, revision);
        assert_eq!(
            whole.items,
            state.values().cloned().collect::<Vec<_>>(),
            "at revision {revision}"
        );
        assert!(!whole.more);
        for (key, kv) in state {
            assert_eq!(store.get_at(key, revision).unwrap().as_ref(), Some(kv));
        }
        let wanted: Vec<_> = state.values().filter(|kv| kv.key.starts_with("a/")).cloned().collect();
        let (mut pages, mut range) = (Vec::new(), Range::prefix("a/").at(revision).limit(2));
        loop {
            let page = store.range(range.clone()).unwrap();
            assert!(page.items.len() <= 2);
            pages.extend(page.items);
            assert_eq!(page.remaining, wanted.len() - pages.len());
            assert_eq!(page.more, page.remaining > 0);
            if !page.more {
                break;
            }
            range = range.after(pages.last().unwrap().key.clone());
        }
        assert_eq!(pages, wanted);
    }

    /// Checks that a watcher hands out what happened after `after`.
    pub fn check_watch(&self, watcher: &mut Watcher, after: Revision) {
        let mut seen: Vec<Event> = Vec::new();
        loop {
            let events = watcher.try_next().unwrap();
            if events.is_empty() {
                break;
            }
            seen.extend(events.iter().map(|event| (**event).clone()));
        }
        let matches = |event: &&Event| event.revision > after && event.kv.key.starts_with(watcher.prefix());
        let wanted: Vec<Event> = self.events.iter().filter(matches).cloned().collect();
        assert_eq!(seen, wanted, "after {after}");
    }
}
