//! What a store held and when: a line of JSON for each transaction, between one that says when it all began and one
//! that says when it ended, which one of a run that panicked lacks.
//!
//! Moments are counted from the beginning of the recording.

use std::io::BufRead;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use orrery_apiserver::{CustomResource, CustomResourceDefinition, Kinds};
use serde::Deserialize;

/// The first line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Beginning {
    /// What was recorded, for people.
    title: String,
    /// What the clocks showed at the beginning.
    begins: Timestamp,
    /// The custom kinds that were served.
    #[serde(default)]
    custom: Vec<CustomResourceDefinition>,
}

/// The last line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ended {
    /// When, in nanoseconds.
    ended: u64,
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
pub struct History {
    /// What was recorded.
    pub title: String,
    /// What the clocks showed at its beginning.
    pub begins: Timestamp,
    /// The kinds that were served.
    pub kinds: Kinds,
    /// Everything that was written, in order.
    pub written: Vec<Written>,
    /// When it ended: nothing is known of later moments.
    pub end: Duration,
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
        let wrong = |error: String| format!("line 1: {error}");
        let Beginning { title, begins, custom } =
            serde_json::from_str(&first).map_err(|error| wrong(error.to_string()))?;
        let custom: Result<Vec<CustomResource>, String> = custom.iter().map(CustomResource::new).collect();
        let kinds = custom.and_then(Kinds::with).map_err(wrong)?;
        let mut written: Vec<Written> = Vec::new();
        let mut end: Option<Duration> = None;
        for line in lines {
            let (number, text) = line?;
            if end.is_some() {
                return Err(format!("line {number}: it comes after the end"));
            }
            if let Ok(Ended { ended }) = serde_json::from_str(&text) {
                if written.last().is_some_and(|last| ended < last.at) {
                    return Err(format!("line {number}: it ended before its last write"));
                }
                end = Some(Duration::from_nanos(ended));
                continue;
            }
            let next: Written = serde_json::from_str(&text).map_err(|error| format!("line {number}: {error}"))?;
            let last = written.last().map(|last| (last.revision, last.at));
            if last.is_some_and(|(revision, at)| next.revision != revision + 1 || next.at < at) {
                return Err(format!("line {number}: it does not follow the line before"));
            }
            written.push(next);
        }
        let last = written.last().map(|last| Duration::from_nanos(last.at));
        let end = end.or(last).unwrap_or_default();
        Ok(History {
            title,
            begins,
            kinds,
            written,
            end,
        })
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
{"ended":5000000000}
"#;

    #[test]
    fn a_moment_has_everything_written_until_then() {
        let history = History::read(RECORDING.as_bytes()).expect("it is right");
        let counts: Vec<usize> = [0, 999, 1000, 3499, 3500, 9000]
            .map(|millis| history.until(Duration::from_millis(millis)))
            .to_vec();
        assert_eq!(counts, [0, 0, 2, 2, 3, 3]);
        assert_eq!(history.end, Duration::from_secs(5));
        let (panicked, _) = RECORDING.split_once("{\"ended\"").expect("it has an end");
        let history = History::read(panicked.as_bytes()).expect("it is right");
        assert_eq!(history.end, Duration::from_millis(3500));
        assert_eq!(
            history.clock(Duration::from_millis(3500)).to_string(),
            "2026-01-01T00:00:03.5Z"
        );
    }

    #[test]
    fn custom_kinds_are_served_as_they_were() {
        let custom = r#""custom":[{"group":"example.com","version":"v1","kind":"Website","plural":"websites","singular":"website","namespaced":true}]"#;
        let recording = RECORDING.replacen('}', &format!(",{custom}}}"), 1);
        let history = History::read(recording.as_bytes()).expect("it is right");
        assert!(history.kinds.find("example.com", "v1", "websites").is_some());
        let wrong = recording.replace("example.com", "no group");
        assert!(
            History::read(wrong.as_bytes())
                .err()
                .is_some_and(|why| why.starts_with("line 1: the group"))
        );
    }

    #[test]
    fn a_recording_with_a_gap_is_refused_with_its_line() {
        let gap = RECORDING.replace("\"revision\":4", "\"revision\":5");
        let error = |text: &[u8]| History::read(text).err().unwrap_or_default();
        assert_eq!(error(gap.as_bytes()), "line 4: it does not follow the line before");
        let (whole, _) = RECORDING.split_once("{\"ended\"").expect("it has an end");
        let torn = &whole[..whole.len() - 9];
        assert!(error(torn.as_bytes()).starts_with("line 4:"));
        let early = RECORDING.replace("5000000000", "3000000000");
        assert_eq!(error(early.as_bytes()), "line 5: it ended before its last write");
        let more = format!("{RECORDING}{{\"ended\":6000000000}}\n");
        assert_eq!(error(more.as_bytes()), "line 6: it comes after the end");
        assert_eq!(error(b""), "it is empty");
    }
}
