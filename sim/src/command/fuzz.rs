//! `fuzz`: many seeds of scenarios, on all cores; every failure with the command that replays it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::{Args, value_parser};

use super::limit::Limit;
use super::{interrupted, yardstick};
use crate::campaign::{
    Explorers, Folder, Guide, Head, Input, Limits, Listed, Plan, Progress, Record, Shard, Source, Tally,
    run_all_prepared,
};
use crate::child::Patience;
use crate::exit;
use crate::run::compares_ends;
use crate::scenario::{Scenario, parse_duration};

/// How many seeds a campaign has that names no other bound.
const SEEDS: u64 = 100;
/// Where a guided campaign's corpus lies in its folder.
const CORPUS: &str = "corpus";

/// Runs scenarios with many seeds.
#[derive(Args)]
pub struct Fuzz {
    /// The scenarios' files.
    #[arg(required = true)]
    scenarios: Vec<String>,
    /// How many seeds of each; 100 unless --for sets another bound.
    #[arg(long, value_parser = value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Stop after so much real time, for example 10m.
    #[arg(long = "for", value_parser = some_time, value_name = "TIME")]
    lasts: Option<Duration>,
    /// Stop after so many failures.
    #[arg(long, value_name = "FAILURES", value_parser = value_parser!(u64).range(1..))]
    stop_after: Option<u64>,
    /// How unlucky interleavings are looked for: `mixed` (every fourth seed by priorities), `random`, or `pct:DEPTH`.
    #[arg(long, default_value_t, value_name = "EXPLORER")]
    explore: Explorers,
    /// Write each result to this folder, and go on where it stopped if it has some.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Do only this part of all seeds: `i/n`, with i from 0 to n - 1.
    #[arg(long, default_value_t, value_name = "I/N")]
    shard: Shard,
    /// Vary what reached something new instead of taking new seeds only; the corpus lies in the folder of --dir.
    #[arg(long)]
    guided: bool,
    /// With --guided: the seed of the choices of what to vary, and how.
    #[arg(long, default_value_t = 1, requires = "guided", value_name = "SEED")]
    campaign_seed: u64,
    /// How many at once; as many as there are cores by default.
    #[arg(long, value_parser = super::some_jobs)]
    jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    limit: Limit,
}

impl Fuzz {
    /// Does it; the exit code: that of the first failure by scenario and seed.
    pub fn execute(&self) -> u8 {
        match self.campaign() {
            Ok(code) => code,
            Err(error) => {
                eprintln!("error: {error}");
                exit::WRONG
            }
        }
    }

    fn campaign(&self) -> Result<u8, String> {
        let mut scenarios: Vec<(String, Scenario)> = Vec::new();
        let mut files = BTreeSet::new();
        for path in &self.scenarios {
            // One that is named twice, as `a.yaml` and `./a.yaml`, is one.
            if !files.insert(std::fs::canonicalize(path).unwrap_or_else(|_| path.into())) {
                continue;
            }
            let scenario = crate::scenario::read_file(path).map_err(|error| error.to_string())?;
            scenarios.push((plain(path), scenario));
        }
        let scenarios: Vec<(&str, &Scenario)> = scenarios.iter().map(|(path, scenario)| (&**path, scenario)).collect();
        let plan = self.plan(&scenarios);
        if !self.is_endless() {
            plan.check()?;
        }
        let guide = self.guided.then(|| plan.guided(self.campaign_seed));
        let mut before = Before::default();
        let mut folder = self.folder(&scenarios, |record| {
            let is_own = plan.has(&record, guide.as_deref());
            before.add(record, is_own);
        })?;
        let Before {
            mut tally,
            done,
            others,
        } = before;
        let runs_before = done.len();
        let mut source = self.source(&plan, &scenarios, done)?;
        let mut known: BTreeSet<String> = tally.features.clone();
        let yardsticks = Yardsticks::of(&scenarios);
        let interrupted = interrupted()?;
        let limits = Limits {
            run: self.limit.time(),
            failures: self.stop_after,
            until: self.lasts.map(|lasts| Instant::now() + lasts),
            interrupted: Some(interrupted.clone()),
        };
        let progress = Progress::new(source.total);
        let mut runs = 0;
        let result = run_all_prepared(
            source.inputs.as_mut(),
            super::jobs(self.jobs),
            &limits,
            &|input: &Input| yardsticks.prepare(input, limits.patience()),
            |input, summary| {
                if summary.code != exit::HELD {
                    progress.say(&format!("{}, seed {}: {}", input.scenario, input.seed, summary.text));
                }
                let record = Record::new(input, summary, guide.as_deref(), &mut known);
                if let Some(folder) = &mut folder {
                    folder.append(&record)?;
                }
                tally.add(&record);
                runs += 1;
                progress.step(runs, || tally.line());
                Ok(())
            },
        );
        progress.end();
        let is_interrupted = interrupted.load(Ordering::Relaxed);
        if is_interrupted {
            println!("interrupted; this is what was done:");
        }
        let seconds = progress.elapsed().as_secs_f64();
        println!(
            "{runs} runs in {seconds:.0} s ({:.2} runs/s)",
            runs as f64 / seconds.max(1e-9)
        );
        if runs_before > 0 {
            println!("with the {runs_before} runs done before:");
        }
        print!("{}", tally.describe());
        if let Some(folder) = &folder {
            println!("kept in {}; the same command goes on there", folder.path().display());
            if others > 0 {
                println!("it holds {others} runs of other campaigns as well; `summary` tells of all");
            }
        }
        result?;
        if is_interrupted {
            return Ok(exit::INTERRUPTED);
        }
        Ok(tally.code())
    }

