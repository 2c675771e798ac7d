//! Shrinking: of a failing run, the smallest scenario that still fails the same way.
//!
//! First everything that the seed drew is pinned ([`crate::choices`]). Then faults and steps are taken away by delta
//! debugging ([`ddmin`]), and what is left is made simpler ([`passes`]), again and again until nothing more can go. In
//! the end it is tried whether the scenario fails without its seed; if not always, variants that do are looked for:
//! fixed latencies, longer faults, and writes to wait for instead of moments ([`triggers`]).
//!
//! What comes out does not depend on how many runs there are at once, but where the time is up it does on when. It is a
//! local minimum: another order of trying may find another one.

pub mod ddmin;
mod failure;
mod oracle;
pub mod passes;
pub mod triggers;

use std::time::Duration;

pub use failure::Failure;
pub use oracle::Oracle;
use passes::{PASSES, Pass, moments};

use crate::scenario::{FaultAction, Moment, Scenario, Span};

/// With so many other seeds it is tried whether the seed matters.
pub const OTHERS: u64 = 20;
/// So many of them tell variants apart.
const SAMPLE: usize = 8;
/// A pinned run may need another order of tasks to fail again: so many seeds are tried.
const ORDERS: u64 = 12;

/// Every step makes something smaller or rounder, so that it ends; should two passes ever take turns, it ends here.
const ROUNDS: usize = 10;

/// What shrinking came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Shrunk {
    /// The scenario; with its seed, unless it fails with every one that was tried.
    pub scenario: Scenario,
    /// With how many of [`OTHERS`] other seeds it fails, if there was time to try.
    pub others: Option<usize>,
    /// Whether all that the seed drew could be pinned.
    pub pinned: bool,
    /// How many runs were stopped because they took too long; they count as ones that do not fail.
    pub stopped: usize,
}

/// Shrinks a failing scenario.
pub struct Shrinker<'a> {
    oracle: &'a Oracle,
    failure: &'a Failure,
    current: Scenario,
    /// A candidate must fail with all of them.
    seeds: Vec<u64>,
    /// Is told of each step: what is being tried, and the best so far.
    better: &'a dyn Fn(&str, &Scenario),
}

/// Shrinks `original`, which fails with `seed` as the oracle looks for; `pinned` is what that run drew. `better` is
/// told of each smaller scenario. `writes` runs a scenario with a seed and says what its store saw. Nothing comes of it
/// if neither of the two fails again.
pub fn shrink(
    (original, pinned, seed): (&Scenario, &Scenario, u64),
    failure: &Failure,
    oracle: &Oracle,
    writes: &dyn Fn(&Scenario, u64) -> Vec<triggers::Write>,
    better: &dyn Fn(&str, &Scenario),
) -> Option<Shrunk> {
    let (start, seed, is_pinned) = begin(original, pinned, seed, oracle)?;
    let mut shrinker = Shrinker {
        oracle,
        failure,
        current: start,
        seeds: vec![seed],
        better,
    };
    shrinker.current.seed = Some(seed);
    shrinker.current.about.clear();
    (better)("pinned", &shrinker.current);
    shrinker.reduce();
    let others: Vec<u64> = (1..).filter(|other| *other != seed).take(OTHERS as usize).collect();
    shrinker.make_sure(&others, writes);
    let count = oracle.counts(std::slice::from_ref(&shrinker.current), &others)[0];
    if count == others.len() {
        shrinker.current.seed = None;
    }
    Some(Shrunk {
        scenario: shrinker.current,
        others: (!oracle.is_over()).then_some(count),
        pinned: is_pinned,
        stopped: oracle.stopped(),
    })
}

/// Where to begin: the pinned scenario if it fails, perhaps in another order of tasks; else one in which only the
/// users' part or only the faults are pinned; else the original, if it fails again or there is no time to see.
fn begin(original: &Scenario, pinned: &Scenario, seed: u64, oracle: &Oracle) -> Option<(Scenario, u64, bool)> {
    let steps = Scenario {
        workload: pinned.workload.clone(),
        ..original.clone()
    };
    let faults = Scenario {
        faults: pinned.faults.clone(),
        ..original.clone()
    };
    for (scenario, is_pinned) in [(pinned, true), (&faults, false), (&steps, false)] {
        for order in std::iter::once(seed).chain((1..=ORDERS).filter(|other| *other != seed)) {
            if oracle.first(std::slice::from_ref(scenario), &[order]).is_some() {
                return Some((scenario.clone(), order, is_pinned));
            }
        }
    }
    let fails = oracle.first(std::slice::from_ref(original), &[seed]).is_some();
    (fails || oracle.is_over()).then(|| (original.clone(), seed, false))
}

