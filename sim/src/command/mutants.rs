//! `mutants`: how many seeds the simulator needs to find each known bug, and that it finds none where there is none.
//!
//! Builds the simulator with the feature `mutants` in a target folder of its own, and runs it, one process a seed: for
//! each mutant, seed by seed over all scenarios in turn, until one of the invariants on its card is broken or the seeds
//! are spent. What fails otherwise finds nothing, but is told. Then the same seeds again without any mutant: they must
//! all hold.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use clap::{Args, value_parser};

use super::interrupted;
use super::limit::Limit;
use crate::campaign::{Input, Summary, in_process_of};
use crate::child::{self, Fate, Patience};
use crate::exit;
use crate::mutants::{Card, cards};
use crate::simulator;

/// Measures how many seeds are needed to find known bugs.
#[derive(Args)]
pub struct Mutants {
    /// The mutants' ids (all if none), and scenario files (all of `scenarios/` if none).
    what: Vec<String>,
    /// How many seeds to spend on a mutant; each is one run of one scenario.
    #[arg(long, default_value_t = 200, value_parser = value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many runs at once; as many as there are cores by default.
    #[arg(long, value_parser = super::some_jobs)]
    jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    limit: Limit,
    /// Make the run that found a mutant small, for so many minutes at most (2 if none are named), and tell the size.
    #[arg(long, value_name = "MINUTES", num_args = 0..=1, default_missing_value = "2", value_parser = super::minutes)]
    shrink: Option<f64>,
    /// Only show what mutants there are, or those that are named.
    #[arg(long)]
    list: bool,
    /// Use this simulator, built with the feature `mutants`, instead of building one.
    #[arg(long, value_name = "FILE")]
    with: Option<PathBuf>,
}

/// One run, to be done or done.
#[derive(Clone, Copy)]
struct Turn<'a> {
    scenario: &'a str,
    seed: u64,
}

