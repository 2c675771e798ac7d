//! Runs inputs, each in a process of its own, exactly as its replay will: what runs share within a process would shift
//! them.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::Input;
use super::Summary;
use crate::exit;

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
    /// Somebody wants it to end.
    pub interrupted: Arc<AtomicBool>,
}

impl Limits {
    fn is_over(&self, failures: u64) -> bool {
        self.interrupted.load(Ordering::Relaxed)
            || self.failures.is_some_and(|most| failures >= most)
            || self.until.is_some_and(|end| Instant::now() >= end)
    }
}

/// Runs what `source` gives, `jobs` at once, and gives each result to `each` as it comes; an error of it ends all.
///
/// # Errors
/// That of `each`, or of the source.
pub fn run_all(
    source: &mut dyn Source,
    jobs: usize,
    limits: &Limits,
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
                    let summary = in_process(&input, limits.run);
                    if summary.without_outcome && limits.interrupted.load(Ordering::Relaxed) {
                        // It was interrupted, too.
                        return;
                    }
                    failures.fetch_add(u64::from(summary.code != exit::HELD), Ordering::Relaxed);
                    let learned = lock(source).learn(&input, &summary);
                    if sender.send((input, summary, learned)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (input, summary, learned) in receiver {
            if let Err(error) = each(input, summary).and(learned) {
                given_up.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    })
}

fn lock<'a, 'b, T: ?Sized>(mutex: &'a Mutex<&'b mut T>) -> MutexGuard<'a, &'b mut T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one input in a process of its own, for no longer than `limit`.
pub fn in_process(input: &Input, limit: Duration) -> Summary {
    match std::env::current_exe() {
        Ok(own) => in_process_of(&own, input, limit),
        Err(error) => Summary::died(input, &error.to_string()),
    }
}

/// Runs one input in a process of `program`, which may be built with other features.
pub fn in_process_of(program: &Path, input: &Input, limit: Duration) -> Summary {
    let child = Command::new(program)
        .args(input.arguments())
        .arg("--json")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Summary::died(input, &error.to_string()),
    };
    let Some((text, said)) = listen(&mut child, limit) else {
        return Summary::endless(input, limit);
    };
    let summary = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
    let status = child.wait();
    summary.unwrap_or_else(|| match status {
        Ok(status) if status.code() == Some(exit::WRONG.into()) => {
            Summary::refused(input, error_in(&said).unwrap_or("its process refused it"))
        }
        status => {
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            Summary::died(input, &format!("{how}; {}", said.lines().last().unwrap_or_default()))
        }
    })
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
}
