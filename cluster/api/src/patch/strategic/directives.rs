//! The keys and elements of a patch that are instructions, not content.

use serde_json::Value;

use super::super::{PatchError, Shown};

pub(super) const PATCH: &str = "$patch";
pub(super) const RETAIN_KEYS: &str = "$retainKeys";
pub(super) const SET_ORDER: &str = "$setElementOrder";
pub(super) const DELETE_FROM: &str = "$deleteFromPrimitiveList";

/// The list that a directive such as `$setElementOrder/containers` is about.
pub(super) fn list_of<'a>(directive: &'a str, prefix: &str) -> Result<&'a str, PatchError> {
    directive
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('/'))
        .ok_or_else(|| {
            PatchError::Malformed(if prefix == SET_ORDER {
                "invalid patch format of setElementOrder list".into()
            } else {
                "invalid patch format of primitive list".into()
            })
        })
}

pub(super) fn unknown(directive: &Value, patch: &Value) -> PatchError {
    PatchError::Malformed(format!(
        "unknown patch type: {} in map: {}",
        Shown(directive),
        Shown(patch)
    ))
}

pub(super) fn no_merge_key(element: &Value, key: &str) -> PatchError {
    PatchError::DoesNotApply(format!(
        "map: {} does not contain declared merge key: {key}",
        Shown(element)
    ))
}

/// Takes nulls and directives out of a value that is added. False if the value itself is a directive.
pub(super) fn clean(value: &mut Value) -> bool {
    match value {
        Value::Object(entries) => {
            if entries.contains_key(PATCH) {
                return false;
            }
            entries.retain(|key, value| {
                let directive = key == RETAIN_KEYS
                    || [SET_ORDER, DELETE_FROM]
                        .iter()
                        .any(|prefix| list_of(key, prefix).is_ok());
                !directive && !value.is_null() && clean(value)
            });
            true
        }
        Value::Array(items) => {
            items.retain_mut(clean);
            true
        }
        _ => true,
    }
}

/// The elements of a patch's list must stand in the order that the patch asks for, and all be named there.
pub(super) fn check_order(patch: &[Value], wanted: &[Value], merge_key: Option<&str>) -> Result<(), PatchError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut places = wanted.iter();
    for element in patch.iter().filter(|element| element.get(PATCH).is_none()) {
        let found = match merge_key {
            None => places.any(|place| place == element),
            Some(key) => {
                let value = element.get(key).ok_or_else(|| no_merge_key(element, key))?;
                places.any(|place| place.get(key) == Some(value))
            }
        };
        if !found {
            return Err(PatchError::Malformed(format!(
                "The order in patch list:\n{}\n doesn't match {SET_ORDER} list:\n{}\n",
                Shown(&Value::from(patch)),
                Shown(&Value::from(wanted))
            )));
        }
    }
    Ok(())
}

/// The type of a value as Go names it.
pub(super) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
