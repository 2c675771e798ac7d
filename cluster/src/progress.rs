//! What a long command says while it works: one line a step, with the time it took.

use std::io::Write as _;
use std::time::Instant;

/// Says steps on standard output. A closed output is no reason to stop.
pub struct Progress {
    since: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Progress { since: Instant::now() }
    }
}

impl Progress {
    /// Says that something is done.
    pub fn done(&self, what: &str) {
        say(&format!("{:>6.2} s  {what}", self.since.elapsed().as_secs_f64()));
    }
}

/// Says a line.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}
