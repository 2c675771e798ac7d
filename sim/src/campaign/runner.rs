//! Runs inputs, each in a process of its own, exactly as its replay will: what runs share within a process would shift
//! them.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::Input;
use super::Summary;
use crate::child::{self, Fate, Patience};
use crate::exit;

/// For so long it is waited whether what ended a process reaches this one, too.
const GRACE: Duration = Duration::from_millis(100);

/// Where inputs come from, and what is learned from their runs.
pub trait Source: Send {
    /// The next input; none when all are done.
    fn next(&mut self) -> Option<Input>;

    /// Learns from a run. With one job it is told of each before it is asked for the next.
    ///
    /// # Errors
    /// What was learned cannot be kept; in words.
    fn learn(&mut self, _input: &Input, _summary: &Summary) -> Result<(), String> {
        Ok(())
    }
}

/// Inputs that do not depend on what came of others.
pub struct Listed<I>(pub I);

impl<I: Iterator<Item = Input> + Send> Source for Listed<I> {
    fn next(&mut self) -> Option<Input> {
        self.0.next()
    }
}

/// When a campaign ends before its inputs do.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// No run may take longer.
    pub run: Duration,
    /// After so many failures.
    pub failures: Option<u64>,
    /// At this moment.
    pub until: Option<Instant>,
    /// Raised when somebody wants it to end: then the runs that are under way are ended, and are none.
    pub interrupted: Option<Arc<AtomicBool>>,
}

impl Limits {
    fn is_over(&self, failures: u64) -> bool {
        self.is_interrupted()
            || self.failures.is_some_and(|most| failures >= most)
            || self.until.is_some_and(|end| Instant::now() >= end)
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted
            .as_ref()
            .is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// How long a run is waited for.
    pub(crate) fn patience(&self) -> Patience<'_> {
        Patience {
            limit: self.run,
            interrupted: self.interrupted.as_deref(),
        }
    }
}

/// Runs what `source` gives, `jobs` at once, and gives each result to `each` as it comes; an error of it ends all.
///
/// # Errors
/// That of `each`, or of the source; or no process can be started, in words.
pub fn run_all(
    source: &mut dyn Source,
    jobs: usize,
    limits: &Limits,
    each: impl FnMut(Input, Summary) -> Result<(), String>,
) -> Result<(), String> {
    run_all_prepared(source, jobs, limits, &|_: &Input| Ok(()), each)
}

/// Does what [`run_all`] does; before each run `prepare` does what shall not take of its time, or says why the run
/// cannot be played.
///
/// # Errors
/// As of [`run_all`].
pub fn run_all_prepared(
    source: &mut dyn Source,
    jobs: usize,
    limits: &Limits,
    prepare: &(dyn Fn(&Input) -> Result<(), String> + Sync),
    each: impl FnMut(Input, Summary) -> Result<(), String>,
) -> Result<(), String> {
    let play = |input: &Input| {
        let prepared = prepare(input);
        if limits.is_interrupted() {
            return Ok(None);
        }
        if let Err(why) = prepared {
            return Ok(Some(Summary::refused(input, why.trim_end())));
        }
        in_child(child::itself(), input, limits.patience())
    };
    play_all(source, jobs, limits, &play, each)
}