/// What became of one mutant.
struct Hunt<'a> {
    /// How many runs it took, or were spent.
    runs: usize,
    /// Seconds of the processor.
    spent: f64,
    /// How often the switch was reached in all runs.
    reached: u64,
    /// The run that found it.
    found: Option<(Turn<'a>, Summary)>,
    /// The runs before it that failed, but not by what the mutant's card says.
    otherwise: Vec<(Turn<'a>, Summary)>,
}

/// Whether a run has found what is looked for: that one of the card's invariants fires, or, without a mutant, any
/// failure.
fn is_found(card: Option<&Card>, summary: &Summary) -> bool {
    match card {
        Some(card) => !summary.without_outcome && card.invariants.contains(&summary.kind.as_str()),
        None => summary.code != exit::HELD,
    }
}

/// Whether a run could not be played at all, as by a simulator without mutants.
fn is_refused(summary: &Summary) -> bool {
    summary.without_outcome && summary.code == exit::WRONG
}

impl<'a> Hunt<'a> {
    /// What became of these runs, which are told in order; what comes after the first that found something is left out.
    fn of(card: Option<&Card>, mut done: Vec<(Turn<'a>, Summary)>) -> Result<Self, String> {
        let last = done
            .iter()
            .position(|(_, summary)| is_found(card, summary) || is_refused(summary));
        done.truncate(last.map_or(done.len(), |position| position + 1));
        if let Some((turn, refused)) = done.last().filter(|(_, summary)| is_refused(summary)) {
            return Err(format!("{}: {}", turn.scenario, refused.message));
        }
        let runs = done.len();
        let spent = done.iter().map(|(_, summary)| summary.spent).sum();
        let reached = done.iter().map(|(_, summary)| summary.reached).sum();
        let found = last.and_then(|_| done.pop());
        done.retain(|(_, summary)| summary.code != exit::HELD);
        Ok(Hunt {
            runs,
            spent,
            reached,
            found,
            otherwise: done,
        })
    }
}

impl Mutants {
    /// Does it; the exit code: 0 if every mutant was found and nothing alarmed without one.
    pub fn execute(&self) -> u8 {
        if !simulator::parts().is_house() {
            eprintln!("error: this simulator has no mutants; `cargo sim mutants` has those of the house");
            return exit::WRONG;
        }
        match self.campaign() {
            Ok(code) => code,
            Err(why) => {
                eprintln!("error: {why}");
                exit::WRONG
            }
        }
    }

    fn campaign(&self) -> Result<u8, String> {
        let (files, ids): (Vec<_>, Vec<_>) = self.what.iter().cloned().partition(|word| word.contains(['.', '/']));
        let cards = chosen(&ids)?;
        if self.list {
            list(&cards);
            return Ok(exit::HELD);
        }
        let scenarios = if files.is_empty() { all_scenarios()? } else { files };
        for path in &scenarios {
            crate::scenario::read_file(path).map_err(|error| error.to_string())?;
        }
        check_seeds(self.from, self.seeds.div_ceil(scenarios.len() as u64))?;
        let binary = match &self.with {
            Some(binary) if binary.is_file() => binary.clone(),
            Some(binary) => return Err(format!("there is no simulator {}", binary.display())),
            None => build()?,
        };
        let turn = |number: usize| Turn {
            scenario: &scenarios[number % scenarios.len()],
            seed: self.from + (number / scenarios.len()) as u64,
        };
        // From here on there are processes to wait for, and files to remove.
        let interrupted = interrupted()?;
        let is_over = || interrupted.load(Ordering::Relaxed);
        let (mut missed, mut longest) = (0, 0);
        println!("{}", header());
        for &card in &cards {
            if card.component.is_none() {
                println!("{:5} {:58} component not built", card.id, cut(card.mechanism, 58));
                continue;
            }
            let hunt = self.hunt(&binary, Some(card), self.seeds as usize, turn, &interrupted);
            if is_over() {
                return Ok(exit::INTERRUPTED);
            }
            let hunt = hunt?;
            longest = longest.max(hunt.runs);
            missed += usize::from(hunt.found.is_none());
            let size = self.size(&binary, card.id, &hunt, &interrupted);
            if is_over() {
                return Ok(exit::INTERRUPTED);
            }
            println!("{}", row(card, &hunt, &size, &binary));
            if let Some(line) = otherwise(card, &hunt, &binary) {
                println!("{line}");
            }
        }
        // What is no mutant must be silent over the same seeds, all of them.
        let control = self.hunt(&binary, None, longest, turn, &interrupted);
        if is_over() {
            return Ok(exit::INTERRUPTED);
        }
        let alarm = has_alarmed(&control?);
        if missed > 0 {
            println!("{missed} not found within {} runs", self.seeds);
        }
        Ok(match (alarm, missed) {
            (true, _) => exit::VIOLATED,
            (false, 0) => exit::HELD,
            (false, _) => exit::MISSED,
        })
    }

    /// Runs so many turns, or until one finds what is looked for; the earliest counts, however many run at once. Ends
    /// early, and tells nothing, when it is interrupted. The error says why one could not be played at all.
    fn hunt<'a>(
        &self,
        binary: &Path,
        card: Option<&Card>,
        turns: usize,
        turn: impl Fn(usize) -> Turn<'a> + Sync,
        interrupted: &AtomicBool,
    ) -> Result<Hunt<'a>, String> {
        let next = AtomicUsize::new(0);
        let first = AtomicUsize::new(turns);
        let done: Mutex<Vec<(usize, Summary)>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..super::jobs(self.jobs) {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= first.load(Ordering::Relaxed) || interrupted.load(Ordering::Relaxed) {
                            return;
                        }
                        let summary = self.run(binary, card.map(|card| card.id), turn(number), interrupted);
                        if is_found(card, &summary) || is_refused(&summary) {
                            first.fetch_min(number, Ordering::Relaxed);
                        }
                        done.lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner)
                            .push((number, summary));
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        done.sort_by_key(|(number, _)| *number);
        let done = done.into_iter().map(|(number, summary)| (turn(number), summary));
        Hunt::of(card, done.collect())
    }

    /// How many lines of faults and workload the run had that found the mutant, and has when it was made small.
    fn size(&self, binary: &Path, mutant: &str, hunt: &Hunt<'_>, interrupted: &AtomicBool) -> String {
        let (Some(minutes), Some((turn, _))) = (self.shrink, &hunt.found) else {
            return String::new();
        };
        let file = std::env::temp_dir().join(format!("orrery-mutant-{}-{mutant}.yaml", std::process::id()));
        let mut shrink = Command::new(binary);
        shrink
            .args([
                "shrink",
                turn.scenario,
                "--seed",
                &turn.seed.to_string(),
                "--mutant",
                mutant,
            ])
            .args([
                "--limit",
                &minutes.to_string(),
                "--jobs",
                &super::jobs(self.jobs).to_string(),
                "--out",
            ])
            .arg(&file);
        // It keeps to its own limit.
        let patience = Patience {
            interrupted: Some(interrupted),
            ..Patience::ENDLESS
        };
        let shrunk = child::watch(&mut shrink, patience);
        // It lies among temporary files.
        let _ = std::fs::remove_file(&file);
        let size = match shrunk {
            Ok(Fate::Ended { output, .. }) => sizes(&output),
            _ => None,
        };
        size.unwrap_or_else(|| "?".to_owned())
    }

    fn run(&self, binary: &Path, mutant: Option<&str>, turn: Turn<'_>, interrupted: &AtomicBool) -> Summary {
        let mut input = Input::new(turn.scenario, turn.seed);
        input.variation.mutant = mutant.map(str::to_owned);
        let patience = Patience {
            limit: self.limit.time(),
            interrupted: Some(interrupted),
        };
        in_process_of(binary, &input, patience)
    }
}

