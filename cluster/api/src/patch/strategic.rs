//! Strategic merge patch: a merge patch that knows Kubernetes' lists.
//!
//! The [table](crate::schema) says how each field merges. Lists with the strategy `merge` merge element by element,
//! found by their merge key (containers by name, a container's ports by containerPort); lists of scalars unite
//! (finalizers); all other lists are replaced (tolerations). Directives in the patch:
//!
//! * `$patch: delete | replace` in an object, or in an element of a merged list;
//! * `$setElementOrder/<list>`: the order that the elements take; elements that only the server has keep their places;
//! * `$deleteFromPrimitiveList/<list>`: scalars to take out;
//! * `$retainKeys`: the only keys that stay (a volume's source, a deployment's strategy).
//!
//! Behaviour, order and error texts follow apimachinery's `strategicpatch`. Two differences, both where Kubernetes
//! leaves rubbish in the object: nulls and directives within *added* list elements do not arrive in it; and of a patch
//! that both adds to and deletes from a list of scalars, the deletion comes first, not at random.

mod directives;
mod list;
mod order;

use serde_json::{Map, Value};

use super::PatchError;
use crate::schema::{Cardinality, Field, Message, PatchStrategy, Schema};
use directives::{DELETE_FROM, PATCH, RETAIN_KEYS, SET_ORDER, clean};

type Object = Map<String, Value>;

/// The document, which is of a kind, with the patch merged into it.
pub fn apply(original: Value, patch: Value, api_version: &str, kind: &str) -> Result<Value, PatchError> {
    let Some(message) = Schema::get().message_for(api_version, kind) else {
        return Err(PatchError::Unsupported(
            "strategic merge patch format is not supported".into(),
        ));
    };
    let (Value::Object(original), Value::Object(patch)) = (original, patch) else {
        return Err(PatchError::Malformed("invalid JSON document".into()));
    };
    merge_objects(original, patch, Context::Message(message)).map(Value::Object)
}

