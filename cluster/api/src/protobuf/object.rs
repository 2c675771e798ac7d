//! A message's bytes into a JSON object, by the schema.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::wire::{BYTES, FIXED64, Reader, Tag, VARINT};
use super::{Error, MAX_DEPTH, scalar};
use crate::schema::{Cardinality, Field, Message, Type};

/// Adds the fields of a message to an object. A message that comes in parts is merged, as protobuf demands.
pub(super) fn decode(message: &Message, bytes: &[u8], depth: u32, into: &mut Map<String, Value>) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::TooDeep);
    }
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        let Some((field, inlined)) = message.by_number(tag.number) else {
            reader.skip(tag)?;
            continue;
        };
        if let (true, Some(inner)) = (inlined, field.message()) {
            decode(inner, reader.bytes(tag, field.name)?, depth + 1, into)?;
            continue;
        }
        match field.cardinality {
            Cardinality::Single => single(field, tag, &mut reader, depth, into)?,
            Cardinality::List => list(field, tag, &mut reader, depth, into)?,
            Cardinality::Map => entry(field, reader.bytes(tag, field.name)?, depth, into)?,
        }
    }
    Ok(())
}

fn single(
    field: &Field,
    tag: Tag,
    reader: &mut Reader<'_>,
    depth: u32,
    into: &mut Map<String, Value>,
) -> Result<(), Error> {
    if let Some(inner) = field.message() {
        let bytes = reader.bytes(tag, field.name)?;
        let mut object = match into.remove(field.name) {
            Some(Value::Object(object)) => object,
            _ => Map::new(),
        };
        decode(inner, bytes, depth + 1, &mut object)?;
        let object = Value::Object(object);
        if !field.omits(&object) {
            into.insert(field.name.to_owned(), object);
        }
        return Ok(());
    }
    match value(field, tag, reader, depth)?.filter(|value| !field.omits(value)) {
        Some(value) => into.insert(field.name.to_owned(), value),
        None => into.remove(field.name),
    };
    Ok(())
}

fn list(
    field: &Field,
    tag: Tag,
    reader: &mut Reader<'_>,
    depth: u32,
    into: &mut Map<String, Value>,
) -> Result<(), Error> {
    let mut items = Vec::new();
    let is_number = matches!(field.element, Type::Int32 | Type::Int64 | Type::Bool);
    if is_number && tag.wire_type == BYTES {
        let mut packed = Reader::new(reader.bytes(tag, field.name)?);
        while !packed.is_empty() {
            let tag = Tag {
                wire_type: VARINT,
                ..tag
            };
            items.extend(value(field, tag, &mut packed, depth)?);
        }
    } else {
        // A list's element is there even if it is null.
        items.push(value(field, tag, reader, depth)?.unwrap_or(Value::Null));
    }
    match into.get_mut(field.name) {
        Some(Value::Array(list)) => list.extend(items),
        _ => {
            into.insert(field.name.to_owned(), Value::Array(items));
        }
    }
    Ok(())
}

/// One entry of a map: a message with the key as field 1, the value as field 2.
fn entry(field: &Field, bytes: &[u8], depth: u32, into: &mut Map<String, Value>) -> Result<(), Error> {
    let mut reader = Reader::new(bytes);
    let mut key = String::new();
    let mut found = None;
    while let Some(tag) = reader.tag()? {
        match tag.number {
            1 => key = reader.string(tag, field.name)?,
            2 => found = value(field, tag, &mut reader, depth)?,
            _ => reader.skip(tag)?,
        }
    }
    let found = match found {
        Some(value) => value,
        None => value(
            field,
            Tag {
                number: 2,
                wire_type: BYTES,
            },
            &mut Reader::new(&[0]),
            depth,
        )
        .ok()
        .flatten()
        .unwrap_or(Value::Null),
    };
    let slot = into.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(map) = slot {
        map.insert(key, found);
    }
    Ok(())
}

/// One value of a field; none where JSON shows null.
fn value(field: &Field, tag: Tag, reader: &mut Reader<'_>, depth: u32) -> Result<Option<Value>, Error> {
    let name = field.name;
    if let Type::Int32 | Type::Int64 | Type::Bool = field.element {
        if tag.wire_type != VARINT {
            return Err(tag.unexpected(name));
        }
        let number = reader.varint()?;
        return Ok(Some(match field.element {
            Type::Int32 => (number as i32).into(),
            Type::Int64 => (number as i64).into(),
            _ => (number != 0).into(),
        }));
    }
    if field.element == Type::Double {
        if tag.wire_type != FIXED64 {
            return Err(tag.unexpected(name));
        }
        return Ok(serde_json::Number::from_f64(f64::from_bits(reader.fixed64()?)).map(Value::Number));
    }
    if field.element == Type::String {
        return Ok(Some(reader.string(tag, name)?.into()));
    }
    let bytes = reader.bytes(tag, name)?;
    Ok(match field.element {
        Type::Bytes => Some(STANDARD.encode(bytes).into()),
        Type::Quantity => Some(scalar::quantity(bytes, name)?),
        Type::IntOrString => Some(scalar::int_or_string(bytes, name)?),
        Type::Time => scalar::time(bytes, name, false)?,
        Type::MicroTime => scalar::time(bytes, name, true)?,
        Type::Raw => scalar::raw(bytes, name, depth + 1)?,
        Type::Strings => Some(strings(bytes, name)?),
        Type::Message(_) => {
            let mut object = Map::new();
            if let Some(inner) = field.message() {
                decode(inner, bytes, depth + 1, &mut object)?;
            }
            Some(Value::Object(object))
        }
        Type::Int32 | Type::Int64 | Type::Bool | Type::Double | Type::String => None,
    })
}

fn strings(bytes: &[u8], field: &str) -> Result<Value, Error> {
    let mut items = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        match tag.number {
            1 => items.push(Value::String(reader.string(tag, field)?)),
            _ => reader.skip(tag)?,
        }
    }
    Ok(Value::Array(items))
}
