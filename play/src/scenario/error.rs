//! What is wrong with a scenario, and where.

use std::fmt;

use super::nearest;
use super::place::{self, Part, Place, Wrong};

/// What is wrong with a scenario, and where: `file:line:column: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The file.
    pub file: String,
    /// Line and column, from one, where known.
    pub at: Option<Place>,
    /// What is wrong.
    pub message: String,
}

impl Error {
    /// The error of `file` as a whole.
    pub fn of(file: &str, message: impl Into<String>) -> Self {
        Error {
            file: file.to_owned(),
            at: None,
            message: message.into(),
        }
    }

    /// An error found after reading, about a word in a part of `source`; about the part where the word is not in it.
    pub(super) fn about(file: &str, source: &str, wrong: Wrong) -> Self {
        let Wrong { path, words, why } = wrong;
        // What is not written is told with what it would stand in.
        let begins = (0..=path.len())
            .rev()
            .find_map(|length| place::place(source, &path[..length]));
        let end = place::end(source, &path);
        let mut word = None;
        for next in &words {
            let after = word.map_or(begins, |(line, column): Place| Some((line, column + 1)));
            let Some(found) = after.and_then(|after| place::find(source, next, after, end)) else {
                break;
            };
            word = Some(found);
        }
        Error {
            file: file.to_owned(),
            at: word.or(begins),
            message: why,
        }
    }

    /// An error found after reading, about `word` in the entry of this number of a list at the margin: `workload`.
    pub(super) fn about_entry(
        file: &str,
        source: &str,
        (list, index): (&'static str, usize),
        word: &str,
        message: impl Into<String>,
    ) -> Self {
        let wrong = Wrong {
            path: vec![Part::Key(list), Part::Index(index)],
            words: vec![word.to_owned()],
            why: message.into(),
        };
        Error::about(file, source, wrong)
    }

    /// An error of the reader.
    pub fn of_yaml(file: &str, source: &str, error: &serde_yaml::Error) -> Self {
        let text = error.to_string();
        // The position stands in the prefix of the line; the rest says the path and what is wrong.
        let text = match text.rfind(" at line ") {
            Some(end) => text[..end].to_owned(),
            None => text,
        };
        let mut at = error.location().map(|location| (location.line(), location.column()));
        let (mut until, mut is_entry) = (None, false);
        let text = match refused_entry(&text) {
            Some((list, index, why)) => {
                // The reader is done with an entry that is refused as a whole, and tells where the list begins.
                let path = [Part::Key(list), Part::Index(index)];
                at = place::place(source, &path);
                until = place::end(source, &path);
                is_entry = true;
                format!("{list}[{index}]: {why}")
            }
            None => text,
        };
        let unknown = unknown_word(&text);
        // What a whole entry is refused for is a word in it, which the message quotes, or one of its keys.
        let word = unknown
            .as_ref()
            .map(|(word, _)| word.as_str())
            .or_else(|| text.split('"').nth(1))
            .or_else(|| text.split('`').nth(1).filter(|_| is_entry));
        if let Some(word) = word
            && let Some(exact) = place::find(source, word, at.unwrap_or((1, 1)), until)
        {
            at = Some(exact);
        }
        let message = match unknown {
            Some((word, known)) if !known.is_empty() => {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let place = text.split_once(": unknown").map_or("", |(place, _)| place);
                let place = if place.is_empty() {
                    String::new()
                } else {
                    format!("{place}: ")
                };
                let what = if text.contains("unknown variant `") {
                    "value"
                } else {
                    "key"
                };
                format!("{place}unknown {what} {word:?}{}", nearest::hint(&word, &known))
            }
            _ => in_words(text),
        };
        Error {
            file: file.to_owned(),
            at,
            message,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for Error {}

/// Reads `faults: [2]: why`, as [entries](super::actions::entries) are refused: the list, the number, and why.
fn refused_entry(text: &str) -> Option<(&'static str, usize, &str)> {
    let (list, rest) = text.split_once(": [")?;
    let list = ["workload", "faults"].into_iter().find(|own| *own == list)?;
    let (index, why) = rest.split_once("]: ")?;
    Some((list, index.parse().ok()?, why))
}

/// Reads serde's "unknown field `x`, expected one of `a`, `b`": the word and what it could have been.
fn unknown_word(text: &str) -> Option<(String, Vec<String>)> {
    let start = text
        .find("unknown field `")
        .or_else(|| text.find("unknown variant `"))?;
    let mut quoted = text[start..].split('`').skip(1).step_by(2).map(str::to_owned);
    let word = quoted.next()?;
    Some((word, quoted.collect()))
}

/// An error of the reader with words of the format where serde has Rust's.
fn in_words(text: String) -> String {
    let Some((found, expected)) = text.rsplit_once(", expected ") else {
        return text;
    };
    let whole = |most: u64| format!("a whole number from 0 to {most}");
    let expected = match expected {
        "u16" => whole(u16::MAX.into()),
        "u32" => whole(u32::MAX.into()),
        "u64" => whole(u64::MAX),
        "i32" => "a whole number".to_owned(),
        "f64" => "a number".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "keys and values".to_owned(),
        expected if expected.starts_with("struct ") => "keys and values".to_owned(),
        _ => return text,
    };
    format!("{found}, expected {expected}")
}
