//! The JSON that Go's type would write back.

use serde_json::{Map, Value};

use super::time::{format_time, parse_time};
use super::types;
use crate::schema::{Cardinality, Field, Message, Schema, Type};

/// Makes of a kind's body what decoding it into Go's type and writing that again makes of it: explicit nulls and
/// unknown fields go, zero values go where Go leaves them out, quantities take their canonical text and times UTC,
/// and a null among a list's or a map's values becomes a zero. Values of a wrong type stay as they are (see
/// [`check_types`](super::check_types)); so does a body of an unknown kind. What Go would *add* (empty objects that
/// are no pointers) is not added.
pub fn normalize(value: &mut Value, api_version: &str, kind: &str) {
    if let (Value::Object(entries), Some(message)) = (value, Schema::get().message_for(api_version, kind)) {
        object(entries, message);
    }
}

fn object(entries: &mut Map<String, Value>, message: &'static Message) {
    entries.retain(|key, value| {
        let Some(field) = message.field(key) else { return false };
        if value.is_null() {
            return false;
        }
        whole(value, field);
        !field.omits(value)
    });
}

fn whole(value: &mut Value, field: &'static Field) {
    match (field.cardinality, value) {
        (Cardinality::Single, value) => element(value, field),
        (Cardinality::List, Value::Array(items)) => items.iter_mut().for_each(|item| contained(item, field)),
        (Cardinality::Map, Value::Object(entries)) => entries.values_mut().for_each(|item| contained(item, field)),
        _ => {}
    }
}

fn contained(value: &mut Value, field: &'static Field) {
    if value.is_null() {
        *value = zero(field);
    }
    element(value, field);
}

fn zero(field: &Field) -> Value {
    match field.element {
        Type::String | Type::Bytes => "".into(),
        Type::Int32 | Type::Int64 | Type::Double | Type::IntOrString => 0.into(),
        Type::Bool => false.into(),
        Type::Quantity => "0".into(),
        Type::Message(_) => Value::Object(Map::new()),
        Type::Time | Type::MicroTime | Type::Raw | Type::Strings => Value::Null,
    }
}

fn element(value: &mut Value, field: &'static Field) {
    match (field.element, &mut *value) {
        (Type::Message(_), Value::Object(entries)) => {
            if let Some(message) = field.message() {
                object(entries, message);
            }
        }
        (Type::Quantity, Value::String(_) | Value::Number(_)) => {
            if let Ok(quantity) = types::quantity(value) {
                *value = quantity.to_string().into();
            }
        }
        (Type::Time | Type::MicroTime, Value::String(text)) => {
            if let Some(time) = parse_time(text) {
                *text = format_time(time, field.element == Type::MicroTime);
            }
        }
        (Type::Bytes, Value::String(text)) => text.retain(|c| !matches!(c, '\r' | '\n')),
        (Type::Strings, Value::Array(items)) => {
            for item in items.iter_mut().filter(|item| item.is_null()) {
                *item = "".into();
            }
        }
        _ => {}
    }
}
