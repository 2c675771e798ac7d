//! `check`: reads scenarios and says what is wrong with them, and where.

use clap::Args;

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
        let mut code = 0;
        for path in &self.scenarios {
            match super::read(path) {
                Ok(scenario) => println!("{path}: {} is right", scenario.name),
                Err(wrong) => code = wrong,
            }
        }
        code
    }
}
