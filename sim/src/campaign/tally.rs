//! What a campaign has found: a function of the set of its records, in whatever order and folders they came.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Input, Record, signature};
use crate::coverage;
use crate::exit;

/// So many failing inputs of each group are named.
const NAMED: usize = 8;

/// What a campaign has found.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Tally {
    /// How many runs there were.
    pub runs: u64,
    /// How many of them failed.
    pub failed: u64,
    /// All features of all runs.
    pub features: BTreeSet<String>,
    things: BTreeMap<String, u64>,
    unstruck: BTreeMap<String, u64>,
    /// In microseconds, so that the order of the runs does not show in the sum.
    simulated: u64,
    spent: u64,
    groups: BTreeMap<(String, String), Group>,
    /// The first failing input and its exit code.
    first: Option<(Input, u8)>,
}

/// Failures of one kind and fingerprint.
#[derive(Debug, Default, Clone, PartialEq)]
struct Group {
    masked: String,
    runs: u64,
    /// The first ones.
    inputs: BTreeSet<Input>,
}

impl Tally {
    /// What these records say together.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut tally = Tally::default();
        records.into_iter().for_each(|record| tally.add(record));
        tally
    }

    /// Takes in one more.
    pub fn add(&mut self, record: &Record) {
        let micros = |seconds: f64| (seconds * 1e6).round() as u64;
        self.runs += 1;
        self.simulated += micros(record.simulated);
        self.spent += micros(record.spent);
        self.features.extend(record.new.iter().cloned());
        for thing in &record.seen {
            *self.things.entry(thing.clone()).or_default() += 1;
        }
        // Of the same fault there may be several in one run.
        for fault in record.never_struck.iter().collect::<BTreeSet<_>>() {
            *self.unstruck.entry(fault.clone()).or_default() += 1;
        }
        if record.held() {
            return;
        }
        self.failed += 1;
        let masked = signature::masked(&record.message);
        let key = (record.kind.clone(), signature::fingerprint(&record.kind, &masked));
        let group = self.groups.entry(key).or_default();
        group.masked = masked;
        group.runs += 1;
        group.inputs.insert(record.input.clone());
        if group.inputs.len() > NAMED {
            group.inputs.pop_last();
        }
        let failure = (record.input.clone(), record.code);
        if self.first.as_ref().is_none_or(|first| failure < *first) {
            self.first = Some(failure);
        }
    }

    /// The exit code: that of the first failing input by scenario and seed.
    pub fn code(&self) -> u8 {
        self.first.as_ref().map_or(exit::HELD, |(_, code)| *code)
    }

    /// How long everything took: simulated seconds, and seconds of the processor.
    pub fn seconds(&self) -> (f64, f64) {
        (self.simulated as f64 / 1e6, self.spent as f64 / 1e6)
    }

    /// How things stand, in a line.
    pub fn line(&self) -> String {
        let mut line = format!(
            "{:.0} s simulated, {} of {} things seen, {} features, ",
            self.seconds().0,
            self.things.len(),
            coverage::THINGS.len(),
            self.features.len()
        );
        if self.failed == 0 {
            line.push_str("none failed");
            return line;
        }
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        for ((kind, _), group) in &self.groups {
            *kinds.entry(kind).or_default() += group.runs;
        }
        let kinds: Vec<String> = kinds.iter().map(|(kind, runs)| format!("{kind} {runs}")).collect();
        let _ = write!(line, "{} failed ({})", self.failed, kinds.join(", "));
        line
    }

    /// All of it, for people.
    pub fn describe(&self) -> String {
        let (simulated, spent) = self.seconds();
        let mut text = format!(
            "{} runs, {} failed; {simulated:.0} s simulated in {spent:.1} s of CPU: {:.0} times real time\n",
            self.runs,
            self.failed,
            simulated / spent.max(1e-9)
        );
        self.describe_failures(&mut text);
        let _ = writeln!(text, "seen sometimes (in how many runs):");
        for thing in coverage::THINGS {
            let _ = match self.things.get(*thing) {
                Some(count) => writeln!(text, "  {count:>6}  {thing}"),
                None => writeln!(text, "   never  {thing}"),
            };
        }
        for (fault, count) in &self.unstruck {
            let _ = writeln!(text, "never struck in {count} runs: {fault}");
        }
        let mut families: BTreeMap<&str, u64> = BTreeMap::new();
        for name in &self.features {
            let family = name.split([':', ' ']).next().unwrap_or_default();
            *families.entry(family).or_default() += 1;
        }
        let families: Vec<String> = families
            .iter()
            .map(|(family, count)| format!("{family} {count}"))
            .collect();
        let _ = writeln!(text, "features: {} ({})", self.features.len(), families.join(", "));
        text
    }

    fn describe_failures(&self, text: &mut String) {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.runs));
        for ((kind, fingerprint), group) in groups {
            let _ = writeln!(
                text,
                "  {kind} [{fingerprint}]: {} of {}: {}",
                group.runs, self.runs, group.masked
            );
            let mut scenarios: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for input in &group.inputs {
                let seeds = scenarios.entry(&input.scenario).or_default();
                seeds.push(seed(input));
            }
            for (scenario, seeds) in scenarios {
                let _ = writeln!(text, "    {scenario}: seeds {}", seeds.join(", "));
            }
            if let Some(first) = group.inputs.first() {
                let _ = writeln!(text, "    replay: {}", first.replay());
            }
        }
    }
}

