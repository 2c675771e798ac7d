//! What Go's type expects at a place of a document; and the fields that it does not.

use serde_json::Value;

use super::MAX_PROBLEMS;
use crate::schema::{Cardinality, Field, Message, Schema, Type};

/// What is expected at a place.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// Anything; all keys are looked at.
    Free,
    /// Anything, and nobody looks: unknown fields' values, raw JSON, values of the wrong type.
    Opaque,
    /// An object with a message's fields.
    Message(&'static Message),
    /// All of a field: a value, a list, or a map.
    Whole(&'static Field),
    /// One element of a list or a map.
    Element(&'static Field),
}

impl Target {
    pub(super) fn of_kind(api_version: &str, kind: &str) -> Target {
        Schema::get()
            .message_for(api_version, kind)
            .map_or(Target::Free, Target::Message)
    }

    /// What is expected under a key; none if the key is unknown.
    pub(super) fn member(self, key: &str) -> Option<Target> {
        let message = match self {
            Target::Free | Target::Opaque => return Some(self),
            Target::Message(message) => message,
            Target::Whole(field) => match (field.cardinality, field.message()) {
                (Cardinality::Map, _) => return Some(Target::Element(field)),
                (Cardinality::Single, Some(message)) => message,
                _ => return Some(Target::Opaque),
            },
            Target::Element(field) => match field.message() {
                Some(message) => message,
                None => return Some(Target::Opaque),
            },
        };
        message.field(key).map(Target::Whole)
    }

    /// What is expected of the items of a list.
    pub(super) fn item(self) -> Target {
        match self {
            Target::Free => Target::Free,
            Target::Whole(field) if field.cardinality == Cardinality::List => Target::Element(field),
            _ => Target::Opaque,
        }
    }

    /// Whether nobody looks at the keys below.
    pub(super) fn is_opaque(self) -> bool {
        match self {
            Target::Opaque => true,
            Target::Whole(field) => field.cardinality == Cardinality::Single && field.element == Type::Raw,
            Target::Element(field) => field.element == Type::Raw,
            Target::Free | Target::Message(_) => false,
        }
    }
}

/// The fields that a kind does not have, as `unknown field "spec.containers[0].foo"`, sorted by path. For a body in
/// the order of its text, with its duplicates, see [`parse_json_as`](super::parse_json_as).
pub fn unknown_fields(value: &Value, api_version: &str, kind: &str) -> Vec<String> {
    let mut found = Vec::new();
    visit(
        value,
        Target::of_kind(api_version, kind),
        &mut String::new(),
        &mut found,
    );
    found
}

fn visit(value: &Value, target: Target, path: &mut String, found: &mut Vec<String>) {
    if matches!(target, Target::Free) || target.is_opaque() || found.len() >= MAX_PROBLEMS {
        return;
    }
    let length = path.len();
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                push_key(path, key);
                match target.member(key) {
                    Some(target) => visit(value, target, path, found),
                    None if found.len() < MAX_PROBLEMS => found.push(format!("unknown field \"{path}\"")),
                    None => {}
                }
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                push_index(path, index);
                visit(item, target.item(), path, found);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

pub(super) fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

pub(super) fn push_index(path: &mut String, index: usize) {
    path.push('[');
    path.push_str(&index.to_string());
    path.push(']');
}
