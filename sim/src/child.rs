//! Processes of this very program, one a run: how they are started, waited for and ended.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::variation::Variation;

/// How often it is looked at whether somebody wants a process to end.
pub const LOOK: Duration = Duration::from_millis(100);

/// The file of this very program.
pub fn program() -> io::Result<PathBuf> {
    // What runs here, whatever lies at its path by now: whoever builds anew takes the old file away.
    if cfg!(target_os = "linux") {
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    std::env::current_exe()
}

/// The command that starts this very program, called as this process was.
pub fn itself() -> io::Result<Command> {
    let mut command = Command::new(program()?);
    if let Some(called) = std::env::args_os().next() {
        command.arg0(called);
    }
    Ok(command)
}

/// The command that does `verb` (`run`, `record`, `judge`) with one seed of a scenario, varied so. It reads nothing.
pub fn command(verb: &str, scenario: &str, seed: u64, variation: &Variation) -> io::Result<Command> {
    let mut command = itself()?;
    command
        .args([verb, scenario, "--seed", &seed.to_string()])
        .args(variation.arguments())
        .stdin(Stdio::null());
    Ok(command)
}

/// How long a process is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience<'a> {
    /// No longer than so.
    pub limit: Duration,
    /// And until this is raised. Then the process has a group of its own, with all that it starts in turn: all of them
    /// are ended together, and an interrupt on a terminal reaches none of them by itself. Without it they are in the
    /// group of this process, and end by such an interrupt as it does.
    pub interrupted: Option<&'a AtomicBool>,
}

impl Patience<'_> {
    /// Waits for ever.
    pub const ENDLESS: Patience<'static> = Patience {
        limit: Duration::MAX,
        interrupted: None,
    };

    fn is_interrupted(&self) -> bool {
        self.interrupted.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }
}

/// What became of a process.
#[derive(Debug)]
pub enum Fate {
    /// It ended by itself.
    Ended {
        /// How.
        status: io::Result<ExitStatus>,
        /// What it said on standard output.
        output: String,
        /// What it said on standard error.
        errors: String,
    },
    /// It was ended because it took too long.
    Late,
    /// It was ended by an interrupt.
    Interrupted,
}

/// Starts a process that reads nothing, and waits until it ends or the patience does.
///
/// # Errors
/// It cannot be started.
pub fn watch(command: &mut Command, patience: Patience<'_>) -> io::Result<Fate> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let has_group = patience.interrupted.is_some();
    if has_group {
        command.process_group(0);
    }
    let mut child = command.spawn()?;
    let started = Instant::now();
    let (output, errors) = (collect(child.stdout.take()), collect(child.stderr.take()));
    loop {
        let left = patience.limit.saturating_sub(started.elapsed());
        match output.recv_timeout(left.min(LOOK)) {
            Ok(output) => {
                let errors = errors.recv().unwrap_or_default();
                let status = child.wait();
                return Ok(Fate::Ended { status, output, errors });
            }
            Err(RecvTimeoutError::Timeout) if !left.is_zero() && !patience.is_interrupted() => {}
            Err(_) => {
                end(&mut child, has_group);
                if patience.is_interrupted() {
                    return Ok(Fate::Interrupted);
                }
                return Ok(Fate::Late);
            }
        }
    }
}

/// What a stream says until it ends.
fn collect(stream: Option<impl Read + Send + 'static>) -> Receiver<String> {
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
}

/// Ends a process that has not been waited for, with its group if that is its own.
fn end(child: &mut Child, has_group: bool) {
    if has_group {
        // The number stays the group's until its first process is waited for. Every shell has a `kill`; the program of
        // this name some machines lack.
        let _ = Command::new("sh")
            .args(["-c", &format!("kill -s KILL -- -{}", child.id())])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
    // It may have ended at this very moment.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// Whether a process is there that does something.
    fn is_alive(process: &str) -> bool {
        let about = std::fs::read_to_string(format!("/proc/{process}/stat"));
        // The state stands behind the name; one that has ended may still be waited for.
        about.is_ok_and(|about| !about.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
    }

    #[test]
    fn what_a_process_says_and_how_it_ends_is_told() {
        let mut command = shell("echo one; echo two >&2; exit 3");
        let (status, output, errors) = match watch(&mut command, Patience::ENDLESS) {
            Ok(Fate::Ended { status, output, errors }) => (status, output, errors),
            other => panic!("{other:?}"),
        };
        assert_eq!((output.as_str(), errors.as_str()), ("one\n", "two\n"));
        assert_eq!(status.expect("it was waited for").code(), Some(3));
    }

    #[test]
    fn one_that_takes_too_long_is_ended() {
        let patience = Patience {
            limit: Duration::from_millis(20),
            interrupted: None,
        };
        let watched = watch(&mut shell("exec sleep 60"), patience);
        assert!(matches!(watched, Ok(Fate::Late)), "{watched:?}");
    }

    #[test]
    fn an_interrupt_ends_what_a_process_has_started_too() {
        let place = tempfile::tempdir().expect("a folder can be made");
        let file = place.path().join("started");
        let script = format!("sleep 60 >/dev/null 2>&1 & echo $! > '{}'; wait", file.display());
        let interrupted = AtomicBool::new(false);
        let patience = Patience {
            limit: Duration::from_secs(60),
            interrupted: Some(&interrupted),
        };
        let read = || std::fs::read_to_string(&file).unwrap_or_default();
        let watched = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !read().ends_with('\n') {
                    std::thread::sleep(Duration::from_millis(5));
                }
                interrupted.store(true, Ordering::Relaxed);
            });
            watch(&mut shell(&script), patience)
        });
        assert!(matches!(watched, Ok(Fate::Interrupted)), "{watched:?}");
        let deadline = Instant::now() + Duration::from_secs(10);
        while is_alive(read().trim()) {
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_cannot_be_started_is_an_error() {
        assert!(watch(&mut Command::new("/nowhere/orrery-sim"), Patience::ENDLESS).is_err());
    }
}
