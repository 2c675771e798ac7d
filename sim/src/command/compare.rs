//! `compare`: what a real cluster held in the end, beside what simulated ones hold.

use std::path::PathBuf;

use clap::Args;

use super::{read, yardstick};
use crate::end_state::EndState;
use crate::exit;
use crate::scenario::drawn_step;

/// Compares the end of a real run (`orrery scenario run --end-state FILE`) with that of simulated runs without faults.
#[derive(Args)]
pub struct Compare {
    /// The scenario's file.
    scenario: String,
    /// What the real cluster held.
    end: PathBuf,
}

impl Compare {
    /// Does it; the exit code: 0 if both worlds ended the same, 1 if not.
    pub fn execute(&self) -> u8 {
        match self.deviations() {
            Ok(lines) if lines.is_empty() => {
                println!("the same: the real cluster ended as simulated ones do");
                exit::HELD
            }
            Ok(lines) => {
                println!("the worlds differ:");
                lines.iter().for_each(|line| println!("  {line}"));
                exit::DIFFERENT
            }
            Err(Some(error)) => {
                eprintln!("error: {error}");
                exit::WRONG
            }
            Err(None) => exit::WRONG,
        }
    }

    fn deviations(&self) -> Result<Vec<String>, Option<String>> {
        // It has been said what is wrong with it.
        let scenario = read(&self.scenario).map_err(|_| None)?;
        if let Some(step) = drawn_step(&scenario) {
            let why = "for ends to be compared, what users do, and when, may not be drawn by the seed";
            return Err(Some(format!("{}: `{step}`: {why}", self.scenario)));
        }
        let about = self.end.display();
        let bytes = std::fs::read(&self.end).map_err(|error| Some(format!("cannot read {about}: {error}")))?;
        let end: EndState = serde_json::from_slice(&bytes)
            .map_err(|error| Some(format!("{about} is not the end of a run: {error}")))?;
        let simulated = yardstick::yardstick(&self.scenario, &scenario, None).map_err(Some)?;
        let deviations = simulated.of_both_worlds().deviations(&end.of_both_worlds());
        Ok(deviations
            .iter()
            .map(|own| own.told("is really", "simulated"))
            .collect())
    }
}
