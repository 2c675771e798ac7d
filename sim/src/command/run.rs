//! `run`: one scenario, one seed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use clap::Args;

use crate::report;
use crate::run::{Settings, run};

/// Runs a scenario with one seed.
#[derive(Args)]
pub struct Run {
    /// The scenario's file.
    scenario: String,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write every event to this file; `-` is standard output.
    #[arg(long)]
    trace: Option<String>,
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
        let scenario = match super::read(&self.scenario) {
            Ok(scenario) => Arc::new(scenario),
            Err(code) => return code,
        };
        let to_stdout = self.trace.as_deref() == Some("-");
        let trace: Option<Box<dyn Write + Send>> = match self.trace.as_deref() {
            None => None,
            Some("-") => Some(Box::new(BufWriter::with_capacity(1 << 16, std::io::stdout()))),
            Some(path) => match File::create(path) {
                Ok(file) => Some(Box::new(BufWriter::with_capacity(1 << 16, file))),
                Err(error) => {
                    eprintln!("error: cannot write the trace to {path}: {error}");
                    return 2;
                }
            },
        };
        let outcome = run(Settings {
            scenario,
            seed: self.seed,
            trace,
            verbose: self.verbose,
        });
        if self.json {
            println!(
                "{}",
                super::summary::Summary::of(&self.scenario, self.seed, &outcome).to_json()
            );
            return outcome.verdict.code();
        }
        let mut text = report::describe(&self.scenario, self.seed, &outcome);
        text.push_str(&report::speed(&outcome));
        if to_stdout {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
        outcome.verdict.code()
    }
}
