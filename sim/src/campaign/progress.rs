//! How a campaign stands, while it runs: a bar on a terminal, lines elsewhere, both on standard error. What is found
//! goes to standard output.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Without a terminal a line is written so often.
const LINE: Duration = Duration::from_secs(10);

/// See the module.
pub struct Progress {
    bar: Option<ProgressBar>,
    total: Option<u64>,
    started: Instant,
    last: Cell<Instant>,
}

impl Progress {
    /// Of so many runs, if that is known.
    pub fn new(total: Option<u64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let (bar, style) = match total {
                Some(total) => (
                    ProgressBar::new(total),
                    "{bar:24} {pos}/{len} runs, {per_sec}, {msg}, {eta} left",
                ),
                None => (ProgressBar::no_length(), "{spinner} {pos} runs, {per_sec}, {msg}"),
            };
            bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let started = Instant::now();
        Progress {
            bar,
            total,
            started,
            last: Cell::new(started),
        }
    }

    /// Says what was found.
    pub fn say(&self, text: &str) {
        match &self.bar {
            // Both may be on the same terminal.
            Some(bar) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }

    /// So many are done; `line` says how things stand.
    pub fn step(&self, done: u64, line: impl FnOnce() -> String) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(line());
                bar.set_position(done);
            }
            None if self.last.get().elapsed() >= LINE => {
                self.last.set(Instant::now());
                let rate = done as f64 / self.elapsed().as_secs_f64().max(1e-9);
                let of = self.total.map_or_else(String::new, |total| format!("/{total}"));
                eprintln!("{done}{of} runs, {rate:.2} runs/s, {}", line());
            }
            None => {}
        }
    }

    /// How long it has been.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
