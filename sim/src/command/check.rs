//! `check`: reads scenarios and says what is wrong with them, or may not be meant so, and where.

use clap::Args;

use crate::exit;
use crate::scenario::examine_file;

/// Reads scenarios.
#[derive(Args)]
pub struct Check {
    /// The scenarios' files.
    #[arg(required = true)]
    scenarios: Vec<String>,
}

impl Check {
    /// Does it; the exit code.
    pub fn execute(&self) -> u8 {
        let mut code = exit::HELD;
        for path in &self.scenarios {
            match examine_file(path) {
                Ok((scenario, doubts)) => {
                    for doubt in doubts {
                        eprintln!("warning: {doubt}");
                    }
                    println!("{path}: {} is right", scenario.name);
                }
                Err(error) => {
                    eprintln!("error: {error}");
                    code = exit::WRONG;
                }
            }
        }
        code
    }
}
