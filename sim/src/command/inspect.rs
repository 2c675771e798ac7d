//! `inspect`: the API of a simulated cluster as it was at a moment, for the ordinary kubectl.
//!
//! The run is played to its end in a process of its own, exactly as `run` plays it, and writes down what its store
//! held; the real `orrery` then serves that: sockets and TLS are real, which a simulated world has none of.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;

use super::interrupted;
use super::subject::Subject;
use crate::child;
use crate::exit;
use crate::scenario::{parse_moment, write_duration};

/// How often it is looked at whether a process has ended, and how long one may go on after an interrupt.
const LOOK: Duration = Duration::from_millis(20);
const GRACE: Duration = Duration::from_secs(2);
/// The last line of a history is not longer.
const LAST_LINE: u64 = 64;

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
                exit::WRONG
            }
        }
    }

    fn inspect(&self, seed: u64) -> Result<u8, String> {
        let history = std::env::temp_dir().join(format!("orrery-sim-{}-{}.history", std::process::id(), seed));
        // From here on there is a file to remove.
        let interrupted = interrupted()?;
        let outcome = self
            .play(&history, seed, &interrupted)
            .and_then(|()| self.serve(&history, &interrupted));
        // It may not have come to be.
        let _ = std::fs::remove_file(&history);
        if interrupted.load(Ordering::Relaxed) {
            return Ok(exit::INTERRUPTED);
        }
        outcome
    }

    /// Plays the run, and tells how it ended.
    fn play(&self, history: &Path, seed: u64, interrupted: &AtomicBool) -> Result<(), String> {
        let mut run = child::command("run", &self.subject.scenario, seed, &self.subject.variation);
        let status = child::start(run.arg("--history").arg(history))
            .and_then(|child| wait(child, interrupted))
            .map_err(|error| format!("cannot start a second process: {error}"))?;
        if interrupted.load(Ordering::Relaxed) {
            return Err("interrupted".to_owned());
        }
        // However it ended, its past can be looked at.
        let is_wrong = status.code() == Some(exit::WRONG.into());
        if is_whole(history) {
            if is_wrong {
                eprintln!("what the store held until then can be looked at:");
            }
            return Ok(());
        }
        let none = || format!("the run left no history: {status}");
        // What could not be played or written has been told by the run itself.
        if is_wrong {
            return Err(none());
        }
        let cut = cut(history).map_err(|error| format!("cannot read the history of the run: {error}"))?;
        let last = cut.ok_or_else(none)?;
        eprintln!(
            "the history is cut, since the run did not come to its end ({status}): what the store held after {:.6} s \
             is not known",
            last.as_secs_f64()
        );
        Ok(())
    }

    fn serve(&self, history: &Path, interrupted: &AtomicBool) -> Result<u8, String> {
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
            .spawn()
            .and_then(|child| wait(child, interrupted))
            .map_err(|error| format!("cannot start {}: {error}", orrery.display()))?;
        Ok(if status.success() { exit::HELD } else { exit::WRONG })
    }
}

/// Waits for a process. An interrupt on a terminal reaches it, too, so that it can end by itself.
fn wait(mut child: Child, interrupted: &AtomicBool) -> std::io::Result<ExitStatus> {
    let mut since = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupted.load(Ordering::Relaxed) && since.get_or_insert_with(Instant::now).elapsed() > GRACE {
            // It may have ended at this very moment.
            let _ = child.kill();
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether a history was written to its end: the last line says when that was.
fn is_whole(history: &Path) -> bool {
    let last = || -> std::io::Result<String> {
        let mut file = File::open(history)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_LINE)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(text.lines().last().unwrap_or_default().to_owned())
    };
    last().is_ok_and(|line| line.starts_with("{\"ended\":"))
}

/// Takes a torn last line away from a history that was not written to its end, so that the rest can be read; when the
/// last transaction was that it has, if it has any.
fn cut(history: &Path) -> std::io::Result<Option<Duration>> {
    #[derive(Deserialize)]
    struct Written {
        at: u64,
    }
    let file = match File::options().read(true).write(true).open(history) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut lines = BufReader::new(&file);
    let (mut line, mut last, mut length) = (Vec::new(), Vec::new(), 0);
    loop {
        line.clear();
        lines.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            break;
        }
        length += line.len() as u64;
        std::mem::swap(&mut line, &mut last);
    }
    file.set_len(length)?;
    // The first line, of how it all began, says of no moment.
    let written = serde_json::from_slice::<Written>(&last).ok();
    Ok(written.map(|written| Duration::from_nanos(written.at)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_is_cut_can_be_read_up_to_where_it_is() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = folder.path().join("history");
        let begins = "{\"title\":\"web\",\"begins\":\"2026-01-01T00:00:00Z\"}\n";
        let written = "{\"at\":1500000000,\"revision\":2,\"changes\":[[\"/a\",\"1\"]]}\n";
        let torn = "{\"at\":2500000000,\"revi";
        let left = |text: &str| {
            std::fs::write(&file, text).expect("it can be written");
            let last = cut(&file).expect("it can be read");
            (last, std::fs::read_to_string(&file).expect("it is there"))
        };
        let last = Some(Duration::from_millis(1500));
        let whole = [begins, written].concat();
        assert_eq!(left(&[begins, written, torn].concat()), (last, whole.clone()));
        assert_eq!(left(&whole), (last, whole));
        assert_eq!(left(&[begins, torn].concat()), (None, begins.to_owned()));
        assert_eq!(left(""), (None, String::new()));
        assert_eq!(cut(&folder.path().join("nowhere")).expect("it is none"), None);
        assert!(!is_whole(&file));
        std::fs::write(&file, [begins, written, "{\"ended\":2000000000}\n"].concat()).expect("it can be written");
        assert!(is_whole(&file));
    }
}
