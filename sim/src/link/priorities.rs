//! Interleavings by priority: PCT (Burckhardt et al., ASPLOS 2010; for distributed systems Ozkan et al., OOPSLA 2018).
//!
//! Chance alone almost never makes one actor slow at *every* step, which is what many bugs need. Here every actor draws
//! a priority, and the messages of those with a low one are late. An actor is a client with its requests, or one watch
//! of a client: so a cache may be behind while the writes that rest on it are quick. PCT runs the actor with the
//! highest priority until it waits; in a world with time that is approximated by delays of growing orders of magnitude:
//! what the quick ones do together, a whole cascade of messages, fits into one delay of a slow one. At d - 1 moments of
//! the chaos whoever speaks next falls to the lowest priority. A bug that needs d events in an order is then found with
//! a probability that does not shrink with the length of the run.
//!
//! All delays are lawful: a network may be slow for some, for so long. They end with the chaos.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use orrery_api::random::Random;

use crate::variation::Explore;

/// The highest priority's delay.
const SHORTEST: Duration = Duration::from_micros(500);
/// The lowest priority's delay lies between these, drawn for each run.
const LONGEST: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(2500)];

/// Who is slow, in one run.
pub struct Priorities {
    inner: Option<Mutex<Inner>>,
}

struct Inner {
    random: Random,
    longest: Duration,
    /// The moments that are still to come, the next one last.
    changes: Vec<Duration>,
    delays: BTreeMap<String, Duration>,
}

impl Priorities {
    /// The priorities of a run whose chaos lasts for `duration`; none unless `explore` asks for them.
    pub fn new(explore: Explore, duration: Duration, random: &Random) -> Self {
        let Explore::Pct { depth } = explore else {
            return Priorities { inner: None };
        };
        let random = random.stream("priorities");
        let longest = between(LONGEST[0], LONGEST[1], random.fraction());
        let mut changes: Vec<Duration> = (1..depth).map(|_| random.duration(Duration::ZERO, duration)).collect();
        changes.sort_unstable_by(|one, other| other.cmp(one));
        Priorities {
            inner: Some(Mutex::new(Inner {
                random,
                longest,
                changes,
                delays: BTreeMap::new(),
            })),
        }
    }

    /// How much later a message may arrive at most.
    pub fn longest(&self) -> Duration {
        let inner = self.inner.as_ref().map(|inner| inner.lock());
        inner.map_or(Duration::ZERO, |inner| {
            inner.unwrap_or_else(PoisonError::into_inner).longest
        })
    }

    /// How much later than its link would have it a message of `actor` arrives that is sent at `now`.
    pub fn delay(&self, actor: &str, now: Duration) -> Duration {
        let Some(inner) = &self.inner else {
            return Duration::ZERO;
        };
        let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.changes.last().is_some_and(|change| *change <= now) {
            inner.changes.pop();
            let lowest = inner.longest;
            inner.delays.insert(actor.to_owned(), lowest);
        }
        if let Some(delay) = inner.delays.get(actor) {
            return *delay;
        }
        // A stream of its own for each actor: one more changes nothing for the others.
        let delay = between(SHORTEST, inner.longest, inner.random.stream(actor).fraction());
        inner.delays.insert(actor.to_owned(), delay);
        delay
    }
}

/// A duration whose order of magnitude lies at `fraction` between two others.
fn between(low: Duration, high: Duration, fraction: f64) -> Duration {
    let factor = high.as_secs_f64() / low.as_secs_f64();
    let seconds = low.as_secs_f64() * factor.powf(fraction);
    Duration::from_micros((seconds * 1e6) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAOS: Duration = Duration::from_secs(300);

    fn priorities(seed: u64, depth: u32) -> Priorities {
        Priorities::new(Explore::Pct { depth }, CHAOS, &Random::from_number(seed))
    }

    #[test]
    fn without_them_nobody_is_late() {
        let none = Priorities::new(Explore::Random, CHAOS, &Random::from_number(1));
        assert_eq!(none.delay("scheduler/1", Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn an_actor_keeps_its_priority_whoever_else_there_is() {
        for seed in 0..20 {
            let (one, other) = (priorities(seed, 1), priorities(seed, 1));
            let alone = one.delay("scheduler/1", Duration::ZERO);
            other.delay("kubelet/node-1", Duration::ZERO);
            assert_eq!(other.delay("scheduler/1", CHAOS), alone);
            assert!(alone >= SHORTEST && alone <= LONGEST[1]);
        }
    }

    #[test]
    fn priorities_differ_by_orders_of_magnitude() {
        let priorities = priorities(3, 1);
        let delays: Vec<Duration> = (0..50)
            .map(|n| priorities.delay(&n.to_string(), Duration::ZERO))
            .collect();
        let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
        assert!(*most > *least * 50, "{least:?} to {most:?}");
    }

    #[test]
    fn at_each_change_point_one_falls_to_the_lowest() {
        for seed in 0..20 {
            let priorities = priorities(seed, 4);
            let actors: Vec<String> = (0..20).map(|n| n.to_string()).collect();
            let before: Vec<Duration> = actors
                .iter()
                .map(|actor| priorities.delay(actor, Duration::ZERO))
                .collect();
            let lowest = priorities.inner.as_ref().unwrap().lock().unwrap().longest;
            for actor in &actors {
                priorities.delay(actor, CHAOS);
            }
            let after: Vec<Duration> = actors.iter().map(|actor| priorities.delay(actor, CHAOS)).collect();
            let changed = before.iter().zip(&after).filter(|(before, after)| before != after);
            assert_eq!(changed.clone().count(), 3);
            assert!(changed.clone().all(|(_, after)| *after == lowest));
        }
    }
}
