//! What is wrong with a packet filter for now. Faults may overlap: each counts for itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use orrery_api::random::Random;
use tokio::sync::Notify;
use tokio::time::Duration;

use crate::faults::Victims;
use crate::scenario::{HalfApplied, Span};

/// The troubles of a packet filter.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// Changes of the rules that fail.
    pub applies: Failures,
    /// Requests to forget flows that fail.
    pub flushes: Failures,
    /// How much longer changes take.
    slow: BTreeMap<u64, (Span, Victims)>,
    last: u64,
}

impl Troubles {
    /// A number for one more trouble that lasts.
    pub fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// From now on changes of the rules take longer; a number for [`hasten`](Self::hasten).
    pub fn slow(&mut self, by: Span, victims: Victims) -> u64 {
        let number = self.next_number();
        self.slow.insert(number, (by, victims));
        number
    }

    /// Takes back one [`slow`](Self::slow).
    pub fn hasten(&mut self, number: u64) {
        self.slow.remove(&number);
    }

    /// How much longer a change takes that is begun now.
    pub fn delay(&self, random: &Random) -> Duration {
        let draw = |(by, victims): &(Span, Victims)| {
            victims.add();
            by.draw(random)
        };
        self.slow.values().map(draw).sum()
    }
}

/// What is to fail, of one kind.
#[derive(Debug, Default)]
pub(super) struct Failures(Vec<Failing>);

/// The next so many tries fail.
#[derive(Debug)]
struct Failing {
    left: u32,
    /// How much of the next one is done all the same.
    half: HalfApplied,
    victims: Victims,
    /// Told when the last one has failed.
    done: Arc<Notify>,
}

impl Failures {
    /// The next so many tries fail, and of the first of them is done what `half` says. Who is told when the last one
    /// has failed.
    pub fn add(&mut self, times: u32, half: HalfApplied, victims: Victims) -> Arc<Notify> {
        let done = Arc::new(Notify::new());
        if times > 0 {
            self.0.push(Failing {
                left: times,
                half,
                victims,
                done: done.clone(),
            });
        }
        done
    }

    /// Takes back what is left of the [`add`](Self::add) that answered `done`.
    pub fn cancel(&mut self, done: &Arc<Notify>) {
        self.0.retain(|own| !Arc::ptr_eq(&own.done, done));
    }

    /// How much is done of what is tried now, if it fails. Every fault counts it; the oldest decides.
    pub fn strike(&mut self) -> Option<HalfApplied> {
        let mut half = None;
        for own in &mut self.0 {
            own.left -= 1;
            own.victims.add();
            half = half.or(Some(own.half));
            own.half = HalfApplied::None;
            if own.left == 0 {
                own.done.notify_one();
            }
        }
        self.0.retain(|own| own.left > 0);
        half
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_fails_no_more() {
        let mut failures = Failures::default();
        let one = failures.add(2, HalfApplied::None, Victims::default());
        failures.add(1, HalfApplied::None, Victims::default());
        failures.cancel(&one);
        assert!(failures.strike().is_some(), "another fault's is left");
        assert!(failures.strike().is_none());
    }
}
