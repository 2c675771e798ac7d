//! The machines' wall clocks, and how wrong they are. Timers are right everywhere: only what stamps objects errs.
//!
//! A clock that is put wrong steps to its offset at once, drifts from there, and steps back when it is put right.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// The clocks that are wrong now.
#[derive(Debug, Default)]
pub struct Clocks {
    wrong: Mutex<Wrong>,
}

#[derive(Debug, Default)]
struct Wrong {
    by_machine: BTreeMap<String, BTreeMap<u64, Fault>>,
    last: u64,
}

/// How wrong a clock is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// Since when.
    pub since: Duration,
    /// How far it was ahead then, in milliseconds.
    pub offset: i64,
    /// How many seconds it counts in one.
    pub rate: f64,
}

impl Fault {
    fn error(&self, now: Duration) -> SignedDuration {
        let passed = now.saturating_sub(self.since).as_secs_f64();
        // To a microsecond: no clock of a machine is set better.
        let drifted = (passed * (self.rate - 1.0) * 1e6).round() as i64;
        SignedDuration::from_millis(self.offset) + SignedDuration::from_micros(drifted)
    }
}

impl Clocks {
    fn lock(&self) -> MutexGuard<'_, Wrong> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A machine's clock is put wrong, on top of what it is already; a number for [`end`](Self::end).
    pub fn begin(&self, machine: &str, fault: Fault) -> u64 {
        let mut wrong = self.lock();
        wrong.last += 1;
        let number = wrong.last;
        wrong
            .by_machine
            .entry(machine.to_owned())
            .or_default()
            .insert(number, fault);
        number
    }

    /// Takes back one [`begin`](Self::begin).
    pub fn end(&self, number: u64) {
        let by_machine = &mut self.lock().by_machine;
        by_machine.values_mut().for_each(|faults| {
            faults.remove(&number);
        });
        by_machine.retain(|_, faults| !faults.is_empty());
    }

    /// All clocks are put right.
    pub fn end_all(&self) {
        self.lock().by_machine.clear();
    }

    /// What the clock of a machine shows `now`, when it truly is `time`.
    pub fn shown(&self, machine: &str, time: Timestamp, now: Duration) -> Timestamp {
        let wrong = self.lock();
        let faults = wrong.by_machine.get(machine).into_iter().flat_map(BTreeMap::values);
        let error: SignedDuration = faults.map(|fault| fault.error(now)).sum();
        time.checked_add(error).unwrap_or(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::What;
    use crate::run::{Settings, record};
    use crate::scenario::read;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn shown(clocks: &Clocks, machine: &str, now: u64) -> i64 {
        let time = Timestamp::from_second(1_000_000 + now as i64).unwrap();
        clocks.shown(machine, time, seconds(now)).as_millisecond() - 1_000_000_000
    }

    #[test]
    fn a_clock_steps_drifts_and_steps_back_and_no_other_does() {
        let clocks = Clocks::default();
        let fault = Fault {
            since: seconds(10),
            offset: -3000,
            rate: 1.1,
        };
        let number = clocks.begin("node-1", fault);
        assert_eq!(shown(&clocks, "node-1", 10), 7_000);
        assert_eq!(shown(&clocks, "node-1", 30), 29_000);
        assert_eq!(shown(&clocks, "node-2", 30), 30_000);
        clocks.end(number);
        assert_eq!(shown(&clocks, "node-1", 31), 31_000);
    }

    #[test]
    fn faults_of_one_clock_add_up_and_each_is_taken_back_alone() {
        let clocks = Clocks::default();
        let ahead = |offset| Fault {
            since: seconds(0),
            offset,
            rate: 1.0,
        };
        let first = clocks.begin("node-1", ahead(5000));
        clocks.begin("node-1", ahead(-1000));
        assert_eq!(shown(&clocks, "node-1", 1), 5_000);
        clocks.end(first);
        assert_eq!(shown(&clocks, "node-1", 1), 0);
        clocks.end_all();
        assert_eq!(shown(&clocks, "node-1", 1), 1_000);
    }

    #[test]
    fn a_machines_processes_stamp_by_its_clock_and_others_by_theirs() {
        let text = "name: a\nduration: 30s\ntopology: { nodes: 1 }\nfaults:\n  - at: 0s\n    clock: { node: node-1, offset: 10m, for: 60s }\n";
        let scenario = read("a.yaml", text, |_| Err(String::new())).unwrap();
        let (outcome, recording) = record("a.yaml", Settings::new(scenario, 1));
        assert_eq!(outcome.verdict.code(), 0);
        let lease = recording.events.iter().find_map(|event| match &event.what {
            What::Written(written) if written.object.name == "node-1" && written.value.contains("renewTime") => {
                Some(&written.value)
            }
            _ => None,
        });
        let lease: serde_json::Value = serde_json::from_str(lease.unwrap()).unwrap();
        let time = |path: &str| -> Timestamp { lease.pointer(path).unwrap().as_str().unwrap().parse().unwrap() };
        // The node says when it renewed its lease, the API server when it was made.
        let apart = time("/spec/renewTime").duration_since(time("/metadata/creationTimestamp"));
        assert!((599..=602).contains(&apart.as_secs()), "{apart}");
    }
}
