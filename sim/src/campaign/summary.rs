//! What a campaign needs to know of a run in another process: one line of JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Input;
use crate::end_state::IDS;
use crate::exit;
use crate::run::{Outcome, Verdict};

/// What came of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// The exit code that tells it.
    pub code: u8,
    /// What was wrong, in a word: an invariant's id, `convergence`, `panic of kubelet/node-1`.
    pub kind: String,
    /// What was wrong in a sentence; of several things the first one.
    pub message: String,
    /// The report for people.
    pub text: String,
    /// Simulated seconds.
    pub simulated: f64,
    /// Seconds of the processor.
    pub spent: f64,
    /// What was seen sometimes.
    pub coverage: BTreeMap<String, u64>,
    /// What it has done, by the names of [`crate::features`], in order.
    pub features: Vec<String>,
    /// The trace's hash.
    pub hash: String,
    /// How many events the trace has.
    pub events: u64,
    /// Faults that were asked for and never struck.
    pub never_struck: Vec<String>,
    /// Whether it was not played to its end, so that nothing of it is known.
    #[serde(skip)]
    pub without_outcome: bool,
    /// How often the branch of the mutant that was on was taken.
    #[serde(default)]
    pub reached: u64,
}

/// The invariant whose final state is missing, if it is one and the same in every line; else `convergence`.
fn unmet(missing: &[String]) -> &str {
    let ids = || {
        missing
            .iter()
            .map(|line| line.split_once(": ").map_or("", |(id, _)| id))
    };
    let is_known = |id: &str| crate::invariants::ids().contains(&id) || IDS.contains(&id);
    match ids().next() {
        Some(id) if is_known(id) && ids().all(|other| other == id) => id,
        _ => "convergence",
    }
}

impl Summary {
    /// The summary of a run; `replay` is the command that replays it.
    pub fn of(replay: &str, outcome: &Outcome) -> Self {
        let kind = match &outcome.verdict {
            Verdict::Held => "held".to_owned(),
            Verdict::Violated(violations) => violations
                .first()
                .map_or("an invariant", |violation| violation.finding.invariant)
                .to_owned(),
            Verdict::NotConverged { missing, .. } => unmet(missing).to_owned(),
            Verdict::Panicked { component, .. } => format!("panic of {component}"),
            Verdict::Wrong(_) => "wrong scenario".to_owned(),
            Verdict::NotWritten(_) => "not written".to_owned(),
        };
        Summary {
            code: outcome.verdict.code(),
            kind,
            message: message(&outcome.verdict),
            text: crate::report::describe(replay, outcome),
            simulated: outcome.simulated.as_secs_f64(),
            spent: outcome.spent.as_secs_f64(),
            coverage: outcome
                .coverage
                .iter()
                .map(|(thing, count)| ((*thing).to_owned(), *count))
                .collect(),
            features: outcome.features.clone(),
            hash: outcome.hash.clone(),
            events: outcome.events,
            never_struck: outcome.never_struck.clone(),
            without_outcome: false,
            reached: crate::mutants::reached(),
        }
    }

    /// A run whose process ended without a summary: it was killed, or ran out of memory or stack.
    pub fn died(input: &Input, why: &str) -> Self {
        Summary::without_outcome(
            exit::PANICKED,
            "the process died",
            &format!("the process died: {why}"),
            input,
        )
    }

    /// A run of which nothing is known: its process refused the scenario or the command line, or could not write what
    /// it had to, and said why.
    pub fn refused(input: &Input, why: &str) -> Self {
        Summary::without_outcome(exit::WRONG, "not played", why, input)
    }

    /// A run that was stopped because it did not end: something goes round in circles while no time passes, or hardly
    /// any.
    pub fn endless(input: &Input, limit: Duration) -> Self {
        let why = format!("it did not end within {} s of real time", limit.as_secs());
        Summary::without_outcome(exit::NOT_CONVERGED, "no end", &why, input)
    }

    fn without_outcome(code: u8, kind: &str, why: &str, input: &Input) -> Self {
        Summary {
            code,
            kind: kind.to_owned(),
            // In one line, as campaigns list it.
            message: why.lines().next().unwrap_or_default().to_owned(),
            text: format!("{why}\nreplay: {}\n", input.replay()),
            simulated: 0.0,
            spent: 0.0,
            coverage: BTreeMap::new(),
            features: Vec::new(),
            hash: String::new(),
            events: 0,
            never_struck: Vec::new(),
            without_outcome: true,
            reached: 0,
        }
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn message(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Held => String::new(),
        Verdict::Violated(violations) => violations
            .first()
            .map_or_else(String::new, |violation| violation.finding.message.clone()),
        Verdict::NotConverged { missing, .. } => missing.first().cloned().unwrap_or_default(),
        Verdict::Panicked { message, .. } | Verdict::Wrong(message) | Verdict::NotWritten(message) => message.clone(),
    }
}
