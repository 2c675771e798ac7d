//! What faults have held up, and for how long: who acts afterwards may act on an old picture.

use std::time::Duration;

/// So long after its end a fault may excuse an old picture.
const MEMORY: Duration = Duration::from_secs(60);

/// Something was held up between two moments, of which the second may be yet to come.
#[derive(Debug)]
struct Holdup {
    from: Duration,
    until: Duration,
    /// How long those whom it has caught may wait for an answer that will not come, when its fault is over.
    patience: Duration,
}

/// What has held somebody up, as long as that may matter, in the order of its begin.
#[derive(Debug, Default)]
pub(super) struct Holdups(Vec<Holdup>);

impl Holdups {
    /// One more, between these moments; `patience` is how long it may go on when its fault is over.
    pub(super) fn add(&mut self, from: Duration, until: Duration, patience: Duration) {
        self.0.retain(|own| own.until + MEMORY > from);
        let place = self.0.partition_point(|own| own.from <= from);
        self.0.insert(place, Holdup { from, until, patience });
    }

    /// What began at `from` is over now, sooner than was known.
    pub(super) fn end(&mut self, from: Duration, now: Duration) {
        for own in self.0.iter_mut().filter(|own| own.from == from && own.until > now) {
            own.until = now;
        }
    }

    /// Every fault is over now.
    pub(super) fn heal(&mut self, now: Duration) {
        for own in &mut self.0 {
            own.until = own.until.min(now + own.patience);
        }
    }

    fn recent(&self, now: Duration) -> impl Iterator<Item = &Holdup> {
        let is_recent = move |own: &&Holdup| own.until + MEMORY > now && own.from <= now;
        self.0.iter().filter(is_recent)
    }

    /// Whether there is any, or was of late.
    pub(super) fn any(&self, now: Duration) -> bool {
        self.recent(now).next().is_some()
    }

    /// How long there has been any of late: what overlaps counts once.
    pub(super) fn length(&self, now: Duration) -> Duration {
        let (mut length, mut last) = (Duration::ZERO, Duration::ZERO);
        for own in self.recent(now) {
            let until = own.until.min(now);
            length += until.saturating_sub(own.from.max(last));
            last = last.max(until);
        }
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn held(spans: &[(u64, u64)]) -> Holdups {
        let mut holdups = Holdups::default();
        for (from, until) in spans {
            holdups.add(at(*from), at(*until), at(30));
        }
        holdups
    }

    #[test]
    fn what_overlaps_counts_once_and_what_is_yet_to_come_not_at_all() {
        let holdups = held(&[(10, 20), (12, 18), (15, 30), (40, 100)]);
        assert_eq!(holdups.length(at(9)), at(0));
        assert_eq!(holdups.length(at(17)), at(7));
        assert_eq!(holdups.length(at(45)), at(25));
        assert_eq!(holdups.length(at(120)), at(60), "the others are long over");
        assert_eq!(held(&[(15, 30), (10, 20)]).length(at(30)), at(20), "in any order");
    }

    #[test]
    fn it_matters_for_a_while_after_its_end() {
        let holdups = held(&[(10, 20)]);
        let any = [9, 10, 79, 80].map(|now| holdups.any(at(now)));
        assert_eq!(any, [false, true, true, false]);
    }

    #[test]
    fn it_may_be_over_sooner_and_after_the_heal_only_those_who_wait_are_held_up() {
        let mut holdups = held(&[(10, 500), (11, 500)]);
        holdups.end(at(10), at(20));
        assert_eq!(holdups.length(at(50)), at(40));
        holdups.heal(at(60));
        assert_eq!(holdups.length(at(200)), at(0));
        assert_eq!(holdups.length(at(149)), at(79));
        let mut over = held(&[(10, 20)]);
        over.heal(at(15));
        assert_eq!(over.length(at(40)), at(10));
    }
}