impl Shrinker<'_> {
    /// Takes the first of `candidates` that still fails; its index.
    fn improve(&mut self, what: &str, candidates: &[Scenario]) -> Option<usize> {
        let index = self.oracle.first(candidates, &self.seeds)?;
        self.current.clone_from(&candidates[index]);
        (self.better)(what, &self.current);
        Some(index)
    }

    /// Takes away and simplifies until nothing more can go.
    fn reduce(&mut self) {
        // What comes after the failure goes first: everything else is quicker then.
        self.sweep(&PASSES[0]);
        for _ in 0..ROUNDS {
            let before = self.current.clone();
            self.without("faults", |scenario| &mut scenario.faults);
            self.without("steps", |scenario| &mut scenario.workload);
            for pass in PASSES {
                self.sweep(pass);
            }
            if self.current == before || self.oracle.is_over() {
                return;
            }
        }
    }

    /// Takes away what is not needed of a list.
    fn without<T: Clone>(&mut self, what: &str, list: fn(&mut Scenario) -> &mut Vec<T>) {
        let items = list(&mut self.current.clone()).clone();
        ddmin::minimise(&items, |candidates| {
            let scenarios: Vec<Scenario> = candidates
                .iter()
                .map(|items| {
                    let mut scenario = self.current.clone();
                    list(&mut scenario).clone_from(items);
                    scenario
                })
                .collect();
            self.improve(what, &scenarios)
        });
    }

    /// Goes through the variants of a pass once, from where the last one was taken.
    fn sweep(&mut self, (what, variants): &Pass) {
        let mut from = 0;
        loop {
            let candidates = variants(&self.current, self.failure);
            if from >= candidates.len() || self.oracle.is_over() {
                return;
            }
            match self.improve(what, &candidates[from..]) {
                // What stands there now is another variant.
                Some(index) => from += index,
                None => return,
            }
        }
    }

    /// Looks for a variant that fails with other seeds, too, and makes that one small.
    fn make_sure(&mut self, others: &[u64], writes: &dyn Fn(&Scenario, u64) -> Vec<triggers::Write>) {
        let sample = &others[..SAMPLE.min(others.len())];
        let mut best = self.oracle.counts(std::slice::from_ref(&self.current), sample)[0];
        while best < sample.len() && !self.oracle.is_over() {
            let mut candidates = variations(&self.current, &writes(&self.current, self.seeds[0]));
            let counts = self.oracle.counts(&candidates, sample);
            let Some(highest) = counts.iter().copied().max().filter(|count| *count > best) else {
                return;
            };
            let Some(index) = counts.iter().position(|count| *count == highest) else {
                return;
            };
            if self.oracle.first(&candidates[index..=index], &self.seeds).is_none() {
                // It fails with many seeds, but not with this one: it takes one of theirs.
                let Some(seed) = sample
                    .iter()
                    .find(|seed| self.oracle.first(&candidates[index..=index], &[**seed]).is_some())
                else {
                    return;
                };
                self.seeds = vec![*seed];
                candidates[index].seed = Some(*seed);
            }
            best = highest;
            self.current = candidates.swap_remove(index);
            (self.better)("other seeds", &self.current);
        }
        if best < sample.len() || self.oracle.is_over() {
            return;
        }
        // It no longer needs its seed: what was only good with the seed may go, if it then still does not need it.
        let (sure, seeds) = (self.current.clone(), self.seeds.clone());
        self.seeds.extend(&sample[..3.min(sample.len())]);
        self.reduce();
        let counts = self.oracle.counts(&[self.current.clone(), sure.clone()], others);
        if counts[0] < counts[1] {
            self.current = sure;
            (self.better)("other seeds", &self.current);
        }
        self.seeds = seeds;
    }
}

/// Variants that may depend less on the seed.
fn variations(scenario: &Scenario, writes: &[triggers::Write]) -> Vec<Scenario> {
    let mut variants = Vec::new();
    let mut vary = |change: &dyn Fn(&mut Scenario)| {
        let mut variant = scenario.clone();
        change(&mut variant);
        if variant != *scenario {
            variants.push(variant);
        }
    };
    for millis in [1, 2, 5, 10] {
        vary(&|variant| variant.network.latency = Span::millis(millis, millis));
    }
    let count = moments(&mut scenario.clone()).count();
    for index in 0..count {
        let Some(Moment::At(at)) = moments(&mut scenario.clone()).nth(index).cloned() else {
            continue;
        };
        let mut moment = |new: Moment| {
            vary(&|variant| {
                if let Some(moment) = moments(variant).nth(index) {
                    *moment = new.clone();
                }
            });
        };
        for trigger in triggers::before(writes, at) {
            moment(Moment::When(trigger));
        }
        for millis in [50, 200, 500, 1000, 3000] {
            let shift = Duration::from_millis(millis);
            moment(Moment::At(at + shift));
            moment(Moment::At(at.saturating_sub(shift)));
        }
    }
    for index in 0..scenario.faults.len() {
        for seconds in [10, 30, 60] {
            vary(&|variant| lengthen(&mut variant.faults[index].action, Span::seconds(seconds, seconds)));
        }
    }
    variants
}

/// Lets a fault last longer.
fn lengthen(action: &mut FaultAction, longer: Span) {
    let Some(lasts) = action.lasts() else { return };
    if lasts.high < longer.low {
        *lasts = longer;
    }
}
