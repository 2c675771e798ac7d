//! The three patch formats: JSON patch, merge patch and strategic merge patch.
//!
//! All are pure functions from a document and a patch to a new document; neither is changed. What a patch may not do
//! (change a name, lose a finalizer) is checked later, where an update is checked.

pub mod json;
pub mod merge;
pub mod strategic;

use std::fmt;

use serde_json::Value;

/// Why a patch is refused. The texts are Kubernetes' own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch is not one of its format.
    #[error("{0}")]
    Malformed(String),
    /// The patch is one, but does not fit the document.
    #[error("{0}")]
    DoesNotApply(String),
    /// The patch asks for too much.
    #[error("{0}")]
    TooLarge(String),
    /// The kind cannot be patched in this format.
    #[error("{0}")]
    Unsupported(String),
}

impl PatchError {
    /// The HTTP status that Kubernetes answers with.
    pub fn http_status(&self) -> u16 {
        match self {
            PatchError::Malformed(_) => 400,
            PatchError::DoesNotApply(_) => 422,
            PatchError::TooLarge(_) => 413,
            PatchError::Unsupported(_) => 415,
        }
    }
}

/// A value as Go's `%v` shows it, which some of Kubernetes' texts hold: `map[a:1 b:[x y]]`.
struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("<nil>"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(number) => write!(f, "{number}"),
            Value::String(text) => f.write_str(text),
            Value::Array(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{}", if index > 0 { " " } else { "" }, Shown(item))?;
                }
                f.write_str("]")
            }
            Value::Object(entries) => {
                f.write_str("map[")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key}:{}", if index > 0 { " " } else { "" }, Shown(value))?;
                }
                f.write_str("]")
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod strategies {
    use proptest::prelude::*;
    use serde_json::Value;

    /// Small documents whose keys often meet.
    pub(crate) fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3..3i64).prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }
}
