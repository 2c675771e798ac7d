//! Label selectors: their grammar, their text and what they match.
//!
//! Two languages meet here: the query language of `kubectl -l` and `?labelSelector=`, read by [`Selector::parse`], and
//! the `LabelSelector` object of specs, read by [`Selector::from_label_selector`]. Grammar and error texts are those
//! of apimachinery's `labels` package.

mod lexer;
mod parser;
mod requirement;

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

pub use requirement::{Operator, Requirement};

/// Why a selector is refused; the text is Kubernetes' own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub(crate) String);

/// A set of requirements that labels meet all of, or nothing at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Sorted by key. `None` matches nothing.
    requirements: Option<Vec<Requirement>>,
}

impl Default for Selector {
    fn default() -> Self {
        Selector::everything()
    }
}

impl Selector {
    /// Matches all labels.
    pub const fn everything() -> Selector {
        Selector {
            requirements: Some(Vec::new()),
        }
    }

    /// Matches no labels.
    pub const fn nothing() -> Selector {
        Selector { requirements: None }
    }

    /// Reads a selector such as `a=b,c!=d,e in (x,y),!f,g`. The empty text matches everything.
    pub fn parse(text: &str) -> Result<Selector, ParseError> {
        parser::parse(text).map(Selector::from_requirements)
    }

    /// Matches what has all these labels, without validating them. No labels match everything.
    pub fn from_map(labels: &BTreeMap<String, String>) -> Selector {
        Selector::from_requirements(
            labels
                .iter()
                .map(|(key, value)| Requirement::unchecked(key, Operator::Equals, [value.clone()]))
                .collect(),
        )
    }

    /// Reads the selector of a spec. An empty one matches everything; for one that may be absent see
    /// [`Selector::from_optional`].
    pub fn from_label_selector(selector: &LabelSelector) -> Result<Selector, ParseError> {
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.push(Requirement::new(key, Operator::Equals, vec![value.clone()])?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(ParseError(format!("{other:?} is not a valid label selector operator"))),
            };
            let values = expression.values.clone().unwrap_or_default();
            requirements.push(Requirement::new(&expression.key, operator, values)?);
        }
        Ok(Selector::from_requirements(requirements))
    }

    /// Reads the selector of a spec that may be absent: an absent one matches nothing.
    pub fn from_optional(selector: Option<&LabelSelector>) -> Result<Selector, ParseError> {
        selector.map_or(Ok(Selector::nothing()), Selector::from_label_selector)
    }

    /// Matches what meets all of these.
    pub fn from_requirements(mut requirements: Vec<Requirement>) -> Selector {
        requirements.sort_by(|a, b| a.key().cmp(b.key()));
        Selector {
            requirements: Some(requirements),
        }
    }

    /// Whether labels meet all requirements.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }

    /// As [`Selector::matches`], for labels held in some other shape.
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements
            .as_ref()
            .is_some_and(|all| all.iter().all(|one| one.matches(label(one.key()))))
    }

    /// Whether it restricts nothing.
    pub fn is_everything(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether it is the selector that matches nothing, by construction.
    pub fn is_nothing(&self) -> bool {
        self.requirements.is_none()
    }

    /// The requirements, sorted by key; none of a selector that matches nothing.
    pub fn requirements(&self) -> &[Requirement] {
        self.requirements.as_deref().unwrap_or_default()
    }

    /// The one value that a label must have to match, if there is one: what an index can be asked for.
    pub fn exact_value(&self, key: &str) -> Option<&str> {
        self.requirements().iter().find(|one| one.key() == key)?.exact_value()
    }
}

/// The canonical text: sorted by key, set values sorted. It reads back as the same selector, but for the selector that
/// matches nothing, which has no text (it is written as the empty one).
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements().iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
