//! `run`: one scenario, one seed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use clap::Args;

use crate::report;
use crate::run::{Settings, run};
use crate::variation::Variation;

/// Runs a scenario with one seed.
#[derive(Args)]
pub struct Run {
    /// The scenario's file.
    scenario: String,
    /// The seed; the scenario's own by default, or 1.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    variation: Variation,
    /// Write every event to this file; `-` is standard output.
    #[arg(long)]
    trace: Option<String>,
    /// Write what the store held, and when, to this file; for `inspect`.
    #[arg(long, hide = true)]
    history: Option<String>,
    /// Print one line of JSON instead of words; for campaigns.
    #[arg(long, hide = true)]
    json: bool,
    /// Put this known bug into the components; only in a build with the feature `mutants`.
    #[arg(long)]
    mutant: Option<String>,
    /// Show what the components say.
    #[arg(short, long)]
    verbose: bool,
}

impl Run {
    /// Does it; the exit code.
    pub fn execute(&self) -> u8 {
        let scenario = match super::read(&self.scenario) {
            Ok(scenario) => Arc::new(scenario),
            Err(code) => return code,
        };
        let seed = super::seed(self.seed, &scenario);
        if let Some(Err(why)) = self.mutant.as_deref().map(crate::mutants::switch_on) {
            eprintln!("error: {why}");
            return 2;
        }
        let to_stdout = self.trace.as_deref() == Some("-");
        let (trace, history) = match (open(self.trace.as_deref()), open(self.history.as_deref())) {
            (Ok(trace), Ok(history)) => (trace, history),
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("error: {error}");
                return 2;
            }
        };
        let outcome = run(Settings {
            scenario,
            seed,
            variation: self.variation.clone(),
            trace,
            history,
            verbose: self.verbose,
        });
        if self.json {
            println!(
                "{}",
                super::summary::Summary::of(&self.scenario, seed, &outcome).to_json()
            );
            return outcome.verdict.code();
        }
        let mut text = report::describe(&self.scenario, seed, &outcome);
        text.push_str(&report::speed(&outcome));
        if to_stdout {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
        outcome.verdict.code()
    }
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
