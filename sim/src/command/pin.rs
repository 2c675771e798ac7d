//! `pin`: one run, and the scenario that says what it drew.

use clap::Args;

use super::subject::Subject;
use crate::exit;
use crate::report;
use crate::run::run;

/// Writes down what a run drew.
#[derive(Args)]
pub struct Pin {
    #[command(flatten)]
    subject: Subject,
    /// Where the pinned scenario is written; standard output by default.
    #[arg(long, value_name = "FILE")]
    out: Option<String>,
}

impl Pin {
    /// Does it; the exit code: 0 when it was written, however the run ended.
    pub fn execute(&self) -> u8 {
        let settings = match self.subject.settings() {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        let seed = settings.seed;
        let outcome = run(settings);
        eprint!("{}", report::describe(&self.subject.scenario, seed, &outcome));
        let Some(pinned) = &outcome.pinned else {
            eprintln!("error: there was no run to write down");
            return exit::WRONG;
        };
        let text = pinned.to_yaml();
        let Some(path) = &self.out else {
            print!("{text}");
            return exit::HELD;
        };
        match std::fs::write(path, text) {
            Ok(()) => exit::HELD,
            Err(error) => {
                eprintln!("error: cannot write {path}: {error}");
                2
            }
        }
    }
}
