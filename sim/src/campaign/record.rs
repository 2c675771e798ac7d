//! What came of one input: a line of a campaign's folder.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Input;
use super::Summary;
use crate::exit;

/// What came of one input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was run.
    #[serde(flatten)]
    pub input: Input,
    /// Which guided campaign made the input up ([`super::Plan::guided`]); none if it was listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guide: Option<String>,
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
    /// Those of them that no earlier run of its campaign had.
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
    /// The record of a run, in a campaign with the mark `guide` if it is guided. `known` are the features of all its
    /// earlier ones; this one's are added.
    pub fn new(input: Input, summary: Summary, guide: Option<&str>, known: &mut BTreeSet<String>) -> Self {
        let features = summary.features.len();
        let new = summary.features.into_iter().filter(|name| known.insert(name.clone()));
        let seen = summary.coverage.into_iter().filter(|(_, count)| *count > 0);
        Record {
            input,
            guide: guide.map(str::to_owned),
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
            text: if summary.code == exit::HELD {
                String::new()
            } else {
                summary.text
            },
        }
    }

    /// Whether everything held.
    pub fn held(&self) -> bool {
        self.code == exit::HELD
    }
}