/// Tells of runs without a mutant; whether one alarmed.
fn has_alarmed(control: &Hunt<'_>) -> bool {
    match &control.found {
        None => println!("without a mutant: {} runs held", control.runs),
        Some((turn, summary)) => println!(
            "without a mutant: {}, seed {}: {}\n{}",
            turn.scenario, turn.seed, summary.kind, summary.text
        ),
    }
    control.found.is_some()
}

/// Whether so many seeds from this one on, at least one, are seeds. The error says which are not.
fn check_seeds(from: u64, seeds: u64) -> Result<(), String> {
    if from.checked_add(seeds - 1).is_some() {
        return Ok(());
    }
    let last = u64::MAX;
    Err(format!(
        "{seeds} seeds of each scenario from {from} on: there are none beyond {last}"
    ))
}

fn list(cards: &[&Card]) {
    for card in cards {
        let component = card.component.unwrap_or("component not built");
        println!("{:5} {:24} {component}: {}", card.id, card.source, card.mechanism);
        if !card.schedule.is_empty() {
            println!(
                "{:31}when {}; must fire: {}",
                "",
                card.schedule,
                card.invariants.join(" or ")
            );
        }
    }
}

fn chosen(ids: &[String]) -> Result<Vec<&'static Card>, String> {
    if ids.is_empty() {
        return Ok(cards().collect());
    }
    let find = |id: &String| Card::of(id).ok_or_else(|| format!("there is no mutant {id:?}; `--list` shows all"));
    ids.iter().map(find).collect()
}

/// The scenarios of the house, regressions left out: those are made of one seed each.
fn all_scenarios() -> Result<Vec<String>, String> {
    let entries = std::fs::read_dir("scenarios").map_err(|error| format!("cannot list scenarios/: {error}"))?;
    let paths = entries.filter_map(|entry| entry.ok()?.path().to_str().map(str::to_owned));
    let mut paths: Vec<String> = paths.filter(|path| path.ends_with(".yaml")).collect();
    paths.sort();
    if paths.is_empty() {
        return Err("there is no scenario in scenarios/".to_owned());
    }
    Ok(paths)
}

/// Builds the simulator with mutants; where it is.
fn build() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = root.join("target/mutants");
    eprintln!("building the simulator with mutants, unless that has been done; or give one with --with");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(&root)
        .args(["build", "--release", "--config", "build.rustflags=['--cfg','madsim']"])
        .args([
            "--config",
            "build.target-dir='target/mutants'",
            "--package",
            "orrery-sim",
        ])
        .args(["--bin", "orrery-sim", "--features", "mutants"])
        .status();
    match status {
        Ok(status) if status.success() => Ok(folder.join("release/orrery-sim")),
        Ok(status) => Err(format!(
            "the simulator with mutants could not be built: cargo ended with {status}"
        )),
        Err(error) => Err(format!("cannot start cargo: {error}")),
    }
}

/// The numbers in what `shrink` says: `68 lines of faults and workload became 10, in …`.
fn sizes(told: &str) -> Option<String> {
    let (before, rest) = told
        .lines()
        .find_map(|line| line.split_once(" lines of faults and workload became "))?;
    let (after, _) = rest.split_once(',')?;
    Some(format!("{before} → {after}"))
}

fn header() -> String {
    format!(
        "{:5} {:58} {:12} {:>6} {:>9} {:>9} {:>9}  replay",
        "id", "mechanism", "found by", "seeds", "CPU s", "reached", "lines"
    )
}

