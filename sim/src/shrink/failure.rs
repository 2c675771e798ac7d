//! What kind of failure a run ended with: so much of it that a smaller scenario can be said to fail the same way.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::run::{Outcome, Verdict};

/// How a run failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// An invariant's id, `convergence`, or `panic of kubelet`.
    pub kind: String,
    /// What was wrong, without names and numbers: what was missing, one by one, or what a panic said.
    pub signs: BTreeSet<String>,
    /// What was wrong, in a sentence.
    pub message: String,
}

impl Failure {
    /// How the run failed; none if it held, or could not be played.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        match &outcome.verdict {
            Verdict::Held | Verdict::Wrong(_) | Verdict::NotWritten(_) => None,
            Verdict::Violated(violations) => violations.first().map(|violation| Failure {
                kind: violation.finding.invariant.to_owned(),
                signs: BTreeSet::from([violation.finding.invariant.to_owned()]),
                message: violation.finding.message.clone(),
            }),
            Verdict::NotConverged { missing, .. } => Some(Failure {
                kind: "convergence".to_owned(),
                signs: missing.iter().map(|line| shape(line)).collect(),
                message: missing.first().cloned().unwrap_or_default(),
            }),
            Verdict::Panicked { component, message } => {
                let role = component.split('/').next().unwrap_or_default();
                Some(Failure {
                    kind: format!("panic of {role}"),
                    signs: BTreeSet::from([shape(message.lines().next().unwrap_or_default())]),
                    message: message.clone(),
                })
            }
        }
    }

    /// Whether the run ended otherwise than runs without faults.
    pub fn is_of_the_end(&self) -> bool {
        crate::end_state::is_told_by(&self.message)
    }

    /// Whether `other` is this failure, or a part of it.
    pub fn includes(&self, other: &Failure) -> bool {
        self.kind == other.kind && other.signs.is_subset(&self.signs)
    }
}

/// A sentence without what differs from run to run: names of objects, numbers, quoted words.
fn shape(text: &str) -> String {
    let words = text.split_whitespace().map(|word| match word.split_once('/') {
        Some((resource, _)) => resource.split('.').next().unwrap_or_default().to_owned() + "/…",
        None if word.contains(|letter: char| letter.is_ascii_digit() || letter == '"') => "…".to_owned(),
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: &str, lines: &[&str]) -> Failure {
        Failure {
            kind: kind.to_owned(),
            signs: lines.iter().map(|line| shape(line)).collect(),
            message: String::new(),
        }
    }

    #[test]
    fn names_and_numbers_do_not_tell_failures_apart_but_what_is_missing_does() {
        let original = failure(
            "convergence",
            &[
                "deployments.apps/default/web has 2 readyReplicas, not 3",
                "pods/default/web-7d4b9-x2k4v is bound to no node",
            ],
        );
        let smaller = failure(
            "convergence",
            &["deployments.apps/default/web has 0 readyReplicas, not 1"],
        );
        assert!(original.includes(&smaller));
        assert!(!smaller.includes(&original));
        let other = failure("convergence", &["node node-3 is not ready"]);
        assert!(!original.includes(&other));
        assert!(!failure("P2", &["P2"]).includes(&failure("P7", &["P7"])));
    }
}
