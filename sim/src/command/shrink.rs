//! `shrink`: the smallest scenario that fails as a seed of a scenario does.

use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;

use super::interrupted;
use super::place::Place;
use super::subject::Subject;
use super::yardstick;
use crate::child::{self, Fate, Patience};
use crate::exit;
use crate::report::{program, word};
use crate::run::{Settings, Verdict, run_within};
use crate::scenario::Scenario;
use crate::shrink::{Failure, OTHERS, Oracle, Shrunk, shrink, triggers};
use crate::variation::{Explore, Variation};

/// Without a smaller scenario a line is written so often.
const LINE: Duration = Duration::from_secs(10);
/// So many runs at least must find time: one that takes longer cannot be made small.
const RUNS: u32 = 10;

/// Makes a failing run small.
#[derive(Args)]
pub struct Shrink {
    #[command(flatten)]
    subject: Subject,
    /// Where the smallest scenario is written, as soon as there is a smaller one; NAME-SEED.yaml by default. `-` is
    /// standard output, to which only the last one is written.
    #[arg(long, value_name = "FILE")]
    out: Option<String>,
    /// For how many minutes at most.
    #[arg(long, default_value_t = 30.0, value_name = "MINUTES", value_parser = super::minutes)]
    limit: f64,
    /// How many runs at once; as many as there are cores by default.
    #[arg(long, value_parser = super::some_jobs)]
    jobs: Option<NonZeroUsize>,
}

/// What the header of the result says, and where it goes.
struct Output<'a> {
    path: &'a str,
    place: Place,
    source: &'a str,
    seed: u64,
    failure: &'a Failure,
    before: usize,
}

