//! `fuzz`: many seeds of scenarios, on all cores; every failure with the command that replays it.
//!
//! Each seed runs in a process of its own, exactly as its replay will: what runs share within a process would shift them.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::summary::Summary;
use crate::campaign::{Explorers, Input, Plan, Shard};
use crate::coverage;

/// Without a terminal a line is written so often.
const LINE: Duration = Duration::from_secs(10);

/// Runs scenarios with many seeds.
#[derive(Args)]
pub struct Fuzz {
    /// The scenarios' files.
    #[arg(required = true)]
    scenarios: Vec<String>,
    /// How many seeds of each.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How unlucky interleavings are looked for: `mixed` (every fourth seed by priorities), `random`, or `pct:DEPTH`.
    #[arg(long, default_value_t)]
    explore: Explorers,
    /// How many at once; as many as there are cores by default.
    #[arg(long)]
    jobs: Option<usize>,
    /// A run that takes longer than so many seconds of real time is stopped and counts as failed.
    #[arg(long, default_value_t = 300)]
    limit: u64,
}

/// What a campaign found.
#[derive(Default)]
struct Tally {
    runs: u64,
    failures: Vec<(Input, Summary)>,
    coverage: BTreeMap<String, u64>,
    unstruck: BTreeMap<String, u64>,
    simulated: f64,
    spent: f64,
}

impl Fuzz {
    /// Does it; the exit code: that of the first failure by scenario and seed.
    pub fn execute(&self) -> u8 {
        for path in &self.scenarios {
            if let Err(code) = super::read(path) {
                return code;
            }
        }
        let plan = Plan {
            scenarios: self.scenarios.clone(),
            from: self.from,
            seeds: self.seeds,
            explorers: self.explore,
            shard: Shard::default(),
        };
        let total = plan.total();
        let inputs = Mutex::new(plan.inputs());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.jobs.unwrap_or(cores).max(1);
        let gone = AtomicBool::new(false);
        let (sender, receiver) = mpsc::channel();
        let started = Instant::now();
        let mut tally = Tally::default();
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                let (sender, inputs, gone) = (sender.clone(), &inputs, &gone);
                scope.spawn(move || {
                    while !gone.load(Ordering::Relaxed) {
                        let Some(input) = inputs.lock().unwrap_or_else(PoisonError::into_inner).next() else {
                            return;
                        };
                        let summary = in_process(&input, Duration::from_secs(self.limit));
                        if sender.send((input, summary)).is_err() {
                            gone.store(true, Ordering::Relaxed);
                        }
                    }
                });
            }
            drop(sender);
            let progress = Progress::new(total, started);
            for (input, summary) in receiver {
                if summary.code != 0 {
                    progress.say(&format!("{}, seed {}: {}", input.scenario, input.seed, summary.text));
                }
                tally.add(input, summary);
                progress.step(tally.runs, tally.failures.len());
            }
            progress.end();
        });
        tally.print(started.elapsed());
        tally.failures.sort_by(|one, other| one.0.cmp(&other.0));
        tally.failures.first().map_or(0, |(_, summary)| summary.code)
    }
}

/// Runs one seed in a process of its own, for no longer than `limit`.
fn in_process(input: &Input, limit: Duration) -> Summary {
    let child = std::env::current_exe().and_then(|own| {
        Command::new(own)
            .args(input.arguments())
            .arg("--json")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    });
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Summary::died(input, &error.to_string()),
    };
    let Some((text, said)) = listen(&mut child, limit) else {
        return Summary::endless(input, limit);
    };
    let summary = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
    let status = child.wait();
    summary.unwrap_or_else(|| {
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        Summary::died(input, &format!("{how}; {}", said.lines().last().unwrap_or_default()))
    })
}

/// What the child prints on both outputs until it ends; none if it had to be killed at the limit.
fn listen(child: &mut Child, limit: Duration) -> Option<(String, String)> {
    let collect = |stream: Option<Box<dyn Read + Send>>| {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                // What could be read before a failure still tells something.
                let _ = stream.read_to_end(&mut bytes);
            }
            let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
        });
        receiver
    };
    let output = collect(
        child
            .stdout
            .take()
            .map(|stream| Box::new(stream) as Box<dyn Read + Send>),
    );
    let errors = collect(
        child
            .stderr
            .take()
            .map(|stream| Box::new(stream) as Box<dyn Read + Send>),
    );
    match output.recv_timeout(limit) {
        Ok(text) => Some((text, errors.recv().unwrap_or_default())),
        Err(_) => {
            // It may have ended at this very moment.
            let _ = child.kill();
            let _ = child.wait();
            None
        }
    }
}

impl Tally {
    fn add(&mut self, input: Input, summary: Summary) {
        self.runs += 1;
        self.simulated += summary.simulated;
        self.spent += summary.spent;
        for (thing, count) in &summary.coverage {
            *self.coverage.entry(thing.clone()).or_default() += u64::from(*count > 0);
        }
        for fault in &summary.never_struck {
            *self.unstruck.entry(fault.clone()).or_default() += 1;
        }
        if summary.code != 0 {
            self.failures.push((input, summary));
        }
    }

    fn print(&self, elapsed: Duration) {
        let rate = self.runs as f64 / elapsed.as_secs_f64().max(1e-9);
        let speed = self.simulated / self.spent.max(1e-9);
        println!(
            "{} runs in {:.0} s ({rate:.2} seeds/s, {speed:.0} simulated seconds a CPU second), {} failed",
            self.runs,
            elapsed.as_secs_f64(),
            self.failures.len()
        );
        let mut kinds: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (input, summary) in &self.failures {
            kinds
                .entry(format!("{}: {}", input.scenario, summary.kind))
                .or_default()
                .push(input.seed);
        }
        for (kind, seeds) in &kinds {
            let shown: Vec<String> = seeds.iter().take(8).map(u64::to_string).collect();
            println!(
                "  {kind}: {} of {} (seeds {}…)",
                seeds.len(),
                self.runs,
                shown.join(", ")
            );
        }
        println!("seen sometimes (in how many runs):");
        for thing in coverage::THINGS {
            match self.coverage.get(*thing) {
                Some(count) => println!("  {count:>6}  {thing}"),
                None => println!("   never  {thing}"),
            }
        }
        for (fault, count) in &self.unstruck {
            println!("never struck in {count} runs: {fault}");
        }
    }
}

/// A bar on a terminal, lines elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    started: Instant,
    last: std::cell::Cell<Instant>,
}

impl Progress {
    fn new(total: u64, started: Instant) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            let style = "{bar:40} {pos}/{len} seeds, {per_sec}, {msg}, {eta} left";
            bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Progress {
            bar,
            total,
            started,
            last: std::cell::Cell::new(started),
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => println!("{text}"),
        }
    }

    fn step(&self, done: u64, failed: usize) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(format!("{failed} failed"));
                bar.set_position(done);
            }
            None if self.last.get().elapsed() >= LINE => {
                self.last.set(Instant::now());
                let rate = done as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
                println!("{done}/{} seeds, {rate:.2} seeds/s, {failed} failed", self.total);
            }
            None => {}
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
