//! What makes a run, beside the build.

use serde::{Deserialize, Serialize};

use crate::report;
use crate::variation::Variation;

/// What makes a run, beside the build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Input {
    /// The scenario's file.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// What it is varied by.
    #[serde(flatten)]
    pub variation: Variation,
}

impl Input {
    /// A seed of a scenario, not varied.
    pub fn new(scenario: &str, seed: u64) -> Self {
        Input {
            scenario: scenario.to_owned(),
            seed,
            variation: Variation::default(),
        }
    }

    /// The arguments of the command that runs it.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "run".to_owned(),
            self.scenario.clone(),
            "--seed".to_owned(),
            self.seed.to_string(),
        ];
        arguments.extend(self.variation.arguments());
        arguments
    }

    /// The command that replays it.
    pub fn replay(&self) -> String {
        report::replay(&self.scenario, self.seed, &self.variation)
    }
}