impl Shrink {
    /// Does it; the exit code: 0 when there is a result, but for one that was interrupted.
    pub fn execute(&self) -> u8 {
        let settings = match self.subject.settings() {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        let (path, original, seed) = (&self.subject.scenario, settings.scenario.clone(), settings.seed);
        let started = Instant::now();
        let limit = Duration::try_from_secs_f64(self.limit * 60.0).unwrap_or(Duration::MAX);
        let longest = super::LIMIT.max(limit / RUNS);
        let end = match self.subject.end(&original, Patience::of(longest)) {
            Ok(end) => end,
            Err(code) => return code,
        };
        let began = Instant::now();
        let Some(outcome) = run_within(Settings { end, ..settings }, longest) else {
            eprintln!(
                "error: nothing to shrink: {path} did not end with seed {seed} within {} s of real time; `explain` \
                 says what happens",
                longest.as_secs()
            );
            return exit::WRONG;
        };
        let first = began.elapsed().saturating_mul(yardstick::runs(&original));
        let (Some(failure), Some(pinned)) = (Failure::of(&outcome), &outcome.pinned) else {
            match &outcome.verdict {
                Verdict::Wrong(why) => eprintln!("error: nothing to shrink: {path} cannot be played: {why}"),
                _ => eprintln!(
                    "error: nothing to shrink: {path} does not fail with seed {seed}; `fuzz` finds seeds that do"
                ),
            }
            return exit::WRONG;
        };
        let out = self
            .out
            .clone()
            .unwrap_or_else(|| format!("{}-{seed}.yaml", original.name.replace('/', "-")));
        let output = Output {
            place: Place::of(&out),
            path: &out,
            source: path,
            seed,
            failure: &failure,
            before: pinned.lines(),
        };
        eprintln!("{}: {}", failure.kind, failure.message);
        let deadline = started
            .checked_add(limit)
            .unwrap_or(started + Duration::from_secs(1 << 30));
        // From here on there are files to remove, and perhaps a result to write.
        let interrupted = match interrupted() {
            Ok(interrupted) => interrupted,
            Err(error) => {
                eprintln!("error: {error}");
                return exit::WRONG;
            }
        };
        let limits = (deadline, interrupted.clone());
        let explore = self.subject.variation.explore;
        let plainly = Variation {
            explore: Explore::Random,
            ..self.subject.variation.not_pinned()
        };
        let mut oracle = match Oracle::new(failure.clone(), super::jobs(self.jobs), limits, plainly, first) {
            Ok(oracle) => oracle,
            Err(error) => {
                eprintln!("error: cannot write temporary files: {error}");
                return exit::WRONG;
            }
        };
        // Half an hour later is too late to hear that the result has no place.
        if let Err(error) = output.try_place() {
            eprintln!("error: {error}");
            return exit::WRONG;
        }
        // One that was found with slow actors may need them to fail again.
        if !explore.is_random() && oracle.first(std::slice::from_ref(pinned), &[seed]).is_none() {
            oracle.explore(explore);
        }
        oracle.blame_faults(pinned, seed);
        let trouble: Mutex<Option<String>> = Mutex::new(None);
        let told = Mutex::new((Instant::now(), usize::MAX));
        let better = |what: &str, scenario: &Scenario| {
            let note = |error| *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            // What goes through a place cannot be taken back.
            if matches!(output.place, Place::File(_)) {
                output.write(scenario, &oracle, None).unwrap_or_else(note);
            }
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if scenario.lines() != told.1 || told.0.elapsed() >= LINE {
                *told = (Instant::now(), scenario.lines());
                eprintln!(
                    "{:>5.0} s, {} runs: {} lines ({what})",
                    started.elapsed().as_secs_f64(),
                    oracle.runs(),
                    scenario.lines()
                );
            }
        };
        let writes = |scenario: &Scenario, seed| writes(scenario, seed, &oracle);
        let Some(shrunk) = shrink((&original, pinned, seed), &failure, &oracle, &writes, &better) else {
            let stopped = match oracle.stopped() {
                0 => String::new(),
                count => format!("; {count} of {} runs took too long", oracle.runs()),
            };
            eprintln!(
                "error: nothing to shrink: {path} failed with seed {seed}, but it does not fail so again{stopped}"
            );
            return exit::WRONG;
        };
        if let Err(error) = output.write(&shrunk.scenario, &oracle, Some(&shrunk)) {
            eprintln!("error: {error}");
            return exit::WRONG;
        }
        if let Some(error) = trouble.into_inner().unwrap_or_else(PoisonError::into_inner) {
            eprintln!("on the way: {error}");
        }
        let told = format!(
            "{} lines of faults and workload became {}, in {} runs and {:.0} s{}\n{}\nrun it: {}",
            output.before,
            shrunk.scenario.lines(),
            oracle.runs(),
            started.elapsed().as_secs_f64(),
            if interrupted.load(Ordering::Relaxed) {
                "; it was interrupted"
            } else if oracle.is_over() {
                "; the time was up"
            } else {
                ""
            },
            about_seed(&shrunk),
            output.run_line(&oracle)
        );
        if output.place == Place::Output {
            eprintln!("{told}");
        } else {
            println!("{told}");
        }
        if interrupted.load(Ordering::Relaxed) {
            exit::INTERRUPTED
        } else {
            exit::HELD
        }
    }
}

impl Output<'_> {
    /// Whether something can be written there; leaves nothing.
    fn try_place(&self) -> Result<(), String> {
        let place = self.place.can_be_written();
        place.map_err(|error| format!("cannot write {}: {error}", self.path))
    }

    /// The command that runs what is written there.
    fn run_line(&self, oracle: &Oracle) -> String {
        let file = if self.place == Place::Output { "FILE" } else { self.path };
        run_line(file, oracle.variation())
    }

    /// Writes what is best so far, whole or not at all.
    fn write(&self, scenario: &Scenario, oracle: &Oracle, shrunk: Option<&Shrunk>) -> Result<(), String> {
        // The smaller run has a message of its own: other names, other moments.
        let own = oracle.failure(scenario, super::seed(None, scenario));
        let failure = own.as_ref().unwrap_or(self.failure);
        let mut header = format!("# Fails: {}: {}\n", failure.kind, failure.message.replace('\n', " "));
        header += &format!("# Run it: {}\n", self.run_line(oracle));
        header += &format!(
            "# Shrunk from {} with seed {}: {} lines of faults and workload became {}.\n",
            self.source,
            self.seed,
            self.before,
            scenario.lines()
        );
        match shrunk {
            Some(shrunk) => header += &format!("# {}\n", about_seed(shrunk)),
            None => header += "# Shrinking was not finished.\n",
        }
        self.place
            .exchange(&(header + &scenario.to_yaml()))
            .map_err(|error| format!("cannot write {}: {error}", self.path))
    }
}

