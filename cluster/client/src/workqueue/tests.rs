use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt;
use proptest::prelude::*;
use tokio::time::advance;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Runs `test` in time that jumps.
fn timed(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(test);
}

/// The next key, if there is one now.
fn take(queue: &WorkQueue<u8>) -> Option<u8> {
    queue.get().now_or_never()
}

#[test]
fn a_key_is_handed_out_once_and_again_if_it_was_added_while_it_was_worked_on() {
    timed(async {
        let queue = WorkQueue::new();
        queue.add(1);
        queue.add(2);
        queue.add(1);
        assert_eq!((take(&queue), take(&queue), take(&queue)), (Some(1), Some(2), None));
        queue.add(1);
        assert_eq!(take(&queue), None, "another worker has it");
        queue.done(&2);
        assert_eq!(take(&queue), None);
        queue.done(&1);
        assert_eq!(take(&queue), Some(1));
    });
}

#[test]
fn whoever_waits_is_woken_when_a_delay_is_over() {
    timed(async {
        let queue = WorkQueue::new();
        queue.add_after(1, 10 * SECOND);
        let began = Instant::now();
        assert_eq!(queue.get().await, 1);
        assert_eq!(began.elapsed(), 10 * SECOND);
    });
}

#[test]
fn of_two_delays_the_earlier_one_counts() {
    for delays in [[3, 30], [30, 3]] {
        timed(async {
            let queue = WorkQueue::new();
            for delay in delays {
                queue.add_after(1, delay * SECOND);
            }
            advance(3 * SECOND).await;
            assert_eq!(take(&queue), Some(1));
            queue.done(&1);
            advance(60 * SECOND).await;
            assert_eq!(take(&queue), None, "the later one is covered");
        });
    }
}

#[test]
fn pauses_double_with_each_failure_up_to_their_limit_until_it_is_forgotten() {
    timed(async {
        let queue = WorkQueue::with_backoff(SECOND, 5 * SECOND);
        let mut pauses = Vec::new();
        for round in 0..6 {
            if round == 4 {
                queue.forget(&1);
            }
            queue.add_rate_limited(1);
            let began = Instant::now();
            queue.get().await;
            pauses.push(began.elapsed().as_secs());
            queue.done(&1);
        }
        assert_eq!(pauses, [1, 2, 4, 5, 1, 2]);
        assert_eq!(queue.failures(&1), 2);
    });
}

#[test]
fn what_fails_is_retried_and_what_asks_for_it_is_looked_at_again() {
    timed(async {
        let queue = WorkQueue::with_backoff(SECOND, 5 * SECOND);
        queue.add(1);
        let began = Instant::now();
        let looks = Mutex::new(Vec::new());
        let work = process(queue.clone(), |_| {
            let mut looks = looks.lock().expect("the looks");
            looks.push(began.elapsed().as_secs());
            let outcome = match looks.len() {
                1 | 2 => Err("not yet"),
                3 => Ok(Next::After(10 * SECOND)),
                _ => Ok(Next::Done),
            };
            async move { outcome }
        });
        let _ = tokio::time::timeout(100 * SECOND, work).await;
        assert_eq!(*looks.lock().expect("the looks"), [0, 1, 3, 13]);
        assert_eq!(queue.failures(&1), 0);
    });
}

#[derive(Debug, Clone)]
enum Step {
    Add(u8),
    AddAfter(u8, u8),
    Wait(u8),
    Take,
    Done(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3u8).prop_map(Step::Add),
        (0..3u8, 1..20u8).prop_map(|(key, seconds)| Step::AddAfter(key, seconds)),
        (1..15u8).prop_map(Step::Wait),
        Just(Step::Take),
        (0..3u8).prop_map(Step::Done),
    ]
}

/// What a queue owes, without its order.
#[derive(Default)]
struct Model {
    due: BTreeSet<u8>,
    later: BTreeMap<u8, Instant>,
    taken: BTreeSet<u8>,
}

proptest! {
    /// Every key that is added comes, at the earliest of its times and not before, and never to two at once.
    #[test]
    fn a_queue_hands_out_what_it_owes(steps in prop::collection::vec(step(), 0..60)) {
        timed(async {
            let (queue, mut model) = (WorkQueue::new(), Model::default());
            for step in steps {
                match step {
                    Step::Add(key) => {
                        queue.add(key);
                        model.due.insert(key);
                    }
                    Step::AddAfter(key, seconds) => {
                        let delay = u32::from(seconds) * SECOND;
                        queue.add_after(key, delay);
                        let at = Instant::now() + delay;
                        let known = model.later.entry(key).or_insert(at);
                        *known = at.min(*known);
                    }
                    Step::Wait(seconds) => advance(u32::from(seconds) * SECOND).await,
                    Step::Take => {
                        let now = Instant::now();
                        model.due.extend(model.later.iter().filter(|(_, at)| **at <= now).map(|(key, _)| *key));
                        model.later.retain(|_, at| *at > now);
                        let owed: BTreeSet<u8> = model.due.difference(&model.taken).copied().collect();
                        match take(&queue) {
                            None => assert!(owed.is_empty(), "{owed:?} are owed"),
                            Some(key) => {
                                assert!(owed.contains(&key), "{key} is not owed");
                                model.due.remove(&key);
                                model.taken.insert(key);
                            }
                        }
                    }
                    Step::Done(key) => {
                        if model.taken.remove(&key) {
                            queue.done(&key);
                        }
                    }
                }
            }
        });
    }
}
