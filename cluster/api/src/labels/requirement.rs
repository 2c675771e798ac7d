//! One condition on one label.

use std::collections::BTreeSet;
use std::fmt;

use super::ParseError;
use crate::{mutant, names};

/// How a requirement relates a label to its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `key in (a,b)`: has the label, with one of the values.
    In,
    /// `key notin (a,b)`: lacks the label, or has it with another value.
    NotIn,
    /// `key=a`
    Equals,
    /// `key==a`, the same as [`Operator::Equals`] but for its text.
    DoubleEquals,
    /// `key!=a`: lacks the label, or has it with another value.
    NotEquals,
    /// `key`: has the label.
    Exists,
    /// `!key`: lacks the label.
    DoesNotExist,
    /// `key>1`: has the label, and both are integers.
    GreaterThan,
    /// `key<1`: has the label, and both are integers.
    LessThan,
}

/// A condition on the label with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

impl Requirement {
    /// A requirement, if its key, values and their number are valid for the operator.
    pub fn new(key: &str, operator: Operator, values: Vec<String>) -> Result<Requirement, ParseError> {
        let mut errors = Vec::new();
        let problems = names::qualified_name(key);
        if !problems.is_empty() {
            errors.push(invalid("key", key, &problems));
        }
        let shown = format!(
            "[{}]",
            values.iter().map(|v| format!("{v:?}")).collect::<Vec<_>>().join(",")
        );
        let mut count = |wrong: bool, rule: &str| {
            if wrong {
                errors.push(format!("values: Invalid value: {shown}: {rule}"));
            }
        };
        match operator {
            Operator::In | Operator::NotIn => {
                count(
                    values.is_empty(),
                    "for 'in', 'notin' operators, values set can't be empty",
                );
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals => {
                count(values.len() != 1, "exact-match compatibility requires one single value");
            }
            Operator::Exists | Operator::DoesNotExist => {
                count(
                    !values.is_empty(),
                    "values set must be empty for exists and does not exist",
                );
            }
            Operator::GreaterThan | Operator::LessThan => {
                count(
                    values.len() != 1,
                    "for 'Gt', 'Lt' operators, exactly one value is required",
                );
                for (index, value) in values
                    .iter()
                    .enumerate()
                    .filter(|(_, value)| value.parse::<i64>().is_err())
                {
                    let rule = "for 'Gt', 'Lt' operators, the value must be an integer";
                    errors.push(invalid(&format!("values[{index}]"), value, &[rule.to_owned()]));
                }
            }
        }
        for (index, value) in values.iter().enumerate() {
            let problems = names::label_value(value);
            if !problems.is_empty() {
                errors.push(invalid(&format!("values[{index}][{key}]"), value, &problems));
            }
        }
        match errors.len() {
            0 => Ok(Requirement {
                key: key.to_owned(),
                operator,
                values: values.into_iter().collect(),
            }),
            1 => Err(ParseError(errors.remove(0))),
            _ => Err(ParseError(format!("[{}]", errors.join(", ")))),
        }
    }

    pub(super) fn unchecked(key: &str, operator: Operator, values: impl IntoIterator<Item = String>) -> Requirement {
        Requirement {
            key: key.to_owned(),
            operator,
            values: values.into_iter().collect(),
        }
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How the label relates to the values.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The values, sorted.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(String::as_str)
    }

    /// Whether a label's value, or its absence, meets the requirement.
    pub fn matches(&self, value: Option<&str>) -> bool {
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => {
                value.is_some_and(|value| self.values.contains(value))
            }
            Operator::NotIn | Operator::NotEquals => match value {
                Some(value) => !self.values.contains(value),
                None => !mutant::active("O163"),
            },
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.integers(value).is_some_and(|(label, bound)| label > bound),
            Operator::LessThan => self.integers(value).is_some_and(|(label, bound)| label < bound),
        }
    }

    fn integers(&self, value: Option<&str>) -> Option<(i64, i64)> {
        Some((value?.parse().ok()?, self.values.first()?.parse().ok()?))
    }

    pub(super) fn exact_value(&self) -> Option<&str> {
        let positive = matches!(self.operator, Operator::In | Operator::Equals | Operator::DoubleEquals);
        (positive && self.values.len() == 1)
            .then(|| self.values.first().map(String::as_str))
            .flatten()
    }
}

pub(super) fn invalid(path: &str, value: &str, problems: &[String]) -> String {
    format!("{path}: Invalid value: {value:?}: {}", problems.join("; "))
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let values = self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}
