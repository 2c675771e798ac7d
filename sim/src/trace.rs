//! What happened in a run: events in order, hashed as they come, perhaps written to a file, the last ones remembered.
//!
//! An event is (simulated time, actor, what). Everything that enters must be a function of (build, scenario, seed): no
//! addresses, no task ids, no real time. Traces are compared between processes, see `command::verify`.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::fingerprint::Fingerprint;
use crate::history::History;
use crate::recording::Recorder;

/// So many events of each actor are remembered for reports.
const REMEMBERED: usize = 12;

/// Whose events are recorded as text; what others do is recorded with its meaning, where it happens.
const TOLD: [&str; 2] = ["fault", "disk"];

/// The trace of one run.
pub struct Trace {
    inner: Mutex<Inner>,
    /// Takes down what happened in a form that can be explained; off unless somebody wants it.
    pub recorder: Recorder,
}

struct Inner {
    hash: Fingerprint,
    events: u64,
    line: String,
    recent: FxHashMap<String, VecDeque<(Duration, String)>>,
    output: Option<Box<dyn Write + Send>>,
    failure: Option<String>,
    history: Option<History>,
    verbose: bool,
}

impl Trace {
    /// A trace that also goes to `output`, one line an event; `verbose` shows what components say on standard error.
    pub fn new(output: Option<Box<dyn Write + Send>>, verbose: bool) -> Self {
        Trace {
            inner: Mutex::new(Inner {
                hash: Fingerprint::default(),
                events: 0,
                line: String::new(),
                recent: FxHashMap::default(),
                output,
                failure: None,
                history: None,
                verbose,
            }),
            recorder: Recorder::default(),
        }
    }

    /// The same trace, with a recorder beside it.
    pub fn with_recorder(self, recorder: Recorder) -> Self {
        Trace { recorder, ..self }
    }

    /// Writes down in `history` what the store holds.
    pub fn with_history(self, history: Option<History>) -> Self {
        self.lock().history = history;
        self
    }

    /// The store wrote a key; `value` is none if it was deleted.
    pub fn wrote(&self, now: Duration, revision: u64, key: &str, value: Option<&bytes::Bytes>) {
        if let Some(history) = &mut self.lock().history {
            history.add(now, revision, key, value);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event of `actor` at `now`.
    pub fn event(&self, now: Duration, actor: &str, what: fmt::Arguments<'_>) {
        self.lock().add(now, actor, what);
        if self.recorder.is_on() && TOLD.contains(&actor) {
            self.recorder.said(now, actor, &what.to_string());
        }
    }

    /// Adds what a component says, and shows it if the run is verbose.
    pub fn say(&self, now: Duration, actor: &str, what: fmt::Arguments<'_>) {
        if self.recorder.is_on() {
            self.recorder.said(now, actor, &what.to_string());
        }
        let mut inner = self.lock();
        inner.add(now, actor, format_args!("says {what}"));
        if inner.verbose {
            eprintln!("{:>12.6} {actor}: {what}", now.as_secs_f64());
        }
    }

    /// Mixes bytes into the hash without making an event of them: the content behind an event.
    pub fn content(&self, bytes: &[u8]) {
        self.lock().hash.add(bytes);
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> Fingerprint {
        self.lock().hash
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.lock().events
    }

    /// The last events of the actors whose name `wanted` accepts, in the order of their time.
    pub fn recent(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let inner = self.lock();
        let actors = inner.recent.iter().filter(|(actor, _)| wanted(actor));
        let mut found: Vec<(Duration, &str, &str)> = actors
            .flat_map(|(actor, events)| events.iter().map(move |(at, what)| (*at, &**actor, &**what)))
            .collect();
        // Of one moment in the order of the actors; those of one actor are in order.
        found.sort_by_key(|(at, actor, _)| (*at, *actor));
        let line = |(at, actor, what): (Duration, &str, &str)| format!("{:>12.6} {actor}: {what}", at.as_secs_f64());
        found.into_iter().map(line).collect()
    }

    /// Finishes the outputs of a run that ends now; which of them could not be written, and why, if so.
    pub fn finish(&self, now: Duration) -> Result<(), String> {
        let mut inner = self.lock();
        // What tasks say when they are dropped is no part of the run.
        let flushed = match inner.output.take() {
            Some(mut output) => output.flush().map_err(|error| error.to_string()),
            None => Ok(()),
        };
        let traced = inner.failure.take().map_or(flushed, Err);
        let kept = match &mut inner.history {
            Some(history) => history.finish(now),
            None => Ok(()),
        };
        traced
            .map_err(|why| format!("the trace cannot be written: {why}"))
            .and(kept.map_err(|why| format!("the history of the store cannot be written: {why}")))
    }
}

impl Inner {
    fn add(&mut self, now: Duration, actor: &str, what: fmt::Arguments<'_>) {
        self.line.clear();
        let _ = write!(self.line, "{what}");
        self.events += 1;
        self.hash.add_number(now.as_nanos() as u64);
        self.hash.add(actor.as_bytes());
        self.hash.add(self.line.as_bytes());
        if let Some(output) = &mut self.output {
            let text = self.line.replace('\n', "\\n");
            let written = writeln!(
                output,
                "{}.{:09} {actor}: {text} [{}]",
                now.as_secs(),
                now.subsec_nanos(),
                self.hash
            );
            if let Err(error) = written {
                self.failure = Some(error.to_string());
                self.output = None;
            }
        }
        if !self.recent.contains_key(actor) {
            self.recent
                .insert(actor.to_owned(), VecDeque::with_capacity(REMEMBERED));
        }
        if let Some(recent) = self.recent.get_mut(actor) {
            // The oldest one's buffer is used again: a run has millions of events.
            let mut text = if recent.len() == REMEMBERED {
                recent.pop_front().map(|(_, text)| text).unwrap_or_default()
            } else {
                String::new()
            };
            text.clear();
            text.push_str(&self.line);
            recent.push_back((now, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_events_hash_equally_and_the_last_ones_are_remembered() {
        let (one, other) = (Trace::new(None, false), Trace::new(None, false));
        for number in 0..40 {
            one.event(Duration::from_secs(number), "scheduler", format_args!("step {number}"));
            other.event(Duration::from_secs(number), "scheduler", format_args!("step {number}"));
        }
        assert_eq!(one.hash(), other.hash());
        other.event(Duration::from_secs(40), "proxy", format_args!("more"));
        assert_ne!(one.hash(), other.hash());
        let recent = other.recent(|actor| actor == "scheduler");
        assert_eq!(recent.len(), REMEMBERED);
        assert!(recent[0].ends_with("step 28"), "{recent:?}");
    }
}