/// The command that runs the result, which names its seed itself, if it needs one.
fn run_line(file: &str, variation: &Variation) -> String {
    let mut words = vec![format!("{} run {}", program(variation.mutant.as_deref()), word(file))];
    words.extend(variation.arguments());
    words.join(" ")
}

/// Whether the seed matters, in words.
fn about_seed(shrunk: &Shrunk) -> String {
    // Where the time was up nobody knows what could have been pinned.
    let drawn = if shrunk.pinned || shrunk.others.is_none() {
        ""
    } else {
        " Not all that it drew could be pinned: with other choices alone it did not fail again."
    };
    let stopped = match shrunk.stopped {
        0 => String::new(),
        count => format!(" Runs that took too long count as ones that did not fail: {count} of all."),
    };
    let seed = match (shrunk.others, shrunk.scenario.seed) {
        (Some(count), None) => format!("It needs no seed: it fails with {count} of {OTHERS} others."),
        (Some(0), Some(seed)) => format!("It needs its seed {seed}: it fails with none of {OTHERS} others."),
        (Some(count), Some(seed)) => format!("It fails with its seed {seed}, and with {count} of {OTHERS} others."),
        (None, _) => "There was no time to try other seeds.".to_owned(),
    };
    seed + drawn + &stopped
}

/// What the store of a run sees that is varied as the oracle's, told by a process of its own.
fn writes(scenario: &Scenario, seed: u64, oracle: &Oracle) -> Vec<triggers::Write> {
    let file = oracle.folder().join("writes.yaml");
    let watched = std::fs::write(&file, scenario.to_yaml()).and_then(|()| {
        let mut run = child::command("run", &file.to_string_lossy(), seed, oracle.variation());
        run.args(["--trace", "-"]).env("TMPDIR", oracle.folder());
        child::watch(&mut run, Patience::ENDLESS)
    });
    match watched {
        Ok(Fate::Ended { output, .. }) => triggers::writes(&output),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shrunk_with_a_mutant_or_slow_actors_is_run_with_them() {
        let plain = Variation::default();
        assert_eq!(run_line("small.yaml", &plain), "cargo sim run small.yaml");
        let mutant = Variation {
            mutant: Some("B41".to_owned()),
            ..plain.clone()
        };
        let program = std::env::args().next().expect("a program has a name");
        assert_eq!(
            run_line("small.yaml", &mutant),
            format!("{program} run small.yaml --mutant B41")
        );
        let explored = Variation {
            explore: Explore::Pct { depth: 2 },
            ..plain
        };
        assert_eq!(
            run_line("small.yaml", &explored),
            "cargo sim run small.yaml --explore pct:2"
        );
    }

    #[test]
    fn a_seed_is_needed_where_no_other_fails() {
        let shrunk = |others, seed: &str| {
            let text = format!("name: a\n{seed}duration: 1s\n");
            Shrunk {
                scenario: crate::scenario::read("a.yaml", &text, |_| Err(String::new())).expect("a scenario"),
                others,
                pinned: true,
                stopped: 0,
            }
        };
        let told = |others, seed: &str| about_seed(&shrunk(others, seed));
        assert_eq!(told(Some(20), ""), "It needs no seed: it fails with 20 of 20 others.");
        assert_eq!(
            told(Some(19), "seed: 3\n"),
            "It fails with its seed 3, and with 19 of 20 others."
        );
        assert_eq!(
            told(Some(0), "seed: 3\n"),
            "It needs its seed 3: it fails with none of 20 others."
        );
        assert_eq!(told(None, "seed: 3\n"), "There was no time to try other seeds.");
        let slow = Shrunk {
            stopped: 5,
            ..shrunk(Some(0), "seed: 3\n")
        };
        assert_eq!(
            about_seed(&slow),
            "It needs its seed 3: it fails with none of 20 others. Runs that took too long count as ones that did not \
             fail: 5 of all."
        );
    }
}
