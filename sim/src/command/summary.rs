//! What a campaign needs to know of a run in another process: one line of JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::report;
use crate::run::{Outcome, Verdict};

/// What came of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// The exit code that tells it.
    pub code: u8,
    /// What was wrong, in a word: an invariant's id, `convergence`, `panic of kubelet/node-1`.
    pub kind: String,
    /// The report for people.
    pub text: String,
    /// Simulated seconds.
    pub simulated: f64,
    /// Seconds of the processor.
    pub spent: f64,
    /// What was seen sometimes.
    pub coverage: BTreeMap<String, u64>,
    /// Faults that were asked for and never struck.
    pub never_struck: Vec<String>,
}

impl Summary {
    /// The summary of a run.
    pub fn of(scenario: &str, seed: u64, outcome: &Outcome) -> Self {
        let kind = match &outcome.verdict {
            Verdict::Held => "held".to_owned(),
            Verdict::Violated(violations) => violations
                .first()
                .map_or("an invariant", |violation| violation.finding.invariant)
                .to_owned(),
            Verdict::NotConverged { .. } => "convergence".to_owned(),
            Verdict::Panicked { component, .. } => format!("panic of {component}"),
            Verdict::Wrong(_) => "wrong scenario".to_owned(),
        };
        Summary {
            code: outcome.verdict.code(),
            kind,
            text: report::describe(scenario, seed, outcome),
            simulated: outcome.simulated.as_secs_f64(),
            spent: outcome.spent.as_secs_f64(),
            coverage: outcome
                .coverage
                .iter()
                .map(|(thing, count)| ((*thing).to_owned(), *count))
                .collect(),
            never_struck: outcome.never_struck.clone(),
        }
    }

    /// A run whose process ended without a summary: it was killed, or ran out of memory or stack.
    pub fn died(scenario: &str, seed: u64, why: &str) -> Self {
        Summary::without_outcome(
            13,
            "the process died",
            &format!("the process died: {why}"),
            scenario,
            seed,
        )
    }

    /// A run that was stopped because it did not end: something goes round in circles while no time passes, or hardly any.
    pub fn endless(scenario: &str, seed: u64, limit: Duration) -> Self {
        let why = format!("it did not end within {} s of real time", limit.as_secs());
        Summary::without_outcome(11, "no end", &why, scenario, seed)
    }

    fn without_outcome(code: u8, kind: &str, why: &str, scenario: &str, seed: u64) -> Self {
        Summary {
            code,
            kind: kind.to_owned(),
            text: format!("{why}\nreplay: {}\n", report::replay(scenario, seed)),
            simulated: 0.0,
            spent: 0.0,
            coverage: BTreeMap::new(),
            never_struck: Vec::new(),
        }
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
