//! What is wrong with a scenario, and where.

use std::fmt;

use super::nearest;

/// What is wrong with a scenario, and where: `file:line:column: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The file.
    pub file: String,
    /// Line and column, from one, where known.
    pub at: Option<(usize, usize)>,
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

    /// An error found after reading, about `word` in `source`: its first place outside of comments.
    pub fn about(file: &str, source: &str, word: &str, message: impl Into<String>) -> Self {
        Error {
            file: file.to_owned(),
            at: locate(source, word),
            message: message.into(),
        }
    }

    /// An error found after reading, about `word` in the entry of this number of a list at the margin: `workload`.
    pub fn about_entry(
        file: &str,
        source: &str,
        (list, index): (&str, usize),
        word: &str,
        message: impl Into<String>,
    ) -> Self {
        let line = entry_line(source, list, index).unwrap_or(1);
        // What stands in a file of its own is told with the entry that names the file.
        let entry = || {
            let column = source
                .lines()
                .nth(line - 1)?
                .find(|letter| letter != ' ' && letter != '-')?;
            Some((line, column + 1))
        };
        Error {
            file: file.to_owned(),
            at: locate_from(source, line, word).or_else(entry),
            message: message.into(),
        }
    }

    /// An error of the reader.
    pub fn of_yaml(file: &str, source: &str, error: &serde_yaml::Error) -> Self {
        let text = error.to_string();
        // The position stands in the prefix of the line; the rest says the path and what is wrong.
        let text = match text.rfind(" at line ") {
            Some(end) => text[..end].to_owned(),
            None => text,
        };
        let unknown = unknown_word(&text);
        let mut at = error.location().map(|location| (location.line(), location.column()));
        // What a whole entry is refused for is a word in it, which the message quotes.
        let word = unknown
            .as_ref()
            .map(|(word, _)| word.as_str())
            .or_else(|| text.split('"').nth(1));
        if let Some(word) = word
            && let Some(exact) = locate_from(source, at.map_or(1, |(line, _)| line), word)
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

/// The line, from 1, at which an entry of a list begins, or the list's own if its entries have no lines of their own.
fn entry_line(source: &str, list: &str, index: usize) -> Option<usize> {
    let key = format!("{list}:");
    let mut lines = source.lines().enumerate();
    let (head, _) = lines.find(|(_, line)| line.starts_with(&key))?;
    let mut margin = None;
    let mut entries = lines
        .take_while(|(_, line)| line.is_empty() || line.starts_with([' ', '-', '#']))
        .filter(|(_, line)| {
            let entry = line.trim_start();
            // Deeper ones are parts of an entry.
            (entry.starts_with("- ") || entry == "-") && {
                let indent = line.len() - entry.len();
                *margin.get_or_insert(indent) == indent
            }
        });
    Some(entries.nth(index).map_or(head, |(number, _)| number) + 1)
}

/// The first place of `word` outside of comments.
fn locate(source: &str, word: &str) -> Option<(usize, usize)> {
    locate_from(source, 1, word)
}

/// The first place of `word` as a whole word, outside of comments, from `line` on or else from the beginning.
fn locate_from(source: &str, line: usize, word: &str) -> Option<(usize, usize)> {
    let place = |(number, text): (usize, &str)| {
        let text = text.split(" #").next().unwrap_or_default();
        if text.trim_start().starts_with('#') {
            return None;
        }
        text.match_indices(word).find_map(|(at, _)| {
            let part = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '_';
            let whole = !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part);
            whole.then(|| (number + 1, text[..at].chars().count() + 1))
        })
    };
    source
        .lines()
        .enumerate()
        .skip(line.saturating_sub(1))
        .find_map(place)
        .or_else(|| source.lines().enumerate().find_map(place))
}
