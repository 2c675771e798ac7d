//! The commands, and the exit codes by which scripts tell outcomes apart.

mod check;
mod compare;
mod diff;
mod explain;
mod fuzz;
mod inspect;
mod judge;
mod limit;
mod merge;
mod mutants;
mod pin;
mod place;
mod record;
mod report;
mod run;
mod shrink;
mod subject;
mod summarize;
mod traces;
mod verify;
mod yardstick;

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGPIPE, SIGTERM};

use crate::campaign::{Input, in_process};
use crate::child;
use crate::exit;
use crate::simulator;

/// A run that takes longer is stopped, where there is a limit and nobody set another one.
const LIMIT: Duration = Duration::from_secs(300);

/// Play a whole cluster, with faults, in one deterministic process.
///
/// Exit codes: 0 held, 10 an invariant was broken, 11 did not converge, did not end as without faults, or did not end
/// in time (`--limit`), 12 not deterministic, 13 a component panicked, or the process of a run died (of several runs
/// that of the first one that failed), 1 a known bug was not found (`mutants`), two runs differ (`diff`), or two worlds
/// (`compare`), 2 the scenario or the command line is wrong, something cannot be written, or there is no failure to
/// make small (`shrink`), 130 interrupted, 141 nobody reads the output any more.
#[derive(Parser)]
#[command(name = "orrery-sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a scenario with one seed.
    Run(run::Run),
    /// Run a scenario with one seed and write down what was drawn: a scenario without swarm, churn, `any` and
    /// `between`.
    Pin(pin::Pin),
    /// Make a failing run small: a scenario of a few lines that fails the same way.
    Shrink(shrink::Shrink),
    /// Run a scenario and say how it failed, for `shrink`.
    #[command(hide = true)]
    Judge(judge::Judge),
    /// Run scenarios with many seeds, on all cores.
    Fuzz(fuzz::Fuzz),
    /// Put the folders of a campaign's shards together.
    Merge(merge::Merge),
    /// Say what campaigns have found, from their folders.
    Summary(summarize::Summarize),
    /// Run scenarios twice, in two processes each, and compare what happens.
    Verify(verify::Verify),
    /// Serve a run's API as it was at a moment, for the ordinary kubectl.
    Inspect(inspect::Inspect),
    /// Put known bugs into the components, one by one, and see how many seeds it takes to find each.
    Mutants(mutants::Mutants),
    /// Read a scenario and say what is wrong with it, and where.
    Check(check::Check),
    /// Explain why a run fails, and where a run that holds went another way.
    Explain(explain::Explain),
    /// Write a page to look at a run: lanes, pods, faults, and the causal chain of a failure.
    Report(report::Report),
    /// Compare two runs, or two traces: where they part, and how their stores differ.
    Diff(diff::Diff),
    /// Compare what a real cluster held in the end (`orrery scenario run`) with what simulated ones hold.
    Compare(compare::Compare),
    /// Run a scenario and print what happened as JSON; for the other commands.
    #[command(hide = true)]
    Record(record::Record),
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    child::begin();
    // Whoever reads the output may have seen enough of it (`| head`): that is an end as any other program's.
    let _ = signal_hook::flag::register_conditional_shutdown(SIGPIPE, 141, Arc::new(AtomicBool::new(true)));
    // As people call it, and as the lines that say how to replay a run do.
    let called = Arguments::command().bin_name(simulator::parts().command.as_str());
    let matches = called.try_get_matches();
    let arguments = match matches.and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(arguments) => arguments,
        // Help is such an error, too.
        Err(error) => {
            let told = error.print();
            if !error.use_stderr() {
                crate::output::written(told);
            }
            return ExitCode::from(if error.use_stderr() { exit::WRONG } else { exit::HELD });
        }
    };
    let code = match arguments.command {
        Command::Run(run) => run.execute(),
        Command::Pin(pin) => pin.execute(),
        Command::Shrink(shrink) => shrink.execute(),
        Command::Judge(judge) => judge.execute(),
        Command::Fuzz(fuzz) => fuzz.execute(),
        Command::Merge(merge) => merge.execute(),
        Command::Summary(summary) => summary.execute(),
        Command::Verify(verify) => verify.execute(),
        Command::Inspect(inspect) => inspect.execute(),
        Command::Mutants(mutants) => mutants.execute(),
        Command::Check(check) => check.execute(),
        Command::Explain(explain) => explain.execute(),
        Command::Report(report) => report.execute(),
        Command::Diff(diff) => diff.execute(),
        Command::Compare(compare) => compare.execute(),
        Command::Record(record) => record.execute(),
    };
    ExitCode::from(code)
}

/// How many runs at once: as many as were asked for, or as there are cores.
fn jobs(asked: Option<NonZeroUsize>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    asked.map_or_else(cores, usize::from)
}

/// Reads how many runs shall go on at once, which is not none.
fn some_jobs(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .map_err(|_| "write how many runs at once, 1 or more".to_owned())
}

/// Why a run that ended with [`exit::WRONG`] cannot be played, as a process of its own tells it.
fn why_unplayed(input: &Input) -> String {
    in_process(input, LIMIT).text.trim_end().to_owned()
}

/// Reads a time in minutes, which is not nothing.
fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if minutes > 0.0 && minutes.is_finite() => Ok(minutes),
        _ => Err("write a number of minutes, such as 30 or 0.5".to_owned()),
    }
}

/// The seed to play a scenario with: the one that was asked for, or its own, or 1.
fn seed(asked: Option<u64>, scenario: &crate::scenario::Scenario) -> u64 {
    asked.or(scenario.seed).unwrap_or(1)
}

/// Reads a scenario, or says what is wrong with it.
fn read(path: &str) -> Result<crate::scenario::Scenario, u8> {
    crate::scenario::read_file(path).map_err(|error| {
        eprintln!("error: {error}");
        exit::WRONG
    })
}

/// A flag that the first interrupt raises; the second one ends the process.
fn interrupted() -> Result<Arc<AtomicBool>, String> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the second one finds the flag raised.
        signal_hook::flag::register_conditional_shutdown(signal, exit::INTERRUPTED.into(), flag.clone())
            .and_then(|_| signal_hook::flag::register(signal, flag.clone()))
            .map_err(|error| format!("signals cannot be caught: {error}"))?;
    }
    Ok(flag)
}
