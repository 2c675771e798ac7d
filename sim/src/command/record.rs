//! `record`: runs a scenario as `run` does and prints its recording; for the commands that explain runs.
//!
//! They start it as a process of its own for each run that they look at, because only the first run of a process is
//! exact.

use std::io::{BufWriter, Read, Write};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::limit::Limit;
use super::subject::Subject;
use crate::child::{self, Patience};
use crate::exit;
use crate::recording::Recording;
use crate::run::{Settings, record_within};
use crate::scenario::{Moment, Scenario};
use crate::variation::Variation;

/// Runs a scenario and prints what happened as JSON.
#[derive(Args)]
pub struct Record {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    limit: Limit,
    /// Let this fault of the scenario, counted from 0, never strike.
    #[arg(long)]
    without: Vec<usize>,
}

impl Record {
    /// Does it; the exit code.
    pub fn execute(&self) -> u8 {
        let settings = match self.subject.settings_with_end(Patience::of(self.limit.time())) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        let mut scenario = Scenario::clone(&settings.scenario);
        // The others keep their places, and with them their chances.
        let never = Moment::At(scenario.duration + Duration::from_secs(86_400));
        for index in &self.without {
            if let Some(fault) = scenario.faults.get_mut(*index) {
                fault.moment = never.clone();
            }
        }
        let settings = Settings {
            scenario: Arc::new(scenario),
            ..settings
        };
        let recording = record_within(&self.subject.scenario, settings, self.limit.time());
        let mut output = BufWriter::new(std::io::stdout().lock());
        let written = serde_json::to_writer(&mut output, &recording).map_err(std::io::Error::other);
        if let Err(error) = written.and_then(|()| output.flush()) {
            eprintln!("error: cannot write the recording: {error}");
            return exit::WRONG;
        }
        recording.ending.code()
    }
}

/// Records a run in a process of its own, as far as it comes within the limit.
///
/// # Errors
///
/// The exit code to end with, when the scenario is wrong or no process can be started; it has been said why.
pub fn obtain(
    scenario: &str,
    seed: u64,
    variation: &Variation,
    without: &[usize],
    limit: Limit,
) -> Result<Recording, u8> {
    super::read(scenario)?;
    let (text, status) = recorded(scenario, seed, variation, without, limit).map_err(|error| {
        eprintln!("error: cannot record the run in a second process: {error}");
        exit::WRONG
    })?;
    if text.is_empty() {
        // What it refuses it has said itself, where this process would.
        if status.code() != Some(exit::WRONG.into()) {
            eprintln!("error: the process that records seed {seed} of {scenario} ended without a recording: {status}");
        }
        return Err(exit::WRONG);
    }
    serde_json::from_str(&text).map_err(|error| {
        eprintln!("error: the recording of seed {seed} of {scenario} cannot be read: {error}");
        exit::WRONG
    })
}

fn recorded(
    scenario: &str,
    seed: u64,
    variation: &Variation,
    without: &[usize],
    limit: Limit,
) -> std::io::Result<(String, ExitStatus)> {
    let mut command = child::command("record", scenario, seed, variation);
    command.args(["--limit", &limit.seconds.to_string()]);
    for index in without {
        command.args(["--without", &index.to_string()]);
    }
    let mut child = child::start(command.stdout(Stdio::piped()))?;
    let mut text = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut text)?;
    }
    let status = child.wait()?;
    Ok((text, status))
}
