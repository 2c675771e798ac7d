//! `verify`: the same runs in two processes each, compared.
//!
//! One run is compared event by event as it happens, in constant memory. Of many, the hashes of their traces are
//! compared: first all are run in their order, then again in the reverse order and with one more at once, so that
//! neither neighbours nor load are the same. Only where hashes differ events are looked at.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::process::{Child, Stdio};

use clap::{Args, value_parser};

use crate::campaign::{Explorers, Input, Limits, Listed, Plan, Progress, Shard, Summary, run_all};
use crate::child;
use crate::exit;
use crate::variation::Redraw;

/// So many equal events are shown before the first that differs.
const CONTEXT: usize = 5;
/// Of many runs, so many for each job are done before they are done again.
const BATCH: usize = 32;
/// Of many that differ, so many are looked at event by event.
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
        match inputs.as_slice() {
            [input] => by_events(input),
            inputs => self.by_hashes(inputs),
        }
    }

    fn by_hashes(&self, inputs: &[Input]) -> u8 {
        let jobs = super::jobs(self.jobs);
        let progress = Progress::new(Some(2 * inputs.len() as u64));
        let mut runs = 0;
        let mut differing: Vec<Input> = Vec::new();
        let mut unplayed: Option<Summary> = None;
        for batch in inputs.chunks(BATCH * jobs) {
            let mut pass = |inputs: Vec<Input>, jobs: usize, differ: usize| {
                let limits = Limits {
                    run: super::LIMIT,
                    ..Limits::default()
                };
                let mut ends = BTreeMap::new();
                let result = run_all(&mut Listed(inputs.into_iter()), jobs, &limits, |input, summary| {
                    ends.insert(input, End::of(&summary));
                    if summary.code == exit::WRONG {
                        unplayed.get_or_insert(summary);
                    }
                    runs += 1;
                    progress.step(runs, || format!("{differ} differ"));
                    Ok(())
                });
                result.map(|()| ends)
            };
            let first = pass(batch.to_vec(), jobs, differing.len());
            let second = pass(batch.iter().rev().cloned().collect(), jobs + 1, differing.len());
            let (Ok(first), Ok(second)) = (first, second) else {
                continue;
            };
            for input in batch {
                if first.get(input) != second.get(input) {
                    progress.say(&format!(
                        "not the same: {}\n  first:  {}\n  second: {}",
                        input.replay(),
                        End::describe(first.get(input)),
                        End::describe(second.get(input))
                    ));
                    differing.push(input.clone());
                }
            }
        }
        progress.end();
        let (number, seconds) = (inputs.len(), progress.elapsed().as_secs());
        if let Some(unplayed) = unplayed.filter(|_| differing.is_empty()) {
            eprintln!("error: {}", unplayed.text.trim_end());
            return exit::WRONG;
        }
        if differing.is_empty() {
            println!(
                "the same: {number} runs, each in two processes, with {jobs} and {} at once ({seconds} s)",
                jobs + 1
            );
            return exit::HELD;
        }
        for input in differing.iter().take(SHOWN) {
            println!("{}", input.replay());
            if by_events(input) == exit::HELD {
                println!("the same this time: it differs only now and then");
            }
        }
        println!("not deterministic: {} of {number} runs", differing.len());
        exit::NOT_DETERMINISTIC
    }
}

/// How a run ended, as far as two of them can be compared.
#[derive(Debug, PartialEq)]
struct End {
    code: u8,
    kind: String,
    hash: String,
    events: u64,
}

impl End {
    fn of(summary: &Summary) -> Self {
        End {
            code: summary.code,
            kind: summary.kind.clone(),
            hash: summary.hash.clone(),
            events: summary.events,
        }
    }

    fn describe(end: Option<&Self>) -> String {
        end.map_or_else(
            || "no result".to_owned(),
            |end| format!("{}, {} ({} events)", end.kind, end.hash, end.events),
        )
    }
}

/// Compares two runs event by event; the exit code.
fn by_events(input: &Input) -> u8 {
    let (mut one, mut other) = match (traced(input), traced(input)) {
        (Ok(one), Ok(other)) => (one, other),
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("error: cannot start a second process: {error}");
            return exit::WRONG;
        }
    };
    let result = compare(&mut one, &mut other);
    if result.is_err() {
        for child in [&mut one, &mut other] {
            // It may have ended by itself.
            let _ = child.kill();
        }
    }
    let codes = [one.wait(), other.wait()].map(|status| status.ok().and_then(|status| status.code()));
    match result {
        Err(difference) => {
            println!("not deterministic: {difference}");
            exit::NOT_DETERMINISTIC
        }
        Ok(events) if codes[0] != codes[1] => {
            let [one, other] = codes.map(|code| code.map_or("a signal".to_owned(), |code| format!("code {code}")));
            println!(
                "not deterministic: after the same {events} events one run ends with {one}, the other with {other}"
            );
            exit::NOT_DETERMINISTIC
        }
        // What the run itself found is not this command's business, but a scenario that cannot be played is.
        Ok(_) if codes[0] == Some(exit::WRONG.into()) => {
            eprintln!("error: {}", super::why_unplayed(input));
            exit::WRONG
        }
        Ok(events) => {
            println!("the same: {events} events in both runs of seed {}", input.seed);
            exit::HELD
        }
    }
}

fn traced(input: &Input) -> std::io::Result<Child> {
    child::command("run", &input.scenario, input.seed, &input.variation)?
        .args(["--trace", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

/// Compares the children's lines; how many there were, or how they differ.
fn compare(one: &mut Child, other: &mut Child) -> Result<u64, String> {
    let reader = |child: &mut Child| child.stdout.take().map(BufReader::new).ok_or("no output".to_owned());
    let (mut left, mut right) = (reader(one)?, reader(other)?);
    let mut recent: VecDeque<String> = VecDeque::new();
    let (mut a, mut b) = (String::new(), String::new());
    for number in 0.. {
        a.clear();
        b.clear();
        left.read_line(&mut a).map_err(|error| error.to_string())?;
        right.read_line(&mut b).map_err(|error| error.to_string())?;
        if a != b {
            let show = |line: &str| {
                if line.is_empty() {
                    "(the end)".to_owned()
                } else {
                    line.trim_end().to_owned()
                }
            };
            let before: Vec<String> = recent.iter().map(|line| format!("    {line}")).collect();
            return Err(format!(
                "event {} differs, after\n{}\n  first:  {}\n  second: {}",
                number + 1,
                before.join("\n"),
                show(&a),
                show(&b)
            ));
        }
        if a.is_empty() {
            return Ok(number);
        }
        if recent.len() == CONTEXT {
            recent.pop_front();
        }
        recent.push_back(a.trim_end().to_owned());
    }
    Ok(0)
}
