//! What a run tells people: how it ended, why, and how to get it again.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::end_state::is_told_by;
use crate::run::{Outcome, Verdict};
use crate::simulator;
use crate::variation::Variation;

/// How this simulator is called. One with a known bug in it is this very program: the usual command builds one without.
pub fn program(mutant: Option<&str>) -> String {
    let called = mutant.and_then(|_| std::env::args().next());
    called.unwrap_or_else(|| simulator::parts().command.clone())
}

/// A text as one word of a shell's.
pub fn word(text: &str) -> Cow<'_, str> {
    let is_plain = |letter: char| letter.is_alphanumeric() || "_-./:,=@%+".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.into();
    }
    format!("'{}'", text.replace('\'', r"'\''")).into()
}

/// The command that replays a run.
pub fn replay(scenario: &str, seed: u64, variation: &Variation) -> String {
    command("run", scenario, seed, variation)
}

/// The command that does `what` with a run.
pub fn command(what: &str, scenario: &str, seed: u64, variation: &Variation) -> String {
    let program = program(variation.mutant.as_deref());
    let mut words = vec![format!("{program} {what} {} --seed {seed}", word(scenario))];
    words.extend(variation.arguments());
    words.join(" ")
}

/// A run's outcome in words; `replay` is the command that replays it.
pub fn describe(replay: &str, outcome: &Outcome) -> String {
    let mut text = String::new();
    match &outcome.verdict {
        Verdict::Held => {
            let after = outcome.converged.unwrap_or_default().as_secs_f64();
            let _ = writeln!(text, "held: converged {after:.0} s after the heal, and stayed quiet");
        }
        Verdict::Violated(violations) => {
            for violation in violations {
                let finding = &violation.finding;
                let at = violation.at.as_secs_f64();
                let _ = writeln!(
                    text,
                    "{} is broken at {at:.6} s: {}",
                    finding.invariant,
                    statement(finding.invariant)
                );
                let _ = writeln!(text, "  {}", finding.message);
                let _ = writeln!(text, "  before that:");
                for event in &violation.events {
                    let _ = writeln!(text, "    {event}");
                }
            }
        }
        Verdict::NotConverged { missing, left, named } => {
            let what = if is_of_the_end(missing) {
                ""
            } else {
                "; what is missing"
            };
            let _ = writeln!(text, "{}{what}:", not_converged(missing));
            for line in missing.iter().take(20) {
                let _ = writeln!(text, "  {line}");
            }
            if missing.len() > 20 {
                let _ = writeln!(text, "  and {} more", missing.len() - 20);
            }
            if let Some(left) = left_broken(left, *named) {
                let _ = writeln!(text, "  ({left})");
            }
        }
        Verdict::Panicked { component, message } => {
            let _ = writeln!(text, "{component} panicked: {message}");
        }
        Verdict::Wrong(why) => {
            let _ = writeln!(text, "the scenario cannot be played: {why}");
        }
        Verdict::NotWritten(why) => {
            let _ = writeln!(text, "{why}");
        }
    }
    for fault in counted(&outcome.never_struck) {
        let _ = writeln!(text, "never struck: {fault}");
    }
    for stream in &outcome.never_drawn {
        let _ = writeln!(text, "no stream to draw anew: {stream}");
    }
    let _ = writeln!(text, "replay: {replay}");
    if !outcome.hash.is_empty() {
        let _ = writeln!(text, "trace: {} ({} events)", outcome.hash, outcome.events);
    }
    text
}

/// Equal texts once, with how many there are of each, in the order of the first ones.
fn counted(texts: &[String]) -> Vec<String> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for text in texts {
        match counts.iter_mut().find(|(known, _)| *known == text.as_str()) {
            Some((_, count)) => *count += 1,
            None => counts.push((text, 1)),
        }
    }
    let told = counts.into_iter().map(|(text, count)| match count {
        1 => text.to_owned(),
        count => format!("{text} ({count} times)"),
    });
    told.collect()
}

/// How a run ended of which this is missing.
pub fn not_converged(missing: &[String]) -> &'static str {
    if is_of_the_end(missing) {
        "did not end as without faults"
    } else {
        "did not converge within the bound"
    }
}

/// Whether all that is missing is what runs without faults end with.
fn is_of_the_end(missing: &[String]) -> bool {
    !missing.is_empty() && missing.iter().all(|line| is_told_by(line))
}

/// Which machines stayed broken, if any did, and who wanted that: the scenario, if it names them, otherwise the seed.
pub fn left_broken(left: &[String], named: bool) -> Option<String> {
    let who = if named { "scenario" } else { "seed" };
    (!left.is_empty()).then(|| format!("left broken, as the {who} wants: {}", left.join(", ")))
}

/// What the invariant `id` says.
pub fn statement(id: &str) -> &'static str {
    let all = crate::invariants::all();
    all.iter()
        .find(|invariant| invariant.id() == id)
        .map_or("", |invariant| invariant.statement())
}

/// How fast a run was.
pub fn speed(outcome: &Outcome) -> String {
    let (simulated, spent) = (outcome.simulated.as_secs_f64(), outcome.spent.as_secs_f64());
    format!(
        "{simulated:.0} s simulated in {spent:.2} s of CPU: {:.0} times real time",
        simulated / spent.max(1e-9)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_several_times_is_said_once_with_its_number() {
        let texts = ["restart of scheduler", "crash of node-1", "restart of scheduler"].map(str::to_owned);
        assert_eq!(counted(&texts), ["restart of scheduler (2 times)", "crash of node-1"]);
    }

    fn words(missing: &str) -> &'static str {
        not_converged(&[missing.to_owned()])
    }

    #[test]
    fn what_ends_otherwise_than_without_faults_has_converged() {
        assert_eq!(
            words("X4: spec of configmaps/a/b is c"),
            "did not end as without faults"
        );
        assert_eq!(words("node node-1 is not ready"), "did not converge within the bound");
    }

    #[test]
    fn machines_that_the_scenario_names_are_not_left_broken_by_the_seed() {
        let left = ["node-3".to_owned()];
        let told = |named| left_broken(&left, named).unwrap();
        assert_eq!(told(true), "left broken, as the scenario wants: node-3");
        assert_eq!(told(false), "left broken, as the seed wants: node-3");
        assert_eq!(left_broken(&[], true), None);
    }
}
