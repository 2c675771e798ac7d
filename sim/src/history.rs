//! What the store held and when, for looking into a run afterwards: a line of JSON for each transaction.
//!
//! The format is that of `orrery past` (see `cluster/src/past/history.rs`), which serves it.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::jiff::Timestamp;
use orrery_apiserver::CustomResourceDefinition;
use serde::Serialize;

use orrery_play::vocabulary;

/// Writes a history.
pub struct History {
    output: Box<dyn Write + Send>,
    /// The transaction that may not be complete yet.
    open: Option<Written>,
    failure: Option<String>,
}

#[derive(Serialize)]
struct Beginning<'a> {
    title: &'a str,
    begins: Timestamp,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    custom: &'a [CustomResourceDefinition],
}

/// The last line: when the run ended, in nanoseconds.
#[derive(Serialize)]
struct Ended {
    ended: u64,
}

#[derive(Serialize)]
struct Written {
    at: u64,
    revision: u64,
    changes: Vec<(String, Option<String>)>,
}

impl History {
    /// A history called `title`, which begins when the clocks show `begins`.
    pub fn new(output: Box<dyn Write + Send>, title: &str, begins: Timestamp) -> Self {
        let mut history = History {
            output,
            open: None,
            failure: None,
        };
        let custom = &vocabulary().definitions;
        history.line(&Beginning { title, begins, custom });
        history
    }

    /// Adds the write of a key; `value` is none if it was deleted. Writes come in the order of their revisions.
    pub fn add(&mut self, now: Duration, revision: u64, key: &str, value: Option<&Bytes>) {
        let value = match value.map(|bytes| std::str::from_utf8(bytes)).transpose() {
            Ok(value) => value.map(str::to_owned),
            Err(error) => {
                self.failure
                    .get_or_insert(format!("the value of {key} at revision {revision} is no text: {error}"));
                return;
            }
        };
        let change = (key.to_owned(), value);
        match &mut self.open {
            Some(open) if open.revision == revision => open.changes.push(change),
            open => {
                let next = Written {
                    at: now.as_nanos() as u64,
                    revision,
                    changes: vec![change],
                };
                if let Some(complete) = open.replace(next) {
                    self.line(&complete);
                }
            }
        }
    }

    /// Writes what is left of a run that ends now. The error says why the history is not complete.
    pub fn finish(&mut self, now: Duration) -> Result<(), String> {
        if let Some(complete) = self.open.take() {
            self.line(&complete);
        }
        // What is not complete does not look so.
        if self.failure.is_none() {
            let ended = now.as_nanos() as u64;
            self.line(&Ended { ended });
        }
        if let Err(error) = self.output.flush() {
            self.failure.get_or_insert(error.to_string());
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    fn line(&mut self, value: &impl Serialize) {
        let written = serde_json::to_writer(&mut self.output, value)
            .map_err(std::io::Error::other)
            .and_then(|()| self.output.write_all(b"\n"));
        if let Err(error) = written {
            self.failure.get_or_insert(error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_keys_of_a_transaction_are_one_line() {
        let output = Shared::default();
        let begins = "2026-01-01T00:00:00Z".parse().expect("a time");
        let mut history = History::new(Box::new(output.clone()), "web", begins);
        let (one, value) = (Duration::from_secs(1), Bytes::from_static(b"{}"));
        history.add(one, 2, "/a", Some(&value));
        history.add(one, 3, "/b", Some(&value));
        history.add(one, 3, "/a", None);
        history.finish(2 * one).expect("complete");
        let text = String::from_utf8(output.0.lock().expect("not poisoned").clone()).expect("text");
        insta::assert_snapshot!(text, @r#"
        {"title":"web","begins":"2026-01-01T00:00:00Z"}
        {"at":1000000000,"revision":2,"changes":[["/a","{}"]]}
        {"at":1000000000,"revision":3,"changes":[["/b","{}"],["/a",null]]}
        {"ended":2000000000}
        "#);
    }

    #[test]
    fn what_is_no_text_is_said() {
        let begins = "2026-01-01T00:00:00Z".parse().expect("a time");
        let mut history = History::new(Box::new(std::io::sink()), "web", begins);
        history.add(Duration::ZERO, 2, "/a", Some(&Bytes::from_static(b"\xff")));
        let finished = history.finish(Duration::ZERO);
        assert!(finished.is_err_and(|why| why.contains("/a at revision 2")));
    }
}