/// Does what [`run_all`] does with runs that `play` plays: it gives nothing for one that was interrupted, and an error,
/// which ends all, for one that could not be begun.
fn play_all(
    source: &mut dyn Source,
    jobs: usize,
    limits: &Limits,
    play: &(impl Fn(&Input) -> Result<Option<Summary>, String> + Sync),
    mut each: impl FnMut(Input, Summary) -> Result<(), String>,
) -> Result<(), String> {
    let source = Mutex::new(source);
    let failures = AtomicU64::new(0);
    let given_up = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (sender, source, failures, given_up) = (sender.clone(), &source, &failures, &given_up);
            scope.spawn(move || {
                while !given_up.load(Ordering::Relaxed) && !limits.is_over(failures.load(Ordering::Relaxed)) {
                    let Some(input) = lock(source).next() else { return };
                    let summary = match play(&input) {
                        Ok(Some(summary)) => summary,
                        Ok(None) => return,
                        Err(error) => {
                            given_up.store(true, Ordering::Relaxed);
                            // Where nobody listens any more there is an error already.
                            let _ = sender.send(Err(error));
                            return;
                        }
                    };
                    failures.fetch_add(u64::from(summary.code != exit::HELD), Ordering::Relaxed);
                    let learned = lock(source).learn(&input, &summary);
                    if sender.send(Ok((input, summary, learned))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut result = Ok(());
        for played in receiver {
            match played {
                Ok((input, summary, learned)) => {
                    if let Err(error) = each(input, summary).and(learned) {
                        given_up.store(true, Ordering::Relaxed);
                        return Err(error);
                    }
                }
                // The first one is told; and what the others had under way counts.
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    })
}

fn lock<'a, 'b, T: ?Sized>(mutex: &'a Mutex<&'b mut T>) -> MutexGuard<'a, &'b mut T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one input in a process of its own, for no longer than `limit`.
pub fn in_process(input: &Input, limit: Duration) -> Summary {
    alone(child::itself(), input, Patience::of(limit))
}

/// Runs one input in a process of `program`, which may be built with other features, while there is patience.
pub fn in_process_of(program: &Path, input: &Input, patience: Patience<'_>) -> Summary {
    alone(Command::new(program), input, patience)
}

/// Runs one input that is no campaign's; one that was interrupted, or whose process cannot be started, was not played.
fn alone(program: Command, input: &Input, patience: Patience<'_>) -> Summary {
    in_child(program, input, patience)
        .and_then(|summary| summary.ok_or_else(|| "it was interrupted".to_owned()))
        .unwrap_or_else(|why| Summary::refused(input, &why))
}

/// Runs one input in a process of `program`; nothing came of it if it was interrupted.
///
/// # Errors
/// No process can be started; in words.
fn in_child(mut program: Command, input: &Input, patience: Patience<'_>) -> Result<Option<Summary>, String> {
    program.args(input.arguments()).arg("--json");
    let (status, output, errors) = match child::watch(&mut program, patience) {
        Ok(Fate::Ended { status, output, errors }) => (status, output, errors),
        Ok(Fate::Late) => return Ok(Some(Summary::endless(input, patience.limit))),
        Ok(Fate::Interrupted) => return Ok(None),
        Err(error) => return Err(format!("cannot start a process for a run: {error}")),
    };
    let summary = output.lines().last().and_then(|line| serde_json::from_str(line).ok());
    if summary.is_some() {
        return Ok(summary);
    }
    if let Some(interrupted) = patience.interrupted {
        // An interrupt on a terminal may reach that process a little sooner than this one.
        std::thread::sleep(GRACE);
        if interrupted.load(Ordering::Relaxed) {
            return Ok(None);
        }
    }
    Ok(Some(match status.code() == Some(exit::WRONG.into()) {
        true => Summary::refused(input, error_in(&errors).unwrap_or("its process refused it")),
        false => {
            let last = errors.lines().last().unwrap_or_default();
            Summary::died(input, &format!("{status}; {last}"))
        }
    }))
}

/// What a process says was wrong: all from its line of error on.
fn error_in(said: &str) -> Option<&str> {
    const ERROR: &str = "error: ";
    let from = if said.starts_with(ERROR) {
        0
    } else {
        said.find(&format!("\n{ERROR}"))? + 1
    };
    said[from..].strip_prefix(ERROR).map(str::trim_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_several_lines_is_told_whole_and_listed_by_its_first() {
        let why = error_in("warning: odd\nerror: no error: so\nit says\n  why\n").expect("an error");
        assert_eq!(why, "no error: so\nit says\n  why");
        assert_eq!(error_in("error: one\n"), Some("one"));
        assert_eq!(error_in("an error: none\n"), None);
        let summary = Summary::refused(&Input::new("a.yaml", 1), why);
        assert_eq!(summary.message, "no error: so");
        assert!(
            summary.text.starts_with("no error: so\nit says\n  why\nreplay: "),
            "{}",
            summary.text
        );
    }

    /// What of seeds 1 to 9 is told, one after the other, if this is what comes of each; and how it ends.
    fn told(play: impl Fn(&Input) -> Result<Option<Summary>, String> + Sync) -> (Vec<u64>, Result<(), String>) {
        let mut told = Vec::new();
        let mut source = Listed((1..=9).map(|seed| Input::new("a.yaml", seed)));
        let result = play_all(&mut source, 1, &Limits::default(), &play, |input, _| {
            told.push(input.seed);
            Ok(())
        });
        (told, result)
    }

    #[test]
    fn a_run_that_could_not_be_begun_ends_the_campaign_and_is_none() {
        let died = |input: &Input| Summary::died(input, "");
        let (seeds, result) = told(|input| match input.seed {
            3 => Err("no process".to_owned()),
            _ => Ok(Some(died(input))),
        });
        assert_eq!((seeds, result), (vec![1, 2], Err("no process".to_owned())));
        let (seeds, result) = told(|input| Ok((input.seed < 3).then(|| died(input))));
        assert_eq!((seeds, result), (vec![1, 2], Ok(())), "the third was interrupted");
    }

    #[test]
    fn a_program_that_is_not_there_has_played_nothing() {
        let input = Input::new("a.yaml", 1);
        let summary = in_process_of(Path::new("/nowhere/orrery-sim"), &input, Patience::ENDLESS);
        assert_eq!((summary.code, summary.kind.as_str()), (exit::WRONG, "not played"));
        let why = "cannot start a process for a run: ";
        assert!(summary.message.starts_with(why), "{}", summary.message);
    }

    #[test]
    fn who_dies_while_all_are_interrupted_has_not_failed() {
        let input = Input::new("a.yaml", 1);
        for is_interrupted in [false, true] {
            let interrupted = AtomicBool::new(is_interrupted);
            let patience = Patience {
                limit: Duration::from_secs(60),
                interrupted: Some(&interrupted),
            };
            let played = in_child(Command::new("false"), &input, patience).expect("a process was started");
            let kind = played.map(|summary| summary.kind);
            assert_eq!(kind, (!is_interrupted).then(|| "the process died".to_owned()));
        }
    }
}