fn row(card: &Card, hunt: &Hunt<'_>, size: &str, binary: &Path) -> String {
    let found = hunt.found.as_ref();
    let by = found.map_or("NOT FOUND", |(_, summary)| summary.kind.as_str());
    let reached = match hunt.reached {
        0 => "UNREACHED".to_owned(),
        count => count.to_string(),
    };
    let replay = found.map_or(String::new(), |(turn, _)| replay(card, turn, binary));
    format!(
        "{:5} {:58} {by:12} {:>6} {:>9.1} {reached:>9} {size:>9}  {replay}",
        card.id,
        cut(card.mechanism, 58),
        hunt.runs,
        hunt.spent
    )
}

/// The command that plays a run of a mutant again.
fn replay(card: &Card, turn: &Turn<'_>, binary: &Path) -> String {
    let (binary, id) = (binary.display(), card.id);
    format!("{binary} run {} --seed {} --mutant {id}", turn.scenario, turn.seed)
}

/// How runs failed that found nothing, in a line; none if there were none.
fn otherwise(card: &Card, hunt: &Hunt<'_>, binary: &Path) -> Option<String> {
    let (turn, _) = hunt.otherwise.first()?;
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, summary) in &hunt.otherwise {
        *kinds.entry(&summary.kind).or_default() += 1;
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let (kinds, replay) = (kinds.join(", "), replay(card, turn, binary));
    Some(format!("{:5} failed otherwise: {kinds}; the first: {replay}", ""))
}

fn cut(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_what_shrink_says() {
        let told = "68 lines of faults and workload became 10, in 327 runs and 178 s\nIt needs no seed.\n";
        assert_eq!(sizes(told).as_deref(), Some("68 → 10"));
        assert_eq!(sizes("nothing to shrink"), None);
    }

    /// A run that was played to its end, and ended so.
    fn ended(seed: u64, kind: &str) -> (Turn<'static>, Summary) {
        let mut summary = Summary::died(&Input::new("a.yaml", seed), "");
        summary.without_outcome = false;
        summary.code = if kind == "held" { exit::HELD } else { exit::VIOLATED };
        summary.kind = kind.to_owned();
        summary.spent = 1.0;
        (turn(seed), summary)
    }

    fn turn(seed: u64) -> Turn<'static> {
        Turn {
            scenario: "a.yaml",
            seed,
        }
    }

    #[test]
    fn a_mutant_is_found_by_what_its_card_says_and_by_nothing_else() {
        let card = Card::of("O08").expect("a card");
        let input = Input::new("a.yaml", 2);
        let done = || {
            let endless = Summary::endless(&input, crate::command::LIMIT);
            let died = Summary::died(&input, "out of memory");
            let lost = [ended(1, "held"), (turn(2), endless), (turn(3), died), ended(4, "P2")];
            lost.into_iter().chain([ended(5, "G1"), ended(6, "P2")])
        };
        let hunt = Hunt::of(Some(card), done().collect()).expect("all were played");
        assert_eq!((hunt.runs, hunt.spent), (5, 3.0));
        assert_eq!(hunt.found.as_ref().map(|(turn, _)| turn.seed), Some(5));
        let told = otherwise(card, &hunt, Path::new("sim")).expect("some failed otherwise");
        let kinds = "P2 1, no end 1, the process died 1";
        let first = "sim run a.yaml --seed 2 --mutant O08";
        assert_eq!(
            told.trim_start(),
            format!("failed otherwise: {kinds}; the first: {first}")
        );
        let missed = Hunt::of(Some(card), done().take(4).collect()).expect("all were played");
        assert!(missed.found.is_none());
        assert!(row(card, &missed, "", Path::new("sim")).contains("NOT FOUND"));
        // Without a mutant each of these is an alarm.
        let control = Hunt::of(None, done().collect()).expect("all were played");
        assert_eq!(control.found.map(|(turn, _)| turn.seed), Some(2));
    }

    #[test]
    fn there_are_no_seeds_beyond_the_last_one() {
        assert_eq!((check_seeds(u64::MAX, 1), check_seeds(1, u64::MAX)), (Ok(()), Ok(())));
        let error = check_seeds(u64::MAX, 2).unwrap_err();
        let last = u64::MAX;
        let wanted = format!("2 seeds of each scenario from {last} on: there are none beyond {last}");
        assert_eq!(error, wanted);
    }

    #[test]
    fn a_run_that_cannot_be_played_ends_the_hunt() {
        let refused = Summary::refused(&Input::new("a.yaml", 2), "this build has no mutants");
        let done = vec![ended(1, "held"), (turn(2), refused), ended(3, "G1")];
        let error = Hunt::of(Card::of("O08"), done).err();
        assert_eq!(error.as_deref(), Some("a.yaml: this build has no mutants"));
    }
}
