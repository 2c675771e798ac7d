//! Says which scenarios still fail: each is run in a process of its own, on all cores, and only once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Failure;
use crate::child::{self, Fate, Patience};
use crate::scenario::Scenario;
use crate::variation::{Explore, Variation};

/// A run that takes so many times as long as the first one, in real time, goes round in circles; it counts as one that
/// does not fail the same way.
const TIMES: u32 = 3;
/// A run may take as long in any case.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub struct Oracle {
    wanted: Failure,
    jobs: usize,
    deadline: Instant,
    interrupted: Arc<AtomicBool>,
    variation: Variation,
    /// A run that takes longer is stopped.
    longest: Duration,
    /// Whether only what holds without its faults is looked for.
    needs_faults: bool,
    folder: PathBuf,
    known: Mutex<BTreeMap<(String, u64), Option<Failure>>>,
    runs: AtomicUsize,
    stopped: AtomicUsize,
}

/// How long a run may take if the first one took `first`.
fn longest(first: Duration) -> Duration {
    PATIENCE.max(first.saturating_mul(TIMES))
}

/// The scenario on a day when nothing goes wrong.
fn without_faults(scenario: &Scenario) -> Scenario {
    let mut calm = scenario.clone();
    calm.faults.clear();
    calm.network.loss = 0.0;
    calm
}

impl Oracle {
    /// An oracle that looks for `wanted` with so many processes at a time, until the deadline or until the flag is
    /// raised, in runs that are varied so; that of `wanted` took as long as `first`.
    pub fn new(
        wanted: Failure,
        jobs: usize,
        (deadline, interrupted): (Instant, Arc<AtomicBool>),
        variation: Variation,
        first: Duration,
    ) -> std::io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("orrery-shrink-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Oracle {
            wanted,
            jobs: jobs.max(1),
            deadline,
            interrupted,
            variation,
            longest: longest(first),
            needs_faults: false,
            folder,
            known: Mutex::default(),
            runs: AtomicUsize::new(0),
            stopped: AtomicUsize::new(0),
        })
    }

    /// What its runs are varied by.
    pub fn variation(&self) -> &Variation {
        &self.variation
    }

    /// Lets its runs explore interleavings in this way from here on.
    pub fn explore(&mut self, explore: Explore) {
        self.variation.explore = explore;
        self.known = Mutex::default();
    }

    /// Looks only for what its faults are to blame for, if that is so of `scenario`: a cluster that has too little time
    /// does not converge either.
    pub fn blame_faults(&mut self, scenario: &Scenario, seed: u64) {
        let is_of_the_end = self.wanted.kind == "convergence";
        self.needs_faults = is_of_the_end && !self.fails(&without_faults(scenario), seed);
    }

    /// A folder for what its runs need, which goes when it goes.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many runs there were.
    pub fn runs(&self) -> usize {
        self.runs.load(Ordering::Relaxed)
    }

    /// How many of them were stopped because they took too long: nobody knows how they would have ended.
    pub fn stopped(&self) -> usize {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Whether the time is up, or nobody wants to wait any longer.
    pub fn is_over(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }

    /// The first of `candidates` that fails with all of `seeds`. It does not depend on how many are run at once.
    pub fn first(&self, candidates: &[Scenario], seeds: &[u64]) -> Option<usize> {
        let best = AtomicUsize::new(usize::MAX);
        self.each(candidates.len(), |index| {
            // What comes after one that fails need not be looked at.
            if index < best.load(Ordering::Relaxed) && seeds.iter().all(|seed| self.fails(&candidates[index], *seed)) {
                best.fetch_min(index, Ordering::Relaxed);
            }
        });
        Some(best.into_inner()).filter(|index| *index < candidates.len())
    }

    /// With how many of `seeds` each of `candidates` fails.
    pub fn counts(&self, candidates: &[Scenario], seeds: &[u64]) -> Vec<usize> {
        let counts: Vec<AtomicUsize> = candidates.iter().map(|_| AtomicUsize::new(0)).collect();
        self.each(candidates.len() * seeds.len(), |index| {
            let (candidate, seed) = (index / seeds.len(), seeds[index % seeds.len()]);
            if self.fails(&candidates[candidate], seed) {
                counts[candidate].fetch_add(1, Ordering::Relaxed);
            }
        });
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }

    /// Does `work` for each index, in order, several at a time, until the time is up.
    fn each(&self, count: usize, work: impl Fn(usize) + Sync) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.min(count) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= count || self.is_over() {
                            return;
                        }
                        work(index);
                    }
                });
            }
        });
    }

    /// Whether the scenario fails as wanted with this seed.
    fn fails(&self, scenario: &Scenario, seed: u64) -> bool {
        let as_wanted = |scenario: &Scenario| {
            let failure = self.failure(scenario, seed);
            failure.is_some_and(|failure| self.wanted.includes(&failure))
        };
        as_wanted(scenario) && !(self.needs_faults && as_wanted(&without_faults(scenario)))
    }

    /// How the scenario fails with this seed, if it does.
    pub fn failure(&self, scenario: &Scenario, seed: u64) -> Option<Failure> {
        let text = scenario.to_yaml();
        let key = (text, seed);
        let lock = || self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = lock().get(&key) {
            return known.clone();
        }
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let file = self.folder.join(format!("{number}.yaml"));
        let failure = std::fs::write(&file, &key.0)
            .ok()
            .and_then(|()| self.judge(&file.to_string_lossy(), seed));
        // Nobody needs it any more; the folder goes in the end anyhow.
        let _ = std::fs::remove_file(&file);
        lock().insert(key, failure.clone());
        failure
    }

    /// Runs a scenario in a process of its own; how it failed, if it did and was not interrupted.
    fn judge(&self, file: &str, seed: u64) -> Option<Failure> {
        let mut command = child::command("judge", file, seed, &self.variation);
        // What it keeps of the candidate's runs without faults is of no use to others.
        command.env("TMPDIR", &self.folder);
        let patience = Patience {
            limit: self.longest,
            interrupted: Some(&self.interrupted),
        };
        match child::watch(&mut command, patience).ok()? {
            Fate::Ended { output, .. } => serde_json::from_str(output.trim()).ok().flatten(),
            Fate::Late => {
                self.stopped.fetch_add(1, Ordering::Relaxed);
                None
            }
            Fate::Interrupted => None,
        }
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // What cannot be removed lies among temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_may_take_its_time_if_the_first_one_did() {
        let seconds = Duration::from_secs;
        assert_eq!(longest(seconds(1)), seconds(60));
        assert_eq!(longest(seconds(200)), seconds(600));
    }
}
