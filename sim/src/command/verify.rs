//! `verify`: the same runs in two processes each, compared.
//!
//! One run is compared event by event as it happens, in constant memory. Of many, the hashes of their traces are
//! compared: first all are run in their order, then again in the reverse order and with one more at once, so that
//! neither neighbours nor load are the same. Only where hashes differ events are looked at. A run of which nothing is
//! known, because it did not end in time or its process died, is no run that differs: load alone may decide that.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::{Args, value_parser};

use super::limit::Limit;
use super::traces::{self, Compared, Parted};
use crate::campaign::{Explorers, Input, Limits, Listed, Plan, Progress, Shard, Summary, run_all};
use crate::exit;
use crate::variation::Redraw;

/// Of many runs, so many for each job are done before they are done again.
const BATCH: usize = 32;
/// Of many that differ, so many are looked at event by event, and so many are named of those that came to no end.
const SHOWN: usize = 3;

/// Runs scenarios twice and compares.
#[derive(Args)]
pub struct Verify {
    /// The scenarios' files.
    #[arg(required = true)]
    scenarios: Vec<String>,
    /// The first seed; the scenario's own by default, or 1.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds of each scenario.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u64).range(1..))]
    seeds: u64,
    /// Draw these streams of chance anew, as in `run`.
    #[arg(long, value_delimiter = ',', value_name = "STREAM=NUMBER")]
    redraw: Vec<Redraw>,
    /// How unlucky interleavings are looked for: `mixed` (every fourth seed by priorities), `random`, or `pct:DEPTH`.
    #[arg(long, default_value_t, value_name = "EXPLORER")]
    explore: Explorers,
    /// How many at once, where there are many; as many as there are cores by default.
    #[arg(long, value_parser = super::some_jobs)]
    jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    limit: Limit,
}

impl Verify {
    /// Does it; the exit code.
    pub fn execute(&self) -> u8 {
        let mut inputs: Vec<Input> = Vec::new();
        for path in &self.scenarios {
            let from = match super::read(path) {
                Ok(scenario) => super::seed(self.seed, &scenario),
                Err(code) => return code,
            };
            let plan = Plan {
                scenarios: vec![path.clone()],
                from,
                seeds: self.seeds,
                explorers: self.explore,
                shard: Shard::default(),
            };
            if let Err(error) = plan.check() {
                eprintln!("error: {error}");
                return exit::WRONG;
            }
            inputs.extend(plan.inputs());
        }
        for input in &mut inputs {
            input.variation.redraw.clone_from(&self.redraw);
        }
        let limit = self.limit.time();
        match inputs.as_slice() {
            [input] => by_events(input, limit),
            inputs => self.by_hashes(inputs, limit).unwrap_or_else(|error| {
                eprintln!("error: {error}");
                exit::WRONG
            }),
        }
    }

    fn by_hashes(&self, inputs: &[Input], limit: Duration) -> Result<u8, String> {
        let jobs = super::jobs(self.jobs);
        let interrupted = super::interrupted()?;
        let is_over = || interrupted.load(Ordering::Relaxed);
        let limits = Limits {
            run: limit,
            interrupted: Some(interrupted.clone()),
            ..Limits::default()
        };
        let progress = Progress::new(Some(2 * inputs.len() as u64));
        let mut runs = 0;
        let mut differing: Vec<&Input> = Vec::new();
        let mut lost: Vec<(&Input, Summary)> = Vec::new();
        let mut unplayed: Option<Summary> = None;
        for batch in inputs.chunks(BATCH * jobs) {
            let mut pass = |inputs: Vec<Input>, jobs: usize, differ: usize| {
                let mut ends = BTreeMap::new();
                let result = run_all(&mut Listed(inputs.into_iter()), jobs, &limits, |input, summary| {
                    ends.insert(input, summary);
                    runs += 1;
                    progress.step(runs, || format!("{differ} differ"));
                    Ok(())
                });
                result.map(|()| ends)
            };
            let first = pass(batch.to_vec(), jobs, differing.len())?;
            let second = pass(batch.iter().rev().cloned().collect(), jobs + 1, differing.len())?;
            if is_over() {
                progress.end();
                return Ok(exit::INTERRUPTED);
            }
            for input in batch {
                let (Some(one), Some(other)) = (first.get(input), second.get(input)) else {
                    return Err(format!("nothing came of a run: {}", input.replay()));
                };
                match twice(one, other) {
                    Twice::Same => {}
                    Twice::Different => {
                        progress.say(&format!(
                            "not the same: {}\n  first:  {}\n  second: {}",
                            input.replay(),
                            describe(one),
                            describe(other)
                        ));
                        differing.push(input);
                    }
                    Twice::Unplayed(summary) => {
                        unplayed.get_or_insert_with(|| summary.clone());
                    }
                    Twice::Lost(summary) => lost.push((input, summary.clone())),
                }
            }
        }
        progress.end();
        let (number, seconds) = (inputs.len(), progress.elapsed().as_secs());
        if !lost.is_empty() {
            println!("{} of {number} runs came to no end that could be compared:", lost.len());
            for (input, summary) in lost.iter().take(SHOWN) {
                println!("  {}: {}", summary.kind, input.replay());
            }
        }
        if !differing.is_empty() {
            for input in differing.iter().take(SHOWN) {
                println!("{}", input.replay());
                let code = by_events(input, limit);
                if is_over() {
                    return Ok(exit::INTERRUPTED);
                }
                if code == exit::HELD {
                    println!("the same this time: it differs only now and then");
                }
            }
            println!("not deterministic: {} of {number} runs", differing.len());
            return Ok(exit::NOT_DETERMINISTIC);
        }
        if let Some(unplayed) = unplayed {
            eprintln!("error: {}", unplayed.text.trim_end());
            return Ok(exit::WRONG);
        }
        let same = number - lost.len();
        if same > 0 {
            let more = jobs + 1;
            println!("the same: {same} runs, each in two processes, with {jobs} and {more} at once ({seconds} s)");
        }
        Ok(lost.first().map_or(exit::HELD, |(_, summary)| summary.code))
    }
}

