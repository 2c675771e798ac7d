//! `judge`: one run for `shrink`, in a process of its own; how it failed, as one line of JSON.

use clap::Args;

use super::subject::Subject;
use crate::child::Patience;
use crate::run::run;
use crate::shrink::Failure;

/// Runs a scenario and says how it failed.
#[derive(Args)]
pub struct Judge {
    #[command(flatten)]
    subject: Subject,
}

impl Judge {
    /// Does it; the exit code.
    pub fn execute(&self) -> u8 {
        let settings = match self.subject.settings_with_end(Patience::ENDLESS) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        let outcome = run(settings);
        println!("{}", serde_json::to_string(&Failure::of(&outcome)).unwrap_or_default());
        outcome.verdict.code()
    }
}
