//! What came of one input: a line of a campaign's folder.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Input;
use crate::command::Summary;

/// What came of one input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was run.
    #[serde(flatten)]
    pub input: Input,
    /// The exit code.
    pub code: u8,
    /// What was wrong, in a word; `held` if nothing was.
    pub kind: String,
    /// The trace's hash.
    pub hash: String,
    /// Simulated seconds.
    pub simulated: f64,
    /// Seconds of the processor.
    pub spent: f64,
    /// How many features it had.
    pub features: usize,
    /// Those of them that no earlier line of the folder has.
    pub new: Vec<String>,
    /// What was seen sometimes.
    pub seen: Vec<String>,
    /// Faults that were asked for and never struck.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never_struck: Vec<String>,
    /// What was wrong, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The report of a failure.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

impl Record {
    /// The record of a run. `known` are the features of all earlier ones; this one's are added.
    pub fn new(input: Input, summary: Summary, known: &mut BTreeSet<String>) -> Self {
        let features = summary.features.len();
        let new = summary.features.into_iter().filter(|name| known.insert(name.clone()));
        let seen = summary.coverage.into_iter().filter(|(_, count)| *count > 0);
        Record {
            input,
            code: summary.code,
            kind: summary.kind,
            hash: summary.hash,
            simulated: summary.simulated,
            spent: summary.spent,
            features,
            new: new.collect(),
            seen: seen.map(|(thing, _)| thing).collect(),
            never_struck: summary.never_struck,
            message: summary.message,
            text: if summary.code == 0 { String::new() } else { summary.text },
        }
    }

    /// Whether everything held.
    pub fn held(&self) -> bool {
        self.code == 0
    }
}
