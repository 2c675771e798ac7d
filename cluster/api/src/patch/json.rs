//! JSON patch (RFC 6902): add, remove, replace, move, copy and test, in order, all or nothing.
//!
//! As in Kubernetes, negative list indexes count from the end. At most [`MAX_OPERATIONS`] operations.

mod pointer;

use serde_json::Value;

use super::PatchError;
use pointer::{Pointer, missing};

/// At most so many operations a patch, as in Kubernetes.
pub const MAX_OPERATIONS: usize = 10_000;

/// Copies may not make a document larger than this many bytes, roughly; each may double what is there.
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// The document after all operations of the patch.
pub fn apply(mut document: Value, operations: &Value) -> Result<Value, PatchError> {
    let Value::Array(operations) = operations else {
        return Err(PatchError::Malformed(
            "error decoding patch: a JSON patch is a list of operations".into(),
        ));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let operations = operations.iter().map(Operation::read).collect::<Result<Vec<_>, _>>()?;
    let mut copied = 0;
    for operation in &operations {
        operation
            .apply(&mut document, &mut copied)
            .map_err(PatchError::DoesNotApply)?;
    }
    Ok(document)
}

/// One operation of a patch.
enum Operation<'a> {
    Add { path: Pointer<'a>, value: &'a Value },
    Remove { path: Pointer<'a> },
    Replace { path: Pointer<'a>, value: &'a Value },
    Move { from: Pointer<'a>, path: Pointer<'a> },
    Copy { from: Pointer<'a>, path: Pointer<'a> },
    Test { path: Pointer<'a>, value: &'a Value },
}

impl<'a> Operation<'a> {
    fn read(operation: &'a Value) -> Result<Self, PatchError> {
        let kind = operation["op"].as_str().unwrap_or("unknown");
        let text = |member: &str| match &operation[member] {
            Value::String(text) => Ok(Pointer::new(text)),
            _ => Err(PatchError::DoesNotApply(format!(
                "{kind} operation failed to decode {member}: missing value"
            ))),
        };
        // A missing value is as null, which is what Kubernetes' library makes of it.
        let value = operation.get("value").unwrap_or(&Value::Null);
        Ok(match kind {
            "add" => Operation::Add {
                path: text("path")?,
                value,
            },
            "remove" => Operation::Remove { path: text("path")? },
            "replace" => Operation::Replace {
                path: text("path")?,
                value,
            },
            "move" => Operation::Move {
                from: text("from")?,
                path: text("path")?,
            },
            "copy" => Operation::Copy {
                from: text("from")?,
                path: text("path")?,
            },
            "test" => Operation::Test {
                path: text("path")?,
                value,
            },
            other => return Err(PatchError::DoesNotApply(format!("Unexpected kind: {other}"))),
        })
    }

    fn apply(&self, document: &mut Value, copied: &mut usize) -> Result<(), String> {
        match self {
            Operation::Add { path, value } => path.add(document, (*value).clone(), "add"),
            Operation::Remove { path } => path.remove(document, "remove").map(drop),
            Operation::Replace { path, value } => path.replace(document, (*value).clone()),
            Operation::Move { from, path } => {
                if path.is_within(from) {
                    return Err(format!(
                        "move operation does not apply: {from} cannot be moved into itself: invalid state detected"
                    ));
                }
                let value = from.remove(document, "move")?;
                path.add(document, value, "move")
            }
            Operation::Copy { from, path } => {
                let value = from.get(document).cloned().ok_or_else(|| {
                    missing(format!(
                        "copy operation does not apply: doc is missing from path: {from}"
                    ))
                })?;
                *copied += size(&value);
                if *copied > MAX_COPIED {
                    return Err(format!(
                        "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
                    ));
                }
                path.add(document, value, "copy")
            }
            Operation::Test { path, value } => {
                let found = path.get(document).unwrap_or(&Value::Null);
                if same(found, value) {
                    Ok(())
                } else {
                    Err(format!("testing value {path} failed: test failed"))
                }
            }
        }
    }
}

/// Roughly the bytes of a value as JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 5,
        Value::String(text) => text.len() + 3,
        Value::Array(items) => 2 + items.iter().map(size).sum::<usize>(),
        Value::Object(entries) => {
            2 + entries
                .iter()
                .map(|(key, value)| key.len() + 4 + size(value))
                .sum::<usize>()
        }
    }
}

/// Equality of JSON, where 1 and 1.0 are the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests;
