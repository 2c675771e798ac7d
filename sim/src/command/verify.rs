//! `verify`: the same runs in two processes each, compared.
//!
//! One run is compared event by event as it happens, in constant memory. Of many, the hashes of their traces are
//! compared: first all are run in their order, then again in the reverse order and with one more at once, so that
//! neither neighbours nor load are the same. Only where hashes differ events are looked at. A run of which nothing is
//! known, because it did not end in time or its process died, is no run that differs: load alone may decide that.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::process::{ChildStdout, Stdio};
use std::time::Duration;

use clap::{Args, value_parser};

use super::watched::{End, Watched};
use crate::campaign::{Explorers, Input, Limits, Listed, Plan, Progress, Shard, Summary, run_all};
use crate::child;
use crate::exit;
use crate::variation::Redraw;

/// So many equal events are shown before the first that differs.
const CONTEXT: usize = 5;
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
    /// A run that takes longer than so many seconds of real time is stopped, and does not count as one that differs.
    #[arg(
        long,
        default_value_t = super::LIMIT.as_secs(),
        value_name = "SECONDS",
        value_parser = value_parser!(u64).range(1..)
    )]
    limit: u64,
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
        let limit = Duration::from_secs(self.limit);
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
        let limits = Limits {
            run: limit,
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
                if by_events(input, limit) == exit::HELD {
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
        println!(
            "the same: {} runs, each in two processes, with {jobs} and {} at once ({seconds} s)",
            number - lost.len(),
            jobs + 1
        );
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
    let ((mut left, one), (mut right, other)) = match (traced(input, limit), traced(input, limit)) {
        (Ok(one), Ok(other)) => (one, other),
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("error: cannot start a second process: {error}");
            return exit::WRONG;
        }
    };
    let compared = compare(&mut left, &mut right);
    // A process whose trace is over ends by itself; one that would go on is of no use any more.
    let over = compared.as_ref().map_or([false; 2], |compared| compared.over);
    let ends = [(one, over[0]), (other, over[1])].map(|(process, is_over)| {
        let end = if is_over { process.end() } else { process.stop() };
        end.ok()
    });
    let Compared { events, difference, .. } = match compared {
        Ok(compared) => compared,
        Err(error) => {
            eprintln!("error: cannot read a trace: {error}");
            return exit::WRONG;
        }
    };
    let came_to_nothing = ends
        .iter()
        .zip(over)
        .find_map(|(end, is_over)| lost((*end)?, is_over, limit));
    if let Some((code, how)) = came_to_nothing {
        println!(
            "no end that could be compared: after the same {events} events a run of seed {} {how}",
            input.seed
        );
        return code;
    }
    let codes = ends.map(|end| end.and_then(End::code));
    if let Some(difference) = difference {
        println!("not deterministic: {difference}");
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
    println!("the same: {events} events in both runs of seed {}", input.seed);
    exit::HELD
}

/// The exit code and the words for a run whose trace is over though it came to no end, if it is one.
fn lost(end: End, is_over: bool, limit: Duration) -> Option<(u8, String)> {
    match end {
        _ if !is_over => None,
        End::Late => {
            let how = format!("did not end within {} s of real time", limit.as_secs());
            Some((exit::NOT_CONVERGED, how))
        }
        End::Ended(status) if status.code().is_none() => Some((exit::PANICKED, format!("died: {status}"))),
        End::Ended(_) => None,
    }
}

/// The trace of a run while it is played, and the process that plays it.
fn traced(input: &Input, limit: Duration) -> std::io::Result<(BufReader<ChildStdout>, Watched)> {
    let mut child = child::command("run", &input.scenario, input.seed, &input.variation)?
        .args(["--trace", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let output = child.stdout.take();
    let watched = Watched::new(child, limit);
    let output = output.ok_or_else(|| std::io::Error::other("it has no output"))?;
    Ok((BufReader::new(output), watched))
}

/// How far two traces are the same.
struct Compared {
    /// So many events are.
    events: u64,
    /// What differs then, in words; nothing if both are over.
    difference: Option<String>,
    /// Which of them is over then.
    over: [bool; 2],
}

/// Compares two traces line by line.
fn compare(left: &mut dyn BufRead, right: &mut dyn BufRead) -> std::io::Result<Compared> {
    let mut recent: VecDeque<String> = VecDeque::new();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let mut events = 0;
    loop {
        a.clear();
        b.clear();
        left.read_until(b'\n', &mut a)?;
        right.read_until(b'\n', &mut b)?;
        // A line that was torn when its process was killed is none.
        let over = [&a, &b].map(|line| !line.ends_with(b"\n"));
        if over == [true; 2] || a != b {
            let show = |line: &[u8], is_over: bool| match is_over {
                true => "(the end)".to_owned(),
                false => String::from_utf8_lossy(line).trim_end().to_owned(),
            };
            let before: Vec<String> = recent.iter().map(|line| format!("    {line}")).collect();
            let difference = (over != [true; 2]).then(|| {
                format!(
                    "event {} differs, after\n{}\n  first:  {}\n  second: {}",
                    events + 1,
                    before.join("\n"),
                    show(&a, over[0]),
                    show(&b, over[1])
                )
            });
            return Ok(Compared {
                events,
                difference,
                over,
            });
        }
        events += 1;
        if recent.len() == CONTEXT {
            recent.pop_front();
        }
        recent.push_back(String::from_utf8_lossy(&a).trim_end().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

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

    fn compared(one: &str, other: &str) -> (u64, Option<String>, [bool; 2]) {
        let compared = compare(&mut one.as_bytes(), &mut other.as_bytes()).expect("they can be read");
        (compared.events, compared.difference, compared.over)
    }

    #[test]
    fn traces_are_compared_up_to_where_one_is_over() {
        assert_eq!(compared("a\nb\n", "a\nb\n"), (2, None, [true, true]));
        // Torn lines are no events.
        assert_eq!(compared("a\nb", "a\nbc"), (1, None, [true, true]));
        let (events, difference, over) = compared("a\nb\n", "a\nc\n");
        assert_eq!((events, over), (1, [false, false]));
        let told = "event 2 differs, after\n    a\n  first:  b\n  second: c";
        assert_eq!(difference.as_deref(), Some(told));
        let (events, difference, over) = compared("a\nb", "a\nb\n");
        assert_eq!((events, over), (1, [true, false]));
        assert!(difference.is_some_and(|told| told.contains("  first:  (the end)\n")));
    }

    #[test]
    fn a_run_that_was_stopped_here_is_not_lost_and_one_that_was_late_or_died_is() {
        let limit = Duration::from_secs(300);
        // As wait(2) tells it: the code in the second byte, a signal in the first.
        let status = |raw| End::Ended(ExitStatus::from_raw(raw));
        let code = |end, is_over| lost(end, is_over, limit).map(|(code, _)| code);
        assert_eq!(code(End::Late, true), Some(exit::NOT_CONVERGED));
        assert_eq!(code(status(9), true), Some(exit::PANICKED));
        assert_eq!(code(status(10 << 8), true), None);
        assert_eq!((code(End::Late, false), code(status(9), false)), (None, None));
    }
}
