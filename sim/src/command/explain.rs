//! `explain`: why a run failed, and where a run that holds went another way.

use clap::Args;

use super::limit::Limit;
use super::record::obtain;
use super::subject::Subject;
use crate::exit;
use crate::explain::{Explanation, compare, explain, words};
use crate::recording::{Ending, Index, Recording};
use crate::report::command;

/// So many neighbouring seeds are tried for one that holds.
const NEIGHBOURS: u64 = 8;
/// So many faults are left out, one at a time, to see which of them matter.
const FAULTS: usize = 32;

/// Explains why a run fails: the shortest chain of causes, and where a run that holds went another way.
#[derive(Args)]
pub struct Explain {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    limit: Limit,
    /// Do not look for runs that hold, to compare with.
    #[arg(long)]
    alone: bool,
}

impl Explain {
    /// Does it; the exit code: that of the run.
    pub fn execute(&self) -> u8 {
        let recording = match self.subject.recording(self.limit) {
            Ok(recording) => recording,
            Err(code) => return code,
        };
        let (scenario, seed) = (&self.subject.scenario, recording.seed);
        let index = Index::new(&recording);
        let Some(explanation) = explain(&index) else {
            println!("seed {seed} of {scenario} holds: there is nothing to explain");
            return exit::HELD;
        };
        println!("{scenario}, seed {seed}");
        for line in explanation.finding.iter().chain(&explanation.lines(&index)) {
            println!("{line}");
        }
        // What cannot be played is for the scenario to mend: there is nothing to compare. And where a run does not end,
        // each of the others may take as long.
        let is_played = !matches!(recording.ending, Ending::Wrong(_) | Ending::Endless { .. });
        if is_played && !self.alone {
            self.compare(seed, &index, &explanation);
        }
        let command = |what| command(what, scenario, seed, &self.subject.variation);
        println!("replay: {}", command("run"));
        println!("look at it: {} --out report.html", command("report"));
        recording.ending.code()
    }

    /// Looks for runs that hold: without one of the faults, and with other seeds.
    fn compare(&self, seed: u64, index: &Index<'_>, explanation: &Explanation) {
        let Subject {
            scenario: path,
            variation,
            ..
        } = &self.subject;
        let Ok(scenario) = super::read(path) else {
            return;
        };
        let holds = |recording: &Recording| recording.ending == Ending::Held;
        let mut shown = false;
        for (number, fault) in scenario.faults.iter().enumerate().take(FAULTS) {
            let Ok(other) = obtain(path, seed, variation, &[number], self.limit) else {
                return;
            };
            let fault = fault.action.describe();
            if !holds(&other) {
                continue;
            }
            println!(
                "without the fault \"{fault}\" (number {} of the scenario) the same seed holds",
                number + 1
            );
            if !shown {
                shown = show_parting(index, explanation, &other, "the run without it");
            }
        }
        if let Some(line) = untried(scenario.faults.len()) {
            println!("{line}");
        }
        let other = (1..=NEIGHBOURS).find_map(|step| {
            let other = obtain(path, seed.wrapping_add(step), variation, &[], self.limit).ok()?;
            holds(&other).then_some(other)
        });
        match other {
            Some(other) => {
                println!("seed {} holds", other.seed);
                let which = format!("seed {}", other.seed);
                show_parting(index, explanation, &other, &which);
            }
            None => println!("none of the next {NEIGHBOURS} seeds holds: it takes no luck to fail"),
        }
    }
}

/// How many of so many faults were not left out, if any.
fn untried(faults: usize) -> Option<String> {
    let rest = faults.saturating_sub(FAULTS);
    let were = if rest == 1 { "fault was" } else { "faults were" };
    (rest > 0).then(|| format!("{rest} more {were} not tried: only the first {FAULTS} are left out, one at a time"))
}

/// Prints the first decision of the chain that `other` never took; whether there is one.
fn show_parting(index: &Index<'_>, explanation: &Explanation, other: &Recording, which: &str) -> bool {
    let other = Index::new(other);
    if matches!(index.recording.ending, Ending::NotConverged { .. }) {
        let Some(place) = compare::never_taken(index, &explanation.subjects, &other) else {
            return false;
        };
        println!("  what {which} does about it, and is never done here:");
        println!(
            "    {}  {}",
            words::moment(other.at(place)),
            words::event(&other, place)
        );
        return true;
    }
    match compare::parting(index, &explanation.steps, &other) {
        Some(parting) => {
            for line in compare::describe(index, &parting, &other, which) {
                println!("  {line}");
            }
            true
        }
        None => {
            println!("  every decision of the chain is taken in {which} as well: what differs is when");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_that_were_not_tried_are_counted() {
        assert_eq!(untried(32), None);
        let told = "2 more faults were not tried: only the first 32 are left out, one at a time";
        assert_eq!(untried(34).as_deref(), Some(told));
    }
}
