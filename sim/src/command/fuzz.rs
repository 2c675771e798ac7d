//! `fuzz`: many seeds of scenarios, on all cores; every failure with the command that replays it.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::{Args, value_parser};

use super::interrupted;
use crate::campaign::{
    Explorers, Folder, Guide, Head, Input, Limits, Listed, Plan, Progress, Record, Shard, Source, Tally, run_all,
};
use crate::exit;
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
    /// A run that takes longer than so many seconds of real time is stopped and counts as failed.
    #[arg(long, default_value_t = 300, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..))]
    limit: u64,
}

impl Fuzz {
    /// Does it; the exit code: that of the first failure by scenario and seed.
    pub fn execute(&self) -> u8 {
        match self.campaign() {
            Ok(code) => code,
            Err(error) => {
                eprintln!("error: {error}");
                2
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
        let (mut folder, records) = self.folder(&scenarios)?;
        // What other campaigns have left there is neither told nor skipped.
        let (done, others): (Vec<Record>, Vec<Record>) = records
            .into_iter()
            .partition(|record| plan.has(record, guide.as_deref()));
        let mut source = self.source(&plan, &scenarios, &done)?;
        let mut tally = Tally::of(&done);
        let mut known: BTreeSet<String> = tally.features.clone();
        let limits = Limits {
            run: Duration::from_secs(self.limit),
            failures: self.stop_after,
            until: self.lasts.map(|lasts| Instant::now() + lasts),
            interrupted: interrupted()?,
        };
        let progress = Progress::new(source.total);
        let mut runs = 0;
        let result = run_all(
            source.inputs.as_mut(),
            super::jobs(self.jobs),
            &limits,
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
        if limits.interrupted.load(Ordering::Relaxed) {
            println!("interrupted; this is what was done:");
        }
        let seconds = progress.elapsed().as_secs_f64();
        println!(
            "{runs} runs in {seconds:.0} s ({:.2} seeds/s)",
            runs as f64 / seconds.max(1e-9)
        );
        if !done.is_empty() {
            println!("with the {} runs done before:", done.len());
        }
        print!("{}", tally.describe());
        if let Some(folder) = &folder {
            println!("kept in {}; the same command goes on there", folder.path().display());
            if !others.is_empty() {
                println!(
                    "it holds {} runs of other campaigns as well; `summary` tells of all",
                    others.len()
                );
            }
        }
        result?;
        if limits.interrupted.load(Ordering::Relaxed) {
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

    /// The folder, if one is wanted, and all that was done in it before.
    fn folder(&self, scenarios: &[(&str, &Scenario)]) -> Result<(Option<Folder>, Vec<Record>), String> {
        let Some(path) = &self.dir else {
            return Ok((None, Vec::new()));
        };
        let (folder, contents) = Folder::open(path, Head::new(scenarios.iter().copied())?)?;
        for damage in &contents.damage {
            println!("{damage}");
        }
        Ok((Some(folder), contents.records))
    }

    /// Whether only the time ends it.
    fn is_endless(&self) -> bool {
        self.seeds.is_none() && self.lasts.is_some()
    }

    fn seeds(&self) -> u64 {
        let all = if self.is_endless() { u64::MAX } else { SEEDS };
        self.seeds.unwrap_or(all)
    }

    fn source(&self, plan: &Plan, scenarios: &[(&str, &Scenario)], done: &[Record]) -> Result<Planned, String> {
        let endless = self.is_endless();
        if self.guided {
            let mut guide = Guide::new(self.campaign_seed, plan, scenarios);
            if let Some(path) = &self.dir {
                guide.keep_in(&path.join(CORPUS))?;
            }
            guide.skip(done.iter().map(|record| &record.input));
            return Ok(Planned {
                total: (!endless).then(|| guide.left()),
                inputs: Box::new(guide),
            });
        }
        let done: BTreeSet<Input> = done.iter().map(|record| record.input.clone()).collect();
        let total = (!endless).then(|| plan.inputs().filter(|input| !done.contains(input)).count() as u64);
        let inputs = plan.inputs().filter(move |input| !done.contains(input));
        Ok(Planned {
            inputs: Box::new(Listed(inputs)),
            total,
        })
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