    /// What is to be run.
    fn plan(&self, scenarios: &[(&str, &Scenario)]) -> Plan {
        Plan {
            scenarios: scenarios.iter().map(|(path, _)| (*path).to_owned()).collect(),
            from: self.from,
            seeds: self.seeds(),
            explorers: self.explore,
            shard: self.shard,
        }
    }

    /// The folder, if one is wanted; all that was done in it before is given to `each`.
    fn folder(&self, scenarios: &[(&str, &Scenario)], each: impl FnMut(Record)) -> Result<Option<Folder>, String> {
        let Some(path) = &self.dir else {
            return Ok(None);
        };
        let (folder, damage) = Folder::open(path, Head::new(scenarios.iter().copied())?, each)?;
        for damage in &damage {
            println!("{damage}");
        }
        Ok(Some(folder))
    }

    /// Whether only the time ends it.
    fn is_endless(&self) -> bool {
        self.seeds.is_none() && self.lasts.is_some()
    }

    fn seeds(&self) -> u64 {
        let all = if self.is_endless() { u64::MAX } else { SEEDS };
        self.seeds.unwrap_or(all)
    }

    /// What is left to be run when these have been.
    fn source(&self, plan: &Plan, scenarios: &[(&str, &Scenario)], done: BTreeSet<Input>) -> Result<Planned, String> {
        let endless = self.is_endless();
        if self.guided {
            let mut guide = Guide::new(self.campaign_seed, plan, scenarios);
            if let Some(path) = &self.dir {
                for damage in guide.keep_in(&path.join(CORPUS))? {
                    eprintln!("{damage}");
                }
            }
            guide.skip(&done);
            return Ok(Planned {
                total: (!endless).then(|| guide.left()),
                inputs: Box::new(guide),
            });
        }
        let total = (!endless).then(|| plan.runs().saturating_sub(done.len() as u64));
        let inputs = plan.inputs().filter(move |input| !done.contains(input));
        Ok(Planned {
            inputs: Box::new(Listed(inputs)),
            total,
        })
    }
}

/// What was done before in the folder of a campaign.
#[derive(Default)]
struct Before {
    /// What its own runs have found.
    tally: Tally,
    /// What they were of.
    done: BTreeSet<Input>,
    /// How many runs are of other campaigns; they are neither told nor skipped.
    others: u64,
}

impl Before {
    fn add(&mut self, record: Record, is_own: bool) {
        if is_own {
            self.tally.add(&record);
            self.done.insert(record.input);
        } else {
            self.others += 1;
        }
    }
}

/// The runs without faults that the ends of others are compared with, by scenario, and whether they have been looked
/// after. Whoever needs them first would play them within its own time, and all others at once would do so again.
struct Yardsticks<'a>(BTreeMap<&'a str, Compared<'a>>);

/// A scenario whose ends are compared, and whether what they are compared with can be had; known once it was looked for.
struct Compared<'a> {
    scenario: &'a Scenario,
    looked: OnceLock<Result<(), String>>,
}

impl<'a> Yardsticks<'a> {
    fn of(scenarios: &[(&'a str, &'a Scenario)]) -> Self {
        let compared = scenarios.iter().filter(|(_, scenario)| scenario.expect.compares_ends());
        let unknown = |scenario| Compared {
            scenario,
            looked: OnceLock::new(),
        };
        Yardsticks(compared.map(|(path, scenario)| (*path, unknown(scenario))).collect())
    }

    /// Sees to it that those are kept that a run of this input needs. The error says why they cannot be had, which is
    /// so for every other run as well.
    fn prepare(&self, input: &Input, patience: Patience<'_>) -> Result<(), String> {
        let known = self.0.get(input.scenario.as_str());
        let Some(Compared { scenario, looked }) = known.filter(|own| compares_ends(own.scenario, &input.variation))
        else {
            return Ok(());
        };
        let play = || yardstick::yardstick_within(&input.scenario, scenario, None, patience).map(drop);
        looked.get_or_init(play).clone()
    }
}

/// What is to be run, and how much of it, if that is known.
struct Planned {
    inputs: Box<dyn Source>,
    total: Option<u64>,
}

/// A file's path as seen from here, so that `./a.yaml` and `a.yaml` are runs of one scenario. Links are not followed:
/// what a scenario applies lies beside them.
fn plain(path: &str) -> String {
    let own = || {
        let whole = std::path::absolute(path).ok()?;
        let own = whole.strip_prefix(std::env::current_dir().ok()?).unwrap_or(&whole);
        own.to_str().map(str::to_owned)
    };
    // One that looks like an option needs what is before it.
    own()
        .filter(|own| !own.starts_with('-'))
        .unwrap_or_else(|| path.to_owned())
}

/// A time in which something can be run.
fn some_time(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("nothing can be run in no time".to_owned()),
        time => Ok(time),
    }
}
