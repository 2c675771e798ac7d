//! Processes of this very program, one a run: how they are started, waited for and ended.
//!
//! They hang on a tether, which is their standard input: it ends when the process that started them does, however that
//! came about, and they end with it. So no run goes on that nobody waits for.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::exit;
use crate::variation::Variation;

/// The file of this very program: what runs here, whatever lies at its path by now. Whoever builds anew takes the old
/// file away.
pub const PROGRAM: &str = "/proc/self/exe";

/// Set in the environment of a process whose standard input is a tether.
const TETHER: &str = "ORRERY_TETHER";

/// How often it is looked at whether a process has ended, or somebody wants it to.
const LOOK: Duration = Duration::from_millis(2);

/// What a process of this program does before all else: it takes hold of its tether, if it has one, and gets back the
/// name it was called by, which is not that of [`PROGRAM`], for `ps` and the log of the kernel.
pub fn begin() {
    let called = std::env::args_os().next().unwrap_or_default();
    if let Some(name) = Path::new(&called).file_name() {
        // It is for people only.
        let _ = std::fs::write("/proc/self/comm", name.as_encoded_bytes());
    }
    if std::env::var_os(TETHER).is_some() {
        thread::spawn(|| {
            // Nothing comes, but the end.
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            std::process::exit(exit::INTERRUPTED.into());
        });
    }
}

/// The command that starts this very program, called as this process was.
pub fn itself() -> Command {
    let mut command = Command::new(PROGRAM);
    if let Some(called) = std::env::args_os().next() {
        command.arg0(called);
    }
    // The tether of this process is not that of another.
    command.env_remove(TETHER);
    command
}

/// The command that does `verb` (`run`, `record`, `judge`) with one seed of a scenario, varied so.
pub fn command(verb: &str, scenario: &str, seed: u64, variation: &Variation) -> Command {
    let mut command = itself();
    command
        .args([verb, scenario, "--seed", &seed.to_string()])
        .args(variation.arguments());
    command
}

/// Starts a process on a tether, which the [`Child`] holds. It reads nothing.
///
/// # Errors
/// It cannot be started.
pub fn start(command: &mut Command) -> io::Result<Child> {
    command.env(TETHER, "").stdin(Stdio::piped()).spawn()
}

/// How long a process is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience<'a> {
    /// No longer than so.
    pub limit: Duration,
    /// And until this is raised.
    pub interrupted: Option<&'a AtomicBool>,
}

impl Patience<'_> {
    /// Waits for ever.
    pub const ENDLESS: Patience<'static> = Patience::of(Duration::MAX);

    /// Waits for so long, whatever is raised.
    pub const fn of(limit: Duration) -> Patience<'static> {
        Patience {
            limit,
            interrupted: None,
        }
    }

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
        status: ExitStatus,
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

/// Starts a process, and waits until it ends or the patience does.
///
/// # Errors
/// It cannot be started, or not be waited for.
pub fn watch(command: &mut Command, patience: Patience<'_>) -> io::Result<Fate> {
    let mut child = start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let (output, errors) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let end = supervise(&mut child, patience.limit, || patience.is_interrupted())?;
    Ok(match end {
        End::Ended(status) => Fate::Ended {
            status,
            output: output.join().unwrap_or_default(),
            errors: errors.join().unwrap_or_default(),
        },
        End::Late => Fate::Late,
        End::Unwanted => Fate::Interrupted,
    })
}

/// What a stream says until it ends.
fn collect(stream: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What could be read before a failure still tells something.
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// How a process came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, or by somebody else's signal.
    Ended(ExitStatus),
    /// Its time was up.
    Late,
    /// Nobody wanted it any more.
    Unwanted,
}

impl End {
    /// Its exit code, if it has one.
    pub fn code(self) -> Option<i32> {
        match self {
            End::Ended(status) => status.code(),
            End::Late | End::Unwanted => None,
        }
    }
}

/// Waits for the end of a process, and kills it when it takes longer than `limit` or is unwanted.
fn supervise(child: &mut Child, limit: Duration, unwanted: impl Fn() -> bool) -> io::Result<End> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(End::Ended(status));
        }
        let end = match unwanted() {
            true => End::Unwanted,
            false if started.elapsed() >= limit => End::Late,
            false => {
                thread::sleep(LOOK);
                continue;
            }
        };
        // It may have ended at this very moment.
        let _ = child.kill();
        child.wait()?;
        return Ok(end);
    }
}

