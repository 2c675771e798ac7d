//! `shrink`: the smallest scenario that fails as a seed of a scenario does.

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;

use super::interrupted;
use super::subject::Subject;
use crate::exit;
use crate::report::{program, word};
use crate::run::{Settings, Verdict, run};
use crate::scenario::Scenario;
use crate::shrink::{Failure, OTHERS, Oracle, Shrunk, shrink, triggers};

/// Without a smaller scenario a line is written so often.
const LINE: Duration = Duration::from_secs(10);

/// Makes a failing run small.
#[derive(Args)]
pub struct Shrink {
    #[command(flatten)]
    subject: Subject,
    /// Where the smallest scenario is written, as soon as there is a smaller one; NAME-SEED.yaml by default.
    #[arg(long, value_name = "FILE")]
    out: Option<String>,
    /// For how many minutes at most.
    #[arg(long, default_value_t = 30.0, value_name = "MINUTES", value_parser = super::minutes)]
    limit: f64,
    /// How many runs at once; as many as there are cores by default.
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
}

/// What the header of the result says, and where it goes.
struct Output<'a> {
    path: &'a str,
    source: &'a str,
    seed: u64,
    failure: &'a Failure,
    before: usize,
    mutant: Option<&'a str>,
}

impl Shrink {
    /// Does it; the exit code: 0 when there is a result, but for one that was interrupted.
    pub fn execute(&self) -> u8 {
        let settings = match self.subject.settings() {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        let (path, original, seed) = (&self.subject.scenario, settings.scenario.clone(), settings.seed);
        let mutant = self.subject.variation.mutant.as_deref();
        let started = Instant::now();
        let end = match self.subject.end(&original) {
            Ok(end) => end,
            Err(code) => return code,
        };
        let outcome = run(Settings { end, ..settings });
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
            path: &out,
            source: path,
            seed,
            failure: &failure,
            before: pinned.lines(),
            mutant,
        };
        eprintln!("{}: {}", failure.kind, failure.message);
        let limit = Duration::try_from_secs_f64(self.limit * 60.0).unwrap_or(Duration::MAX);
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
        let oracle = match Oracle::new(failure.clone(), super::jobs(self.jobs), limits, mutant) {
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
        let trouble: Mutex<Option<String>> = Mutex::new(None);
        let told = Mutex::new((Instant::now(), usize::MAX));
        let better = |what: &str, scenario: &Scenario| {
            let note = |error| *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            output.write(scenario, &oracle, None).unwrap_or_else(note);
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
        let writes = |scenario: &Scenario, seed| writes(scenario, seed, mutant);
        let shrunk = shrink((&original, pinned, seed), &failure, &oracle, &writes, &better);
        if let Err(error) = output.write(&shrunk.scenario, &oracle, Some(&shrunk)) {
            eprintln!("error: {error}");
            return exit::WRONG;
        }
        if let Some(error) = trouble.into_inner().unwrap_or_else(PoisonError::into_inner) {
            eprintln!("on the way: {error}");
        }
        println!(
            "{} lines of faults and workload became {}, in {} runs and {:.0} s{}",
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
            }
        );
        println!("{}", about_seed(&shrunk));
        println!("run it: {}", run_line(&out, mutant));
        if interrupted.load(Ordering::Relaxed) {
            exit::INTERRUPTED
        } else {
            0
        }
    }
}

impl Output<'_> {
    /// Whether something can be written there; leaves nothing.
    fn try_place(&self) -> Result<(), String> {
        let new = self.new_path();
        std::fs::write(&new, "")
            .and_then(|()| std::fs::remove_file(&new))
            .map_err(|error| format!("cannot write {}: {error}", self.path))
    }

    /// Where it is written before it takes the place of what was there.
    fn new_path(&self) -> String {
        format!("{}.new", self.path)
    }

    /// Writes what is best so far, whole or not at all.
    fn write(&self, scenario: &Scenario, oracle: &Oracle, shrunk: Option<&Shrunk>) -> Result<(), String> {
        // The smaller run has a message of its own: other names, other moments.
        let own = oracle.failure(scenario, super::seed(None, scenario));
        let failure = own.as_ref().unwrap_or(self.failure);
        let mut header = format!("# Fails: {}: {}\n", failure.kind, failure.message.replace('\n', " "));
        header += &format!("# Run it: {}\n", run_line(self.path, self.mutant));
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
        let new = self.new_path();
        std::fs::write(&new, header + &scenario.to_yaml())
            .and_then(|()| std::fs::rename(&new, Path::new(self.path)))
            .map_err(|error| format!("cannot write {}: {error}", self.path))
    }
}

/// The command that runs the result.
fn run_line(file: &str, mutant: Option<&str>) -> String {
    let with = mutant.map(|id| format!(" --mutant {id}")).unwrap_or_default();
    format!("{} run {}{with}", program(mutant), word(file))
}

/// Whether the seed matters, in words.
fn about_seed(shrunk: &Shrunk) -> String {
    // Where the time was up nobody knows what could have been pinned.
    let drawn = if shrunk.pinned || shrunk.others.is_none() {
        ""
    } else {
        " Not all that it drew could be pinned: with other choices alone it did not fail again."
    };
    match (shrunk.others, shrunk.scenario.seed) {
        (Some(count), None) => format!("It needs no seed: it fails with {count} of {OTHERS} others.{drawn}"),
        (Some(count), Some(seed)) => {
            format!("It needs its seed {seed}: it fails with {count} of {OTHERS} others.{drawn}")
        }
        (None, _) => format!("There was no time to try other seeds.{drawn}"),
    }
}

/// What the store of a run sees, told by a process of its own.
fn writes(scenario: &Scenario, seed: u64, mutant: Option<&str>) -> Vec<triggers::Write> {
    let file = std::env::temp_dir().join(format!("orrery-writes-{}.yaml", std::process::id()));
    let output = std::fs::write(&file, scenario.to_yaml()).and_then(|()| {
        Command::new(std::env::current_exe()?)
            .arg("run")
            .arg(&file)
            .args(["--seed", &seed.to_string(), "--trace", "-"])
            .args(mutant.into_iter().flat_map(|id| ["--mutant", id]))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
    });
    // It lies among temporary files.
    let _ = std::fs::remove_file(&file);
    output.map_or_else(
        |_| Vec::new(),
        |output| triggers::writes(&String::from_utf8_lossy(&output.stdout)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shrunk_with_a_mutant_is_run_with_it() {
        assert_eq!(run_line("small.yaml", None), "cargo sim run small.yaml");
        let line = run_line("small.yaml", Some("B41"));
        let program = std::env::args().next().expect("a program has a name");
        assert_eq!(line, format!("{program} run small.yaml --mutant B41"));
    }
}
