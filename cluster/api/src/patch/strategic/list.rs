//! Lists that merge: of objects by their merge key, of scalars as sets.

use serde_json::Value;

use super::super::{PatchError, Shown};
use super::directives::{PATCH, clean, go_type, no_merge_key, unknown};
use super::{Object, Place, merge_objects, order};
use crate::mutant;

/// Merges two lists whose elements are all objects or all scalars.
pub(super) fn merge(original: Vec<Value>, patch: Vec<Value>, place: &Place) -> Result<Vec<Value>, PatchError> {
    let Some(first) = original.first().or(patch.first()) else {
        return Ok(original);
    };
    let element_type = go_type(first);
    if first.is_array() {
        return Err(PatchError::DoesNotApply("lists of lists are not supported".into()));
    }
    if original
        .iter()
        .chain(&patch)
        .any(|element| go_type(element) != element_type)
    {
        return Err(PatchError::DoesNotApply(format!(
            "list element types are not identical: [{} {}]",
            Shown(&original.into()),
            Shown(&patch.into())
        )));
    }
    if !first.is_object() {
        return scalars(original, patch);
    }
    match place.merge_key {
        Some(key) => objects(original, patch, key, place),
        None => Err(PatchError::DoesNotApply(format!(
            "cannot merge lists without merge key for {}",
            place.inner.name()
        ))),
    }
}

/// The elements of a list that is added, without directives.
pub(super) fn cleaned(mut items: Vec<Value>) -> Vec<Value> {
    items.retain_mut(clean);
    items
}

fn scalars(original: Vec<Value>, patch: Vec<Value>) -> Result<Vec<Value>, PatchError> {
    let mut merged: Vec<Value> = Vec::with_capacity(original.len() + patch.len());
    for element in original.iter().chain(&patch) {
        if !merged.contains(element) {
            merged.push(element.clone());
        }
    }
    order::arrange(merged, &patch, &original, None)
}

fn objects(original: Vec<Value>, patch: Vec<Value>, key: &str, place: &Place) -> Result<Vec<Value>, PatchError> {
    let mut merged = original;
    let mut changes = Vec::new();
    let mut replace = false;
    for element in patch {
        let Some(directive) = element.get(PATCH) else {
            changes.push(element);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let value = element.get(key).ok_or_else(|| no_merge_key(&element, key))?;
                merged.retain(|existing| existing.get(key) != Some(value));
            }
            Some("replace") => replace = true,
            Some("merge") => {
                return Err(PatchError::Malformed(
                    "merging lists cannot yet be specified in the patch".into(),
                ));
            }
            _ => return Err(unknown(directive, &element)),
        }
    }
    if replace {
        return Ok(cleaned(changes));
    }
    let server_order = merged.clone();
    let wanted = changes.clone();
    for change in changes {
        let value = change.get(key).ok_or_else(|| no_merge_key(&change, key))?;
        match merged.iter_mut().find(|existing| existing.get(key) == Some(value)) {
            Some(existing) if mutant::active("O155") => *existing = change,
            Some(existing) => {
                let existing_object = existing.as_object_mut().map(std::mem::take).unwrap_or_default();
                *existing = Value::Object(merge_objects(existing_object, into_object(change), place.inner)?);
            }
            None => {
                let mut added = change;
                if clean(&mut added) {
                    merged.push(added);
                }
            }
        }
    }
    order::arrange(merged, &wanted, &server_order, Some(key))
}

fn into_object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}
