//! `inspect`: the API of a simulated cluster as it was at a moment, for the ordinary kubectl.
//!
//! The run is played to its end in a process of its own, exactly as `run` plays it, and writes down what its store
//! held; the real `orrery` then serves that: sockets and TLS are real, which a simulated world has none of.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;

use super::subject::Subject;
use crate::exit;
use crate::scenario::{parse_moment, write_duration};

/// Looks into the past of a run with kubectl.
#[derive(Args)]
pub struct Inspect {
    #[command(flatten)]
    subject: Subject,
    /// The moment, such as 93.2s, or seconds without a unit; it can be moved later.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    at: Duration,
    /// The port, on this machine only; any that is free by default.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The `orrery` that serves; built from this source by default.
    #[arg(long, value_name = "FILE")]
    orrery: Option<PathBuf>,
}

impl Inspect {
    /// Does it; the exit code.
    pub fn execute(&self) -> u8 {
        let seed = match self.subject.seed() {
            Ok(seed) => seed,
            Err(code) => return code,
        };
        match self.inspect(seed) {
            Ok(code) => code,
            Err(why) => {
                eprintln!("error: {why}");
                2
            }
        }
    }

    fn inspect(&self, seed: u64) -> Result<u8, String> {
        let history = std::env::temp_dir().join(format!("orrery-sim-{}-{}.history", std::process::id(), seed));
        let outcome = self.play(&history, seed).and_then(|()| self.serve(&history));
        // It may not have come to be.
        let _ = std::fs::remove_file(&history);
        outcome
    }

    /// Plays the run, and tells how it ended.
    fn play(&self, history: &Path, seed: u64) -> Result<(), String> {
        let own = std::env::current_exe().map_err(|error| format!("cannot start a second process: {error}"))?;
        let status = Command::new(own)
            .args(["run", &self.subject.scenario, "--seed", &seed.to_string()])
            .args(self.subject.variation.arguments())
            .arg("--history")
            .arg(history)
            .stdin(Stdio::null())
            .status()
            .map_err(|error| format!("cannot start a second process: {error}"))?;
        // However it ended, its past can be looked at.
        if history.exists() && status.code() != Some(exit::WRONG.into()) {
            return Ok(());
        }
        Err(format!("the run left no history: {status}"))
    }

    fn serve(&self, history: &Path) -> Result<u8, String> {
        let orrery = match &self.orrery {
            Some(given) => given.clone(),
            None => build()?,
        };
        let mut command = Command::new(&orrery);
        command
            .arg("past")
            .arg(history)
            .args(["--at", &write_duration(self.at)]);
        command.args(["--port", &self.port.to_string()]);
        let status = command
            .status()
            .map_err(|error| format!("cannot start {}: {error}", orrery.display()))?;
        Ok(if status.success() { 0 } else { 2 })
    }
}

/// Builds the real `orrery` from the source that this simulator was built from; where it is.
fn build() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let way_out = "give one with --orrery";
    eprintln!("building `orrery`, which serves the past, unless that has been done; or {way_out}");
    let status = Command::new("cargo")
        .args(["build", "--release", "--package", "orrery", "--bin", "orrery"])
        .args(["--target-dir", "target"])
        .env_remove("RUSTFLAGS")
        .current_dir(&root)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("cannot build `orrery` with cargo: {error}; {way_out}"))?;
    if !status.success() {
        return Err(format!("`orrery` cannot be built; {way_out}"));
    }
    Ok(root.join("target").join("release").join("orrery"))
}