/// A process whose output is read while it runs: it may take so long and no longer, and goes when nobody reads on.
pub struct Watched {
    unwanted: Arc<AtomicBool>,
    supervisor: JoinHandle<io::Result<End>>,
}

impl Watched {
    /// Starts it, and kills it when it takes longer than `limit`: what it prints is over then.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command, limit: Duration) -> io::Result<(ChildStdout, Self)> {
        let mut child = start(command.stdout(Stdio::piped()))?;
        let output = child.stdout.take();
        let output = output.ok_or_else(|| io::Error::other("it has no output"))?;
        let unwanted = Arc::new(AtomicBool::new(false));
        let flag = unwanted.clone();
        let supervisor = thread::spawn(move || supervise(&mut child, limit, || flag.load(Ordering::Relaxed)));
        Ok((output, Watched { unwanted, supervisor }))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Nobody knows it.
    pub fn end(self) -> io::Result<End> {
        let end = self.supervisor.join();
        end.unwrap_or_else(|_| Err(io::Error::other("nobody knows how the process ended")))
    }

    /// Kills it, unless it has ended by itself.
    ///
    /// # Errors
    /// As of [`Watched::end`].
    pub fn stop(self) -> io::Result<End> {
        self.unwanted.store(true, Ordering::Relaxed);
        self.end()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_a_process_says_and_how_it_ends_is_told() {
        let mut command = shell("echo one; echo two >&2; exit 3");
        let (status, output, errors) = match watch(&mut command, Patience::ENDLESS) {
            Ok(Fate::Ended { status, output, errors }) => (status, output, errors),
            other => panic!("{other:?}"),
        };
        assert_eq!((output.as_str(), errors.as_str()), ("one\n", "two\n"));
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn one_that_takes_too_long_is_ended_though_it_says_nothing_more() {
        let mut command = shell("exec sleep 60 >&- 2>&-");
        let watched = watch(&mut command, Patience::of(Duration::from_millis(20)));
        assert!(matches!(watched, Ok(Fate::Late)), "{watched:?}");
    }

    #[test]
    fn an_interrupt_ends_one() {
        let interrupted = AtomicBool::new(true);
        let patience = Patience {
            limit: LONG,
            interrupted: Some(&interrupted),
        };
        let watched = watch(&mut shell("exec sleep 60"), patience);
        assert!(matches!(watched, Ok(Fate::Interrupted)), "{watched:?}");
    }

    #[test]
    fn the_tether_of_one_is_there_until_it_is_let_go_and_is_nobody_elses() {
        let told = format!("test \"${{{TETHER}+set}}\" = set && exec cat");
        let mut child = start(&mut shell(&told)).expect("there is a shell");
        assert!(child.try_wait().expect("a child").is_none(), "it goes on");
        drop(child.stdin.take());
        let end = supervise(&mut child, LONG, || false).expect("a child");
        assert_eq!(end.code(), Some(0));
        let other = itself();
        let is_taken_away = |(name, value): (&OsStr, Option<&OsStr>)| name == TETHER && value.is_none();
        assert!(other.get_envs().any(is_taken_away), "{other:?}");
    }

    #[test]
    fn what_cannot_be_started_is_an_error() {
        assert!(watch(&mut Command::new("/nowhere/orrery-sim"), Patience::ENDLESS).is_err());
    }

    #[test]
    fn one_that_is_read_ends_by_itself_or_when_its_time_is_up_or_when_nobody_wants_it() {
        let sleeping = |seconds: &str, limit: Duration| {
            let started = Watched::start(Command::new("sleep").arg(seconds), limit);
            started.expect("there is sleep").1
        };
        let end = |watched: Watched| watched.end().expect("a child");
        assert_eq!(end(sleeping("0", LONG)).code(), Some(0));
        assert_eq!(end(sleeping("60", Duration::from_millis(1))), End::Late);
        assert_eq!(sleeping("60", LONG).stop().expect("a child"), End::Unwanted);
    }
}