/// A seed, and what its run is varied by, if that is something: it fails with that and perhaps not without.
fn seed(input: &Input) -> String {
    let with = input.variation.arguments().join(" ");
    if with.is_empty() {
        return input.seed.to_string();
    }
    format!("{} ({with})", input.seed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{record, records};
    use super::*;
    use crate::variation::Explore;

    #[test]
    fn failures_are_grouped_by_what_they_say() {
        let failing = |seed, revision| {
            let mut record = record("a.yaml", seed);
            record.code = exit::VIOLATED;
            record.kind = "S3".to_owned();
            record.message = format!("revision {revision} was seen to fall");
            record
        };
        let mut other = failing(9, 1);
        other.message = "something else".to_owned();
        let mut explored = failing(4, 2);
        explored.input.variation.explore = Explore::Pct { depth: 2 };
        let tally = Tally::of(&[failing(5, 17), failing(3, 4), explored, other, record("b.yaml", 1)]);
        let mut text = String::new();
        tally.describe_failures(&mut text);
        insta::assert_snapshot!(text, @r"
          S3 [6a92a3d5]: 3 of 5: revision # was seen to fall
            a.yaml: seeds 3, 4 (--explore pct:2), 5
            replay: cargo sim run a.yaml --seed 3
          S3 [df2a5230]: 1 of 5: something else
            a.yaml: seeds 9
            replay: cargo sim run a.yaml --seed 9
        ");
        assert_eq!((tally.code(), tally.failed, tally.runs), (exit::VIOLATED, 4, 5));
    }

    #[test]
    fn faults_that_never_struck_are_counted_by_runs() {
        let mut twice = record("a.yaml", 1);
        twice.never_struck = vec!["restart of scheduler".to_owned(); 2];
        let mut once = record("a.yaml", 2);
        once.never_struck = vec!["restart of scheduler".to_owned()];
        let told = Tally::of(&[twice, once, record("a.yaml", 3)]).describe();
        assert!(told.contains("never struck in 2 runs: restart of scheduler"), "{told}");
    }

    proptest! {
        #[test]
        fn the_order_of_records_does_not_show(records in records(), turn in 0usize..20) {
            let mut turned = records.clone();
            turned.rotate_left(turn % records.len().max(1));
            prop_assert_eq!(Tally::of(&records).describe(), Tally::of(&turned).describe());
            prop_assert_eq!(Tally::of(&records), Tally::of(&turned));
        }
    }
}