/// What came of a run that was done twice.
enum Twice<'a> {
    /// The same.
    Same,
    /// Not the same.
    Different,
    /// It cannot be played, or what it was to write cannot be written.
    Unplayed(&'a Summary),
    /// At least once nobody knows.
    Lost(&'a Summary),
}

/// Compares how a run ended twice, as far as that is known.
fn twice<'a>(first: &'a Summary, second: &'a Summary) -> Twice<'a> {
    let both = [first, second];
    let end = |summary: &'a Summary| (summary.code, &summary.kind, &summary.hash, summary.events);
    if both.iter().all(|summary| !summary.without_outcome) && end(first) != end(second) {
        return Twice::Different;
    }
    let unplayed = both.into_iter().find(|summary| summary.code == exit::WRONG);
    let lost = both.into_iter().find(|summary| summary.without_outcome);
    match (unplayed, lost) {
        (Some(summary), _) => Twice::Unplayed(summary),
        (None, Some(summary)) => Twice::Lost(summary),
        (None, None) => Twice::Same,
    }
}

fn describe(summary: &Summary) -> String {
    format!("{}, {} ({} events)", summary.kind, summary.hash, summary.events)
}

/// Compares two runs event by event; the exit code.
fn by_events(input: &Input, limit: Duration) -> u8 {
    let traces = match (traces::played(input, limit), traces::played(input, limit)) {
        (Ok(one), Ok(other)) => [one, other],
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("error: cannot start a second process: {error}");
            return exit::WRONG;
        }
    };
    let Compared { parted, codes, lost } = match traces::compare(traces, limit, str::trim_end) {
        Ok(compared) => compared,
        Err(error) => {
            eprintln!("error: cannot read a trace: {error}");
            return exit::WRONG;
        }
    };
    let (events, seed) = (parted.same, input.seed);
    if let Some((_, code, how)) = lost {
        println!("no end that could be compared: after the same {events} events a run of seed {seed} {how}");
        return code;
    }
    if parted.over() != [true; 2] {
        println!("not deterministic: {}", difference(&parted));
        return exit::NOT_DETERMINISTIC;
    }
    if codes[0] != codes[1] {
        let [one, other] = codes.map(|code| code.map_or("no code".to_owned(), |code| format!("code {code}")));
        println!("not deterministic: after the same {events} events one run ends with {one}, the other with {other}");
        return exit::NOT_DETERMINISTIC;
    }
    // What the run itself found is not this command's business, but a scenario that cannot be played is.
    if codes[0] == Some(exit::WRONG.into()) {
        eprintln!("error: {}", super::why_unplayed(input));
        return exit::WRONG;
    }
    println!("the same: {events} events in both runs of seed {seed}");
    exit::HELD
}

/// Which event of two traces differs, in words.
fn difference(parted: &Parted) -> String {
    let before: Vec<String> = parted.before.iter().map(|line| format!("    {line}")).collect();
    let show = |side: usize| parted.after[side].first().map_or("(the end)", String::as_str);
    format!(
        "event {} differs, after\n{}\n  first:  {}\n  second: {}",
        parted.same + 1,
        before.join("\n"),
        show(0),
        show(1)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> Input {
        Input::new("a.yaml", 1)
    }

    /// A run that was played to its end, with a trace of this hash.
    fn ended(hash: &str) -> Summary {
        let mut summary = Summary::died(&input(), "");
        summary.without_outcome = false;
        summary.hash = hash.to_owned();
        summary
    }

    #[test]
    fn runs_of_which_nothing_is_known_do_not_differ() {
        let endless = Summary::endless(&input(), Duration::from_secs(300));
        let died = Summary::died(&input(), "out of memory");
        assert!(matches!(twice(&ended("a"), &ended("a")), Twice::Same));
        assert!(matches!(twice(&ended("a"), &ended("b")), Twice::Different));
        for lost in [&endless, &died] {
            assert!(matches!(twice(&ended("a"), lost), Twice::Lost(own) if own.code == lost.code));
            assert!(matches!(twice(lost, lost), Twice::Lost(_)));
        }
        let refused = Summary::refused(&input(), "no room");
        assert!(matches!(twice(&endless, &refused), Twice::Unplayed(_)));
    }

    #[test]
    fn the_first_event_that_differs_is_told() {
        let told = |mut one: &[u8], mut other: &[u8]| {
            difference(&traces::part(&mut one, &mut other, str::trim_end).expect("they can be read"))
        };
        let wanted = "event 2 differs, after\n    a\n  first:  b\n  second: c";
        assert_eq!(told(b"a\nb\nd\n", b"a\nc\n"), wanted);
        assert!(told(b"a\nb", b"a\nb\n").contains("  first:  (the end)\n"));
    }
}
