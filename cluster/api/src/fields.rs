//! Field selectors: their grammar and what they match.
//!
//! `metadata.name=x,spec.nodeName!=y`: paths, compared with `=`, `==` or `!=` to a value in which `\`, `,` and `=` are
//! escaped by `\`. Which fields a kind can be selected by is the API server's to know: see [`Selector::paths`].
//! Grammar and error texts are those of apimachinery's `fields` package.

use std::fmt;

/// Why a field selector is refused; the text is Kubernetes' own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A term without an operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// The whole selector.
        selector: String,
        /// The term in question.
        term: String,
    },
    /// A backslash before a character that needs none, or at the end.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// A bare `=` in a value; Kubernetes shows it as a number.
    #[error("invalid field selector: unescaped character in value: {}", u32::from(*.0))]
    Unescaped(char),
}

/// A condition on one field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// The field's path, such as `spec.nodeName`.
    pub path: String,
    /// The value it is compared to.
    pub value: String,
    /// Whether the field must differ from the value.
    pub negated: bool,
}

impl Requirement {
    /// Whether a field's value meets the requirement; an absent field is as an empty one.
    pub fn matches(&self, value: Option<&str>) -> bool {
        (value.unwrap_or_default() == self.value) != self.negated
    }
}

/// Conditions that fields meet all of. The default matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

impl Selector {
    /// Matches everything.
    pub const fn everything() -> Selector {
        Selector {
            requirements: Vec::new(),
        }
    }

    /// Matches where one field has a value.
    pub fn equals(path: &str, value: &str) -> Selector {
        Selector {
            requirements: vec![Requirement {
                path: path.to_owned(),
                value: value.to_owned(),
                negated: false,
            }],
        }
    }

    /// Reads a field selector. Empty terms are passed over; the empty text matches everything.
    pub fn parse(text: &str) -> Result<Selector, ParseError> {
        let mut terms = split_terms(text);
        terms.sort_unstable();
        let mut requirements = Vec::new();
        for term in terms.into_iter().filter(|term| !term.is_empty()) {
            let (path, value, negated) = split_term(term).ok_or_else(|| ParseError::Term {
                selector: text.to_owned(),
                term: term.to_owned(),
            })?;
            let requirement = Requirement {
                path: path.to_owned(),
                value: unescape(value)?,
                negated,
            };
            // As in Kubernetes, where a term without path and value restricts nothing.
            if !(requirement.path.is_empty() && requirement.value.is_empty()) {
                requirements.push(requirement);
            }
        }
        requirements.sort();
        Ok(Selector { requirements })
    }

    /// The conditions, sorted by path and value.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The fields it looks at, so that unsupported ones can be refused.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.requirements.iter().map(|requirement| requirement.path.as_str())
    }

    /// Whether it restricts nothing.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The one value that a field must have to match, if there is one: what an index can be asked for.
    pub fn exact_value(&self, path: &str) -> Option<&str> {
        let exact = self
            .requirements
            .iter()
            .find(|requirement| requirement.path == path && !requirement.negated)?;
        Some(&exact.value)
    }

    /// Whether fields meet all conditions; `field` gives the value at a path.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.matches(field(&requirement.path)))
    }
}

/// The canonical text, with escapes.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { path, value, negated }) in self.requirements.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let operator = if *negated { "!=" } else { "=" };
            write!(f, "{comma}{path}{operator}{}", escape(value))?;
        }
        Ok(())
    }
}

/// A value as it is written in a field selector.
pub fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '=') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn unescape(text: &str) -> Result<String, ParseError> {
    let mut value = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => value.push(escaped),
                Some(other) => return Err(ParseError::Escape(format!("\\{other}"))),
                None => return Err(ParseError::Escape("\\".into())),
            },
            ',' | '=' => return Err(ParseError::Unescaped(c)),
            _ => value.push(c),
        }
    }
    Ok(value)
}

/// The terms between commas that are not escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// Path, escaped value, and whether the operator is `!=`; at the first operator of the term.
fn split_term(term: &str) -> Option<(&str, &str, bool)> {
    let equals = term.find('=')?;
    if let Some(path) = term[..equals].strip_suffix('!') {
        return Some((path, &term[equals + 1..], true));
    }
    let value = &term[equals + 1..];
    Some((&term[..equals], value.strip_prefix('=').unwrap_or(value), false))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_field_selector_is_read_and_written_canonically() {
        for (text, canonical) in [
            ("", ""),
            (",,", ""),
            ("=", ""),
            ("spec.nodeName!=y,metadata.name==x", "metadata.name=x,spec.nodeName!=y"),
            (r"a=b\,c\=d\\e", r"a=b\,c\=d\\e"),
            ("a=", "a="),
            (
                "status.phase!=Failed,status.phase!=Succeeded",
                "status.phase!=Failed,status.phase!=Succeeded",
            ),
        ] {
            assert_eq!(
                Selector::parse(text).map(|selector| selector.to_string()).as_deref(),
                Ok(canonical),
                "{text}"
            );
        }
    }

    #[test]
    fn a_bad_field_selector_is_refused_in_kubernetes_words() {
        let error = |text: &str| Selector::parse(text).expect_err(text).to_string();
        assert_eq!(error("a=b,c"), "invalid selector: 'a=b,c'; can't understand 'c'");
        assert_eq!(error(r"a=\x"), r"invalid field selector: invalid escape sequence: \x");
        assert_eq!(error("a=b\\"), "invalid field selector: invalid escape sequence: \\");
        assert_eq!(
            error("a=b=c"),
            "invalid field selector: unescaped character in value: 61"
        );
    }

    #[test]
    fn an_absent_field_is_as_an_empty_one() {
        let pending = Selector::parse("spec.nodeName=,status.phase!=Failed").expect("a selector");
        assert!(pending.matches(|_| None));
        assert!(!pending.matches(|path| (path == "spec.nodeName").then_some("n1")));
        assert_eq!(pending.paths().collect::<Vec<_>>(), ["spec.nodeName", "status.phase"]);
        assert_eq!(pending.exact_value("spec.nodeName"), Some(""));
        assert_eq!(pending.exact_value("status.phase"), None);
    }

    proptest! {
        #[test]
        fn any_value_survives_its_escape(value in "\\PC{0,12}") {
            let selector = Selector::equals("a", &value);
            prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[ab.=!,\\\\]{0,16}") {
            if let Ok(selector) = Selector::parse(&text) {
                prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
            }
        }
    }
}
