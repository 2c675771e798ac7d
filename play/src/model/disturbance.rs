//! Where faults are in force, or were of late: what is judged only in calm times asks here.
//!
//! A fault of one machine, or of what runs on it, disturbs nothing elsewhere but by what it makes others write.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How far a fault reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It may disturb everybody.
    Everywhere,
    /// It disturbs these machines alone.
    Machines(BTreeSet<String>),
}

/// How many faults of one place are in force, and when the last one began or ended.
#[derive(Debug, Default)]
struct Trouble {
    in_force: u32,
    last: Duration,
}

impl Trouble {
    fn is_felt(&self, memory: Duration, now: Duration) -> bool {
        self.in_force > 0 || self.last + memory > now
    }
}

/// What is disturbed.
#[derive(Debug, Default)]
pub(super) struct Disturbances {
    everywhere: Option<Trouble>,
    machines: BTreeMap<String, Trouble>,
    /// Whether a part of the control plane stays broken for ever: who comes upon it is held up.
    for_ever: bool,
}

impl Disturbances {
    pub(super) fn begin(&mut self, reach: &Reach, now: Duration) {
        self.touch(reach, now, |trouble| trouble.in_force += 1);
    }

    pub(super) fn end(&mut self, reach: &Reach, now: Duration) {
        self.touch(reach, now, |trouble| {
            trouble.in_force = trouble.in_force.saturating_sub(1)
        });
    }

    fn touch(&mut self, reach: &Reach, now: Duration, change: impl Fn(&mut Trouble)) {
        let change = |trouble: &mut Trouble| {
            trouble.last = now;
            change(trouble);
        };
        match reach {
            Reach::Everywhere => change(self.everywhere.get_or_insert_default()),
            Reach::Machines(machines) => {
                for machine in machines {
                    change(self.machines.entry(machine.clone()).or_default());
                }
            }
        }
    }

    /// Every fault is over, and what it has done is being put right; `for_ever` says that a part of the control plane
    /// stays broken.
    pub(super) fn heal(&mut self, for_ever: bool, now: Duration) {
        self.machines.clear();
        self.everywhere = Some(Trouble { in_force: 0, last: now });
        self.for_ever = for_ever;
    }

    /// Whether a fault that may disturb everybody is in force, or was within `memory`.
    pub(super) fn is_everywhere(&self, memory: Duration, now: Duration) -> bool {
        let felt = |trouble: &Trouble| trouble.is_felt(memory, now);
        self.for_ever || self.everywhere.as_ref().is_some_and(felt)
    }

    /// Whether one is that reaches `machine`.
    pub(super) fn is_on(&self, machine: &str, memory: Duration, now: Duration) -> bool {
        let own = self.machines.get(machine);
        self.is_everywhere(memory, now) || own.is_some_and(|trouble| trouble.is_felt(memory, now))
    }

    /// Whether any is.
    pub(super) fn is_anywhere(&self, memory: Duration, now: Duration) -> bool {
        let mut all = self.machines.values();
        self.is_everywhere(memory, now) || all.any(|trouble| trouble.is_felt(memory, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Whether everybody, node-1, node-2 and anybody is disturbed then, with a memory of ten seconds.
    fn felt(disturbances: &Disturbances, seconds: u64) -> [bool; 4] {
        let (memory, now) = (at(10), at(seconds));
        [
            disturbances.is_everywhere(memory, now),
            disturbances.is_on("node-1", memory, now),
            disturbances.is_on("node-2", memory, now),
            disturbances.is_anywhere(memory, now),
        ]
    }

    #[test]
    fn a_fault_of_a_machine_is_felt_there_until_it_has_been_over_for_a_while() {
        let mut disturbances = Disturbances::default();
        assert_eq!(felt(&disturbances, 0), [false; 4]);
        let reach = Reach::Machines(BTreeSet::from(["node-1".to_owned()]));
        disturbances.begin(&reach, at(5));
        disturbances.begin(&reach, at(6));
        disturbances.end(&reach, at(50));
        assert_eq!(felt(&disturbances, 1000), [false, true, false, true]);
        disturbances.end(&reach, at(1000));
        assert_eq!(felt(&disturbances, 1009), [false, true, false, true]);
        assert_eq!(felt(&disturbances, 1010), [false; 4]);
    }

    #[test]
    fn a_fault_without_bounds_is_felt_by_all_and_the_heal_ends_every_one() {
        let mut disturbances = Disturbances::default();
        disturbances.begin(&Reach::Everywhere, at(5));
        disturbances.begin(&Reach::Machines(BTreeSet::from(["node-2".to_owned()])), at(5));
        assert_eq!(felt(&disturbances, 1000), [true; 4]);
        disturbances.heal(false, at(1000));
        assert_eq!(felt(&disturbances, 1009), [true; 4]);
        assert_eq!(felt(&disturbances, 1010), [false; 4]);
        disturbances.heal(true, at(1010));
        assert_eq!(felt(&disturbances, 5000), [true; 4]);
    }
}
