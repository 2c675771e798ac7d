//! `pin`: one run, and the scenario that says what it drew.

use clap::Args;

use super::place::Place;
use super::subject::Subject;
use crate::child::Patience;
use crate::exit;
use crate::report;
use crate::run::run;

/// Writes down what a run drew.
#[derive(Args)]
pub struct Pin {
    #[command(flatten)]
    subject: Subject,
    /// Where the pinned scenario is written; standard output by default, and if it is `-`.
    #[arg(long, value_name = "FILE")]
    out: Option<String>,
}

impl Pin {
    /// Does it; the exit code: 0 when it was written, however the run ended.
    pub fn execute(&self) -> u8 {
        let settings = match self.subject.settings_with_end(Patience::ENDLESS) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        let (seed, variation) = (settings.seed, &self.subject.variation);
        let outcome = run(settings);
        let replay = report::replay(&self.subject.scenario, seed, variation);
        eprint!("{}", report::describe(&replay, &outcome));
        let Some(pinned) = &outcome.pinned else {
            eprintln!("error: there was no run to write down");
            return exit::WRONG;
        };
        let mut text = pinned.to_yaml();
        let with = variation.not_pinned().arguments().join(" ");
        if !with.is_empty() {
            let hint = format!("what was pinned may go another way unless it is run with {with}");
            eprintln!("{hint}");
            text.insert_str(
                0,
                &format!("# Run it with {with}, as the run that it was pinned from.\n"),
            );
        }
        let path = self.out.as_deref().unwrap_or("-");
        match Place::of(path).put(&text) {
            Ok(()) => exit::HELD,
            Err(error) => {
                eprintln!("error: cannot write {path}: {error}");
                exit::WRONG
            }
        }
    }
}
