//! `run`: one scenario, one seed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use clap::Args;

use super::subject::Subject;
use crate::campaign::Summary;
use crate::child::Patience;
use crate::exit;
use crate::report;
use crate::run::{End, Outcome, Settings, run};
use crate::scenario::Scenario;

/// Runs a scenario with one seed.
#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    subject: Subject,
    /// Write every event to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    trace: Option<String>,
    /// Write what the store held, and when, to this file; for `inspect`.
    #[arg(long, hide = true)]
    history: Option<String>,
    /// Let none of the scenario's faults strike.
    #[arg(long)]
    fault_free: bool,
    /// Write what the cluster holds in the end to this file; for runs that are compared with it.
    #[arg(long, hide = true)]
    end_state: Option<String>,
    /// Print one line of JSON instead of words; for campaigns.
    #[arg(long, hide = true)]
    json: bool,
    /// Show what the components say.
    #[arg(short, long)]
    verbose: bool,
}

impl Run {
    /// Does it; the exit code.
    pub fn execute(&self) -> u8 {
        let settings = match self.settings() {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        let (path, seed) = (&self.subject.scenario, settings.seed);
        let to_stdout = self.trace.as_deref() == Some("-");
        let (trace, history) = match (open(self.trace.as_deref()), open(self.history.as_deref())) {
            (Ok(trace), Ok(history)) => (trace, history),
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("error: {error}");
                return exit::WRONG;
            }
        };
        let outcome = run(Settings {
            trace,
            history,
            ..settings
        });
        if let Some(Err(error)) = self.end_state.as_deref().map(|path| write_end(path, &outcome)) {
            eprintln!("error: {error}");
            return exit::WRONG;
        }
        let mut replay = report::replay(path, seed, &outcome.variation);
        if self.fault_free {
            replay.push_str(" --fault-free");
        }
        if self.json {
            println!("{}", Summary::of(&replay, &outcome).to_json());
            return outcome.verdict.code();
        }
        let mut text = report::describe(&replay, &outcome);
        text.push_str(&report::speed(&outcome));
        if to_stdout {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
        outcome.verdict.code()
    }
}

impl Run {
    /// What to run, but for where it is written to.
    fn settings(&self) -> Result<Settings, u8> {
        let mut settings = self.subject.settings()?;
        if self.fault_free {
            let scenario = Scenario::clone(&settings.scenario);
            settings.scenario = Arc::new(super::yardstick::without_faults(scenario));
        }
        settings.verbose = self.verbose;
        settings.end = match &self.end_state {
            Some(_) => End::Tell,
            None => self.subject.end(&settings.scenario, Patience::ENDLESS)?,
        };
        Ok(settings)
    }
}

/// Writes what the cluster held in the end, if all held.
fn write_end(path: &str, outcome: &Outcome) -> Result<(), String> {
    let Some(end) = &outcome.end else { return Ok(()) };
    let bytes = serde_json::to_vec(end).map_err(|error| error.to_string())?;
    std::fs::write(path, bytes).map_err(|error| format!("cannot write to {path}: {error}"))
}

/// Opens a file to write to, `-` for standard output. The error says why it cannot be.
fn open(path: Option<&str>) -> Result<Option<Box<dyn Write + Send>>, String> {
    const BUFFER: usize = 1 << 16;
    match path {
        None => Ok(None),
        Some("-") => Ok(Some(Box::new(BufWriter::with_capacity(BUFFER, std::io::stdout())))),
        Some(path) => {
            let file = File::create(path).map_err(|error| format!("cannot write to {path}: {error}"))?;
            Ok(Some(Box::new(BufWriter::with_capacity(BUFFER, file))))
        }
    }
}
