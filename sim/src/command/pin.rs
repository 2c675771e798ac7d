//! `pin`: one run, and the scenario that says what it drew.

use std::sync::Arc;

use clap::Args;

use crate::report;
use crate::run::{End, Settings, run};
use crate::variation::Variation;

/// Writes down what a run drew.
#[derive(Args)]
pub struct Pin {
    /// The scenario's file.
    scenario: String,
    /// The seed; the scenario's own by default, or 1.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    variation: Variation,
    /// Where the pinned scenario is written; standard output by default.
    #[arg(long)]
    out: Option<String>,
}

impl Pin {
    /// Does it; the exit code: 0 when it was written, however the run ended.
    pub fn execute(&self) -> u8 {
        let scenario = match super::read(&self.scenario) {
            Ok(scenario) => Arc::new(scenario),
            Err(code) => return code,
        };
        let seed = super::seed(self.seed, &scenario);
        let outcome = run(Settings {
            end: End::Ignore,
            scenario,
            seed,
            variation: self.variation.clone(),
            trace: None,
            verbose: false,
            history: None,
        });
        eprint!("{}", report::describe(&self.scenario, seed, &outcome));
        let Some(pinned) = &outcome.pinned else {
            eprintln!("error: there was no run to write down");
            return 2;
        };
        let text = pinned.to_yaml();
        let Some(path) = &self.out else {
            print!("{text}");
            return 0;
        };
        match std::fs::write(path, text) {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("error: cannot write {path}: {error}");
                2
            }
        }
    }
}
