//! The records of several folders, as those of one campaign.

use std::collections::{BTreeMap, BTreeSet};

use super::{Input, Record};

/// What several folders have together.
#[derive(Debug, PartialEq)]
pub struct Merged {
    /// Each input once, in order, and each feature where it is new.
    pub records: Vec<Record>,
    /// The inputs that came to one thing here and to another there, though in one build; in words, a line each. The
    /// record of each is one that failed, if there is such a one.
    pub contradictions: Vec<String>,
    /// Whether there are runs of guided campaigns.
    pub guided: bool,
}

/// Puts the records of several folders together, each with its name.
pub fn merge(parts: Vec<(String, Vec<Record>)>) -> Merged {
    let contradictions = contradictions(&parts);
    let mut records: Vec<Record> = parts.into_iter().flat_map(|(_, records)| records).collect();
    let guided = records.iter().any(|record| record.guide.is_some());
    // Of an input that several folders have, one may have its features: they are put together, whichever counts.
    let mut features: BTreeMap<Input, Vec<String>> = BTreeMap::new();
    for record in &mut records {
        let own = features.entry(record.input.clone()).or_default();
        own.append(&mut record.new);
    }
    records.sort_by(|one, other| rank(one).cmp(&rank(other)));
    records.dedup_by(|later, first| later.input == first.input);
    let mut known = BTreeSet::new();
    for record in &mut records {
        let own = features.remove(&record.input).unwrap_or_default();
        record.new = own.into_iter().filter(|name| known.insert(name.clone())).collect();
    }
    Merged {
        records,
        contradictions,
        guided,
    }
}

/// What a run came to: what is the same of every run of one input in one build. None of a run without a trace: its
/// process was killed, was stopped at the limit or played nothing, and any of that may be the machine's fault.
fn outcome(record: &Record) -> Option<(&str, u8, &str)> {
    let played = !record.hash.is_empty();
    played.then_some((record.hash.as_str(), record.code, record.kind.as_str()))
}

/// By what records are ordered; of those of one input the first one counts.
fn rank(record: &Record) -> (&Input, bool, bool, &str, Option<&str>) {
    // What was played comes before what was not, wherever that was, and a failure before its contradiction.
    let is_unplayed = outcome(record).is_none();
    let guide = record.guide.as_deref();
    (&record.input, is_unplayed, record.held(), record.hash.as_str(), guide)
}

/// The inputs that came to one thing in one folder, and to another in another; in words.
fn contradictions(parts: &[(String, Vec<Record>)]) -> Vec<String> {
    let mut known: BTreeMap<&Input, (&str, &Record)> = BTreeMap::new();
    let mut told: BTreeMap<&Input, String> = BTreeMap::new();
    let all = parts
        .iter()
        .flat_map(|(folder, records)| records.iter().map(move |record| (folder.as_str(), record)));
    for (folder, record) in all.filter(|(_, record)| outcome(record).is_some()) {
        let (first, other) = *known.entry(&record.input).or_insert((folder, record));
        if outcome(other) == outcome(record) {
            continue;
        }
        let came_to = |record: &Record| format!("{} with trace {}", record.kind, record.hash);
        told.entry(&record.input).or_insert_with(|| {
            format!(
                "one run did not come to one thing: {} in {first}, and {} in {folder}; replay: {}",
                came_to(other),
                came_to(record),
                record.input.replay()
            )
        });
    }
    told.into_values().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{record, records};
    use super::super::{Shard, Tally};
    use super::*;
    use crate::exit;

    /// What folders with these records have together; they are called `one`, `two` …
    fn merged<const N: usize>(records: [Record; N]) -> Merged {
        let names = ["one", "two", "three"].map(str::to_owned);
        let parts = names.into_iter().zip(records);
        merge(parts.map(|(name, record)| (name, vec![record])).collect())
    }

    /// A run that broke an invariant, with this trace.
    fn broken(hash: &str) -> Record {
        Record {
            hash: hash.to_owned(),
            code: exit::VIOLATED,
            kind: "S3".to_owned(),
            ..record("a.yaml", 1)
        }
    }

    /// A run whose process told nothing.
    fn killed() -> Record {
        Record {
            hash: String::new(),
            code: exit::PANICKED,
            kind: "the process died".to_owned(),
            ..record("a.yaml", 1)
        }
    }

    #[test]
    fn a_run_of_a_guided_campaign_and_of_another_is_one() {
        let mut guided = record("a.yaml", 1);
        guided.guide = Some("1".to_owned());
        let both = merged([guided, record("a.yaml", 1)]);
        assert_eq!(both.records, [record("a.yaml", 1)]);
        assert!(both.guided);
        assert!(!merged([record("a.yaml", 1)]).guided);
    }

    #[test]
    fn a_run_that_came_to_two_things_is_told_and_counts_as_failed() {
        let own = record("a.yaml", 1).hash;
        for hash in [own.as_str(), "abc", "ffffffffffffffffffffffffffffffffff"] {
            let both = merged([record("a.yaml", 1), broken(hash), broken(hash)]);
            assert_eq!(
                both.contradictions,
                [format!(
                    "one run did not come to one thing: held with trace {own} in one, and S3 with trace {hash} in two; \
                     replay: cargo sim run a.yaml --seed 1"
                )]
            );
            assert_eq!(both.records, [broken(hash)]);
        }
    }

    #[test]
    fn a_machine_that_gave_up_contradicts_no_other_and_hides_none() {
        for played in [record("a.yaml", 1), broken("abc")] {
            for records in [[killed(), played.clone()], [played.clone(), killed()]] {
                let both = merged(records);
                assert!(both.contradictions.is_empty(), "{:?}", both.contradictions);
                assert_eq!(both.records, std::slice::from_ref(&played));
            }
        }
        assert_eq!(merged([killed(), killed()]).records, [killed()]);
    }

    proptest! {
        #[test]
        fn merged_shards_say_what_the_whole_campaign_says(records in records(), of in 1u64..5) {
            let whole = Tally::of(&records).describe();
            let shards = (0..of).map(|index| {
                let shard = Shard { index, of };
                let own = records.iter().filter(|record| shard.has(record.input.seed));
                own.cloned().collect::<Vec<Record>>()
            });
            let parts = shards.chain([records.clone()]).map(|part| ("a".to_owned(), part));
            let merged = merge(parts.collect());
            prop_assert_eq!(Tally::of(&merged.records).describe(), whole);
            let mut all: Vec<&String> = merged.records.iter().flat_map(|record| &record.new).collect();
            let number = all.len();
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(all.len(), number, "a feature is new once");
        }
    }
}