/// What is known of an object's fields.
#[derive(Clone, Copy)]
enum Context {
    Unknown,
    Message(&'static Message),
    /// A map with free keys, the values of a field.
    MapOf(&'static Field),
}

/// What is known of one field of an object.
struct Place {
    strategy: PatchStrategy,
    merge_key: Option<&'static str>,
    /// Of its value, or of the list's elements.
    inner: Context,
}

impl Context {
    fn field(self, key: &str) -> Place {
        let unknown = Place {
            strategy: PatchStrategy::default(),
            merge_key: None,
            inner: Context::Unknown,
        };
        let of_message = |field: &Field| field.message().map_or(Context::Unknown, Context::Message);
        match self {
            Context::Unknown => unknown,
            Context::MapOf(field) => Place {
                inner: of_message(field),
                ..unknown
            },
            Context::Message(message) => match message.field(key) {
                None => unknown,
                Some(field) => Place {
                    strategy: field.patch_strategy,
                    merge_key: field.patch_merge_key,
                    inner: if field.cardinality == Cardinality::Map {
                        Context::MapOf(field)
                    } else {
                        of_message(field)
                    },
                },
            },
        }
    }

    fn name(self) -> String {
        match self {
            Context::Message(message) => message.short_name().to_owned(),
            Context::Unknown | Context::MapOf(_) => "map".to_owned(),
        }
    }
}

fn merge_objects(mut original: Object, mut patch: Object, context: Context) -> Result<Object, PatchError> {
    if let Some(directive) = patch.remove(PATCH) {
        return match directive.as_str() {
            Some("replace") => {
                let mut replaced = Value::Object(patch);
                clean(&mut replaced);
                Ok(if let Value::Object(replaced) = replaced {
                    replaced
                } else {
                    Object::new()
                })
            }
            Some("delete") => Ok(Object::new()),
            _ => Err(directives::unknown(&directive, &Value::Object(patch))),
        };
    }
    if let Some(keys) = patch.remove(RETAIN_KEYS) {
        retain_keys(&mut original, &patch, &keys)?;
    }
    let (deletions, rest): (Vec<_>, Vec<_>) = patch
        .iter()
        .map(|(key, _)| key.clone())
        .filter(|key| !key.starts_with(SET_ORDER))
        .partition(|key| key.starts_with(DELETE_FROM));
    let orders: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for directive in orders {
        set_order(&mut original, &mut patch, &directive, context)?;
    }
    for directive in deletions {
        let list = directives::list_of(&directive, DELETE_FROM)?.to_owned();
        let Some(unwanted) = patch.remove(&directive) else {
            continue;
        };
        match (original.get_mut(&list), unwanted) {
            (Some(Value::Array(items)), Value::Array(unwanted)) => items.retain(|item| !unwanted.contains(item)),
            (_, Value::Null) => drop(original.remove(&list)),
            _ => {}
        }
    }
    for key in rest {
        // What was merged with an order is no longer in the patch.
        let Some(change) = patch.remove(&key) else { continue };
        let found = original.remove(&key);
        if let Some(merged) = merge_values(found, change, context.field(&key))? {
            original.insert(key, merged);
        }
    }
    Ok(original)
}

/// The new value of a field; none if the field goes.
fn merge_values(original: Option<Value>, change: Value, place: Place) -> Result<Option<Value>, PatchError> {
    match (original, change) {
        (_, Value::Null) => Ok(None),
        (Some(Value::Object(original)), Value::Object(change)) if !place.strategy.replace => {
            merge_objects(original, change, place.inner).map(|merged| Some(Value::Object(merged)))
        }
        (Some(Value::Array(original)), Value::Array(change)) if place.strategy.merge => {
            list::merge(original, change, &place).map(|merged| Some(Value::Array(merged)))
        }
        (_, mut change) => Ok(clean(&mut change).then_some(change)),
    }
}

/// `$retainKeys`: all that the patch sets must be among the keys; what the original has beside them goes.
fn retain_keys(original: &mut Object, patch: &Object, keys: &Value) -> Result<(), PatchError> {
    let malformed = || PatchError::Malformed("invalid patch format of retainKeys".into());
    let keys = keys.as_array().ok_or_else(malformed)?;
    let retained = |key: &str| keys.iter().any(|retained| retained == key);
    let is_directive = |key: &str| key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
    if patch
        .iter()
        .any(|(key, value)| !value.is_null() && !is_directive(key) && !retained(key))
    {
        return Err(malformed());
    }
    original.retain(|key, _| retained(key));
    Ok(())
}

/// `$setElementOrder/<list>`: merges the list, then orders it. The list leaves the patch.
fn set_order(original: &mut Object, patch: &mut Object, directive: &str, context: Context) -> Result<(), PatchError> {
    let key = directives::list_of(directive, SET_ORDER)?.to_owned();
    let as_list = |value: Value| match value {
        Value::Array(items) => Ok(items),
        other => Err(PatchError::Malformed(format!(
            "expected a []interface {{}}, but received a {}",
            directives::go_type(&other)
        ))),
    };
    let Some(wanted) = patch.remove(directive).map(as_list).transpose()? else {
        return Ok(());
    };
    let place = context.field(&key);
    let change = match patch.get(&key) {
        // The list is to go altogether, or to become something else: no order to keep.
        Some(Value::Null) => return Ok(()),
        Some(_) => patch.remove(&key).map(as_list).transpose()?,
        None => None,
    };
    let found = original
        .get(&key)
        .filter(|value| !value.is_null())
        .cloned()
        .map(as_list)
        .transpose()?;
    directives::check_order(change.as_deref().unwrap_or_default(), &wanted, place.merge_key)?;
    let server_order = found.clone().unwrap_or_default();
    let merged = match (found, change) {
        (None, None) => return Ok(()),
        (Some(found), None) => found,
        (None, Some(change)) => list::cleaned(change),
        (Some(found), Some(change)) if place.strategy.merge => list::merge(found, change, &place)?,
        (Some(_), Some(change)) => list::cleaned(change),
    };
    let ordered = order::arrange(merged, &wanted, &server_order, place.merge_key)?;
    original.insert(key, Value::Array(ordered));
    Ok(())
}

#[cfg(test)]
mod tests;
