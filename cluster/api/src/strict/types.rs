//! Whether values have the types that Go's struct has, with the words of Go's decoder.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

use super::time::parse_time;
use crate::quantity::Quantity;
use crate::schema::{Cardinality, Field, Message, Schema, Type};

/// Checks the types of a kind's fields. The error is Go's, such as
/// `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`.
/// Unknown fields and nulls are passed over.
pub fn check_types(value: &Value, api_version: &str, kind: &str) -> Result<(), String> {
    let Some(message) = Schema::get().message_for(api_version, kind) else {
        return Ok(());
    };
    match value {
        Value::Object(_) => object(value, message, ""),
        Value::Null => Ok(()),
        _ => Err(format!(
            "json: cannot unmarshal {} into Go value of type {}",
            json_type(value),
            message.go_name()
        )),
    }
}

/// Where a value stands, as Go tells it: `DeploymentSpec.spec.replicas`.
#[derive(Clone, Copy)]
struct Place<'a> {
    message: &'a Message,
    path: &'a str,
}

impl Place<'_> {
    fn mismatch(self, found: &str, type_name: &str) -> String {
        let Place { message, path } = self;
        format!(
            "json: cannot unmarshal {found} into Go struct field {}.{path} of type {type_name}",
            message.short_name()
        )
    }
}

fn object(value: &Value, message: &'static Message, path: &str) -> Result<(), String> {
    for (key, value) in value.as_object().into_iter().flatten() {
        let Some(field) = message.field(key) else { continue };
        if value.is_null() {
            continue;
        }
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        whole(value, field, Place { message, path: &path })?;
    }
    Ok(())
}

fn whole(value: &Value, field: &Field, place: Place<'_>) -> Result<(), String> {
    match (field.cardinality, value) {
        (Cardinality::Single, _) => element(value, field, place),
        (Cardinality::List, Value::Array(items)) => items
            .iter()
            .filter(|item| !item.is_null())
            .try_for_each(|item| element(item, field, place)),
        (Cardinality::Map, Value::Object(entries)) => entries
            .values()
            .filter(|item| !item.is_null())
            .try_for_each(|item| element(item, field, place)),
        _ => Err(place.mismatch(json_type(value), &field.type_name())),
    }
}

fn element(value: &Value, field: &Field, place: Place<'_>) -> Result<(), String> {
    let mismatch = || Err(place.mismatch(json_type(value), &field.element_type_name()));
    match (field.element, value) {
        (Type::Raw, _)
        | (Type::String, Value::String(_))
        | (Type::Bool, Value::Bool(_))
        | (Type::Double, Value::Number(_))
        | (Type::IntOrString, Value::String(_)) => Ok(()),
        (Type::Int32, Value::Number(number)) if is_int32(number) => Ok(()),
        (Type::Int64, Value::Number(number)) if number.is_i64() => Ok(()),
        (Type::Int32 | Type::Int64, Value::Number(number)) => {
            Err(place.mismatch(&format!("number {number}"), &field.element_type_name()))
        }
        (Type::Bytes, Value::String(text)) => bytes(text).map(drop),
        (Type::Quantity, _) => quantity(value).map(drop),
        (Type::IntOrString, Value::Number(number)) if is_int32(number) => Ok(()),
        (Type::IntOrString, Value::Number(number)) => Err(format!(
            "json: cannot unmarshal number {number} into Go value of type int32"
        )),
        (Type::IntOrString, _) => Err(format!(
            "json: cannot unmarshal {} into Go value of type int32",
            json_type(value)
        )),
        (Type::Time | Type::MicroTime, Value::String(text)) => time(text, field.element == Type::MicroTime),
        (Type::Time | Type::MicroTime, _) => Err(format!(
            "json: cannot unmarshal {} into Go value of type string",
            json_type(value)
        )),
        (Type::Strings, Value::Array(items)) => match items.iter().find(|item| !item.is_string() && !item.is_null()) {
            Some(item) => Err(place.mismatch(json_type(item), "string")),
            None => Ok(()),
        },
        (Type::Message(_), Value::Object(_)) => match field.message() {
            Some(message) => object(value, message, place.path),
            None => Ok(()),
        },
        _ => mismatch(),
    }
}

fn is_int32(number: &Number) -> bool {
    number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

/// Base64 as Go reads it, which passes over line breaks.
pub(super) fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let joined: String;
    let compact = if text.contains(['\r', '\n']) {
        joined = text.replace(['\r', '\n'], "");
        &joined
    } else {
        text
    };
    STANDARD.decode(compact).map_err(|error| {
        let offset = match error {
            base64::DecodeError::InvalidByte(offset, _) | base64::DecodeError::InvalidLastSymbol(offset, _) => offset,
            _ => compact.len(),
        };
        format!("illegal base64 data at input byte {offset}")
    })
}

/// A quantity in a string or a bare number.
pub(super) fn quantity(value: &Value) -> Result<Quantity, String> {
    let parsed = match value {
        Value::String(text) => Quantity::parse(text.trim()),
        other => Quantity::parse(&other.to_string()),
    };
    parsed.map_err(|error| error.to_string())
}

fn time(text: &str, micros: bool) -> Result<(), String> {
    if parse_time(text).is_some() {
        return Ok(());
    }
    let layout = if micros {
        "2006-01-02T15:04:05.000000Z07:00"
    } else {
        "2006-01-02T15:04:05Z07:00"
    };
    Err(format!(
        "parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""
    ))
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
