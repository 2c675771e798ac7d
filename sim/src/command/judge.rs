//! `judge`: one run for `shrink`, in a process of its own; how it failed, as one line of JSON.

use clap::Args;

use crate::run::{Settings, run};
use crate::shrink::Failure;

/// Runs a scenario and says how it failed.
#[derive(Args)]
pub struct Judge {
    /// The scenario's file.
    scenario: String,
    /// The seed.
    #[arg(long)]
    seed: u64,
    /// Put this known bug into the components; only in a build with the feature `mutants`.
    #[arg(long)]
    mutant: Option<String>,
}

impl Judge {
    /// Does it; the exit code.
    pub fn execute(&self) -> u8 {
        let scenario = match super::read(&self.scenario) {
            Ok(scenario) => scenario,
            Err(code) => return code,
        };
        if let Some(Err(why)) = self.mutant.as_deref().map(crate::mutants::switch_on) {
            eprintln!("error: {why}");
            return 2;
        }
        let end = match super::end(&self.scenario, &scenario, self.mutant.as_deref()) {
            Ok(end) => end,
            Err(code) => return code,
        };
        let outcome = run(Settings {
            end,
            ..Settings::new(scenario, self.seed)
        });
        println!("{}", serde_json::to_string(&Failure::of(&outcome)).unwrap_or_default());
        outcome.verdict.code()
    }
}
