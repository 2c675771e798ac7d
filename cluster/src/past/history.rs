//! What a store held and when: a line of JSON for each transaction, after one that says when it all began.
//!
//! Moments are counted from the beginning of the recording.

use std::io::BufRead;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

/// The first line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Beginning {
    /// What was recorded, for people.
    title: String,
    /// What the clocks showed at the beginning.
    begins: Timestamp,
}

/// A transaction.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// When, in nanoseconds.
    pub at: u64,
    /// The revision that it made.
    pub revision: u64,
    /// The keys it wrote, with their new values; none for those it deleted.
    pub changes: Vec<(String, Option<String>)>,
}

/// A recording.
#[derive(Debug)]
pub struct History {
    /// What was recorded.
    pub title: String,
    /// What the clocks showed at its beginning.
    pub begins: Timestamp,
    /// Everything that was written, in order.
    pub written: Vec<Written>,
}

impl History {
    /// Reads a recording. The error says which line is wrong.
    pub fn read(input: impl BufRead) -> Result<Self, String> {
        let mut lines = input.lines().enumerate().map(|(index, line)| {
            let number = index + 1;
            line.map(|text| (number, text))
                .map_err(|error| format!("line {number}: {error}"))
        });
        let (_, first) = lines.next().ok_or("it is empty")??;
        let Beginning { title, begins } = serde_json::from_str(&first).map_err(|error| format!("line 1: {error}"))?;
        let mut written: Vec<Written> = Vec::new();
        for line in lines {
            let (number, text) = line?;
            let next: Written = serde_json::from_str(&text).map_err(|error| format!("line {number}: {error}"))?;
            let last = written.last().map(|last| (last.revision, last.at));
            if last.is_some_and(|(revision, at)| next.revision != revision + 1 || next.at < at) {
                return Err(format!("line {number}: it does not follow the line before"));
            }
            written.push(next);
        }
        Ok(History { title, begins, written })
    }

    /// How many of the transactions there had been at `moment`.
    pub fn until(&self, moment: Duration) -> usize {
        self.written
            .partition_point(|written| u128::from(written.at) <= moment.as_nanos())
    }

    /// The moment of the transaction `index`.
    pub fn moment(&self, index: usize) -> Option<Duration> {
        self.written.get(index).map(|written| Duration::from_nanos(written.at))
    }

    /// What the clocks showed at `moment`.
    pub fn clock(&self, moment: Duration) -> Timestamp {
        self.begins.checked_add(moment).unwrap_or(self.begins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDING: &str = r#"{"title":"web","begins":"2026-01-01T00:00:00Z"}
{"at":1000000000,"revision":2,"changes":[["/a","1"]]}
{"at":1000000000,"revision":3,"changes":[["/b","1"],["/a",null]]}
{"at":3500000000,"revision":4,"changes":[["/a","2"]]}
"#;

    #[test]
    fn a_moment_has_everything_written_until_then() {
        let history = History::read(RECORDING.as_bytes()).expect("it is right");
        let counts: Vec<usize> = [0, 999, 1000, 3499, 3500, 9000]
            .map(|millis| history.until(Duration::from_millis(millis)))
            .to_vec();
        assert_eq!(counts, [0, 0, 2, 2, 3, 3]);
        assert_eq!(
            history.clock(Duration::from_millis(3500)).to_string(),
            "2026-01-01T00:00:03.5Z"
        );
    }

    #[test]
    fn a_recording_with_a_gap_is_refused_with_its_line() {
        let gap = RECORDING.replace("\"revision\":4", "\"revision\":5");
        let error = History::read(gap.as_bytes()).expect_err("a revision is missing");
        assert_eq!(error, "line 4: it does not follow the line before");
        let torn = &RECORDING[..RECORDING.len() - 9];
        assert!(History::read(torn.as_bytes()).expect_err("torn").starts_with("line 4:"));
        assert_eq!(History::read(&b""[..]).expect_err("nothing"), "it is empty");
    }
}
