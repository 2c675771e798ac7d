//! Where in a file something stands: by the path of keys and numbers that leads to it, and by the word that is meant.
//!
//! What a scenario was read into knows no lines. So the file is walked once more, with a reader that refuses what
//! stands at the end of the path: the refusal has the place.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Line and column, from one.
pub type Place = (usize, usize);

/// A step of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What stands under this key.
    Key(&'static str),
    /// The key itself.
    Word(&'static str),
    /// The key that follows this one.
    After(&'static str),
    /// The entry of this number of a list.
    Index(usize),
}

/// What is wrong with a scenario beyond its types.
#[derive(Debug)]
pub struct Wrong {
    /// In which part of it.
    pub path: Vec<Part>,
    /// The word that it is about, after those that lead to it.
    pub words: Vec<String>,
    /// What is wrong.
    pub why: String,
}

/// Puts a word and what is wrong with it in its place; for `map_err`.
pub fn inside(path: &[Part]) -> impl Fn((String, String)) -> Wrong + '_ {
    |(word, why)| Wrong {
        path: path.to_vec(),
        words: vec![word],
        why,
    }
}

/// Where the end of a path stands. What is no list is its own first entry.
pub fn place(source: &str, path: &[Part]) -> Option<Place> {
    let walked = Walk(path).deserialize(serde_yaml::Deserializer::from_str(source));
    let refused = walked.err()?.location()?;
    Some((refused.line(), refused.column()))
}

/// Where that ends: where the next thing in the file begins.
pub fn end(source: &str, path: &[Part]) -> Option<Place> {
    let (last, parents) = path.split_last()?;
    let next = match *last {
        Part::Index(index) => Part::Index(index + 1),
        Part::Key(key) | Part::Word(key) | Part::After(key) => Part::After(key),
    };
    let begins = place(source, path)?;
    let after = place(source, &[parents, &[next]].concat());
    after.filter(|after| *after > begins).or_else(|| end(source, parents))
}

/// The first place of `word` as a whole word, outside of comments, between two places; an empty one is one in quotes.
pub fn find(source: &str, word: &str, from: Place, until: Option<Place>) -> Option<Place> {
    if word.is_empty() {
        let quotes = [r#""""#, "''"].into_iter();
        return quotes.filter_map(|quotes| find(source, quotes, from, until)).min();
    }
    let part = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '_';
    let lines = source.lines().enumerate().skip(from.0.saturating_sub(1));
    lines
        .flat_map(|(number, line)| {
            let text = line.split(" #").next().unwrap_or_default();
            let text = if text.trim_start().starts_with('#') { "" } else { text };
            let whole = move |at: &usize| !text[..*at].ends_with(part) && !text[at + word.len()..].starts_with(part);
            let all = text.match_indices(word).map(|(at, _)| at).filter(whole);
            all.map(move |at| (number + 1, text[..at].chars().count() + 1))
        })
        .find(|place| *place >= from)
        .filter(|place| until.is_none_or(|until| *place < until))
}

/// A reader that is satisfied with everything but the end of its path.
#[derive(Clone, Copy)]
struct Walk<'a>(&'a [Part]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.0.first() {
            None => deserializer.deserialize_any(Nothing).map(drop),
            Some(Part::Index(_)) => deserializer.deserialize_seq(self),
            Some(_) => deserializer.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        if let [Part::Index(index), rest @ ..] = self.0 {
            for _ in 0..*index {
                entries.next_element::<IgnoredAny>()?;
            }
            entries.next_element_seed(Walk(rest))?;
        }
        while entries.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.0.split_first() else {
            return Ok(());
        };
        let mut refused = match *first {
            Part::Word(word) => Refused::Key(word),
            _ => Refused::None,
        };
        while let Some(key) = entries.next_key_seed(refused)? {
            match *first {
                Part::Key(own) if own == key => entries.next_value_seed(Walk(rest))?,
                Part::After(own) if own == key => {
                    refused = Refused::Any;
                    entries.next_value::<IgnoredAny>()?;
                }
                _ => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The keys that are refused.
#[derive(Clone, Copy)]
enum Refused {
    None,
    Key(&'static str),
    Any,
}

impl<'de> DeserializeSeed<'de> for Refused {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Refused {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<String, E> {
        match self {
            Refused::Any => Err(E::custom("here")),
            Refused::Key(own) if own == key => Err(E::custom("here")),
            Refused::Key(_) | Refused::None => Ok(key.to_owned()),
        }
    }
}

/// A reader that refuses whatever there is.
struct Nothing;

impl Visitor<'_> for Nothing {
    type Value = IgnoredAny;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

#[cfg(test)]
mod tests {
    use super::Part::{Index, Key, Word};
    use super::*;

    const BLOCK: &str = "about: web\nworkload:\n  - at: 1s\n    apply: { name: web }\n  - at: 2s # web\n    apply:\n      - name: db\n      - name: web\nheal: all\n";
    const FLOW: &str =
        r#"{"about": "web", "workload": [{"at": 1}, {"at": 2, "apply": [{}, {"name": "web"}]}], "heal": "web"}"#;

    #[test]
    fn a_path_leads_to_its_place_in_blocks_and_on_one_line() {
        let second = [Key("workload"), Index(1)];
        let object = [Key("workload"), Index(1), Key("apply"), Index(1)];
        assert_eq!(place(BLOCK, &second), Some((5, 5)));
        assert_eq!(place(BLOCK, &object), Some((8, 9)));
        assert_eq!(end(BLOCK, &object), Some((9, 1)));
        assert_eq!(place(FLOW, &second), Some((1, 42)));
        assert_eq!(end(FLOW, &second), Some((1, 86)));
        assert_eq!(place(BLOCK, &[Word("heal")]), Some((9, 1)));
        assert_eq!(end(BLOCK, &[Key("heal")]), None);
        assert_eq!(place(BLOCK, &[Key("workload"), Index(2)]), None);
        // What is no list is its own first entry.
        let object = [Key("workload"), Index(0), Key("apply"), Index(0)];
        assert_eq!(place(BLOCK, &object), Some((4, 12)));
    }

    #[test]
    fn a_word_is_looked_for_in_its_part_of_the_file_and_not_in_comments() {
        let path = [Key("workload"), Index(1)];
        let find_in = |source: &str, path: &[Part]| {
            let from = place(source, path).unwrap();
            find(source, "web", from, end(source, path))
        };
        assert_eq!(find_in(BLOCK, &path), Some((8, 15)));
        assert_eq!(find_in(FLOW, &path), Some((1, 76)));
        assert_eq!(find_in(FLOW, &[Key("workload"), Index(0)]), None);
    }
}
