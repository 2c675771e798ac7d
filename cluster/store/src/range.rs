//! Which keys to read, and what was read.

use std::ops::Bound;

use crate::transaction::{Key, KeyValue, Revision};

/// A span of keys at one revision. `Range::default()` is everything there is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first key that may be in it.
    pub start: String,
    /// The first key behind it; `None`: no end.
    pub end: Option<String>,
    /// Only keys strictly after this one: where the last page ended.
    pub after: Option<Key>,
    /// How many items to return at most; 0: all.
    pub limit: usize,
    /// The revision whose state is read; `None`: the current one.
    pub revision: Option<Revision>,
}

impl Range {
    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: &str) -> Range {
        Range {
            start: prefix.to_owned(),
            end: successor(prefix),
            ..Range::default()
        }
    }

    /// This range, but only behind `key`.
    pub fn after(self, key: impl Into<Key>) -> Range {
        Range {
            after: Some(key.into()),
            ..self
        }
    }

    /// This range, with at most `limit` items; 0: all.
    pub fn limit(self, limit: usize) -> Range {
        Range { limit, ..self }
    }

    /// This range as it was at `revision`.
    pub fn at(self, revision: Revision) -> Range {
        Range {
            revision: Some(revision),
            ..self
        }
    }

    /// The bounds, or `None` if nothing can lie between them.
    pub(crate) fn bounds(&self) -> Option<(Bound<&str>, Bound<&str>)> {
        let lower = match &self.after {
            Some(after) if **after >= *self.start => Bound::Excluded(&**after),
            _ => Bound::Included(&*self.start),
        };
        let (Bound::Included(first) | Bound::Excluded(first)) = lower else {
            return None;
        };
        match &self.end {
            Some(end) if first >= end.as_str() => None,
            Some(end) => Some((lower, Bound::Excluded(end.as_str()))),
            None => Some((lower, Bound::Unbounded)),
        }
    }
}

/// One page of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeResult {
    /// The items in the order of their keys.
    pub items: Vec<KeyValue>,
    /// The revision whose state this is; further pages should ask for the same.
    pub revision: Revision,
    /// Whether the limit left something out.
    pub more: bool,
    /// How many items the limit left out.
    pub remaining: usize,
}

/// The least text that is greater than all that begin with `prefix`, if there is one.
fn successor(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // UTF-8 sorts as its code points do; `..` on characters steps over the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(successor("pods/"), Some("pods0".to_owned()));
        assert_eq!(successor("a\u{d7ff}"), Some("a\u{e000}".to_owned()));
        assert_eq!(successor("a\u{10ffff}"), Some("b".to_owned()));
        assert_eq!(successor("\u{10ffff}"), None);
        assert_eq!(successor(""), None);
    }

    #[test]
    fn an_empty_span_has_no_bounds() {
        assert_eq!(
            Range {
                start: "b".into(),
                end: Some("a".into()),
                ..Range::default()
            }
            .bounds(),
            None
        );
        assert_eq!(Range::prefix("a/").after("a0").bounds(), None);
        assert!(Range::prefix("b/").after("a").bounds().is_some());
    }
}
