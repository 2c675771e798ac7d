//! Messages that are scalars in JSON: quantities, times, integers or strings, raw JSON.

use jiff::Timestamp;
use serde_json::Value;

use super::wire::Reader;
use super::{Error, MAGIC};

/// A message with one string, its field 1.
pub(super) fn quantity(bytes: &[u8], field: &str) -> Result<Value, Error> {
    let mut text = String::new();
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        match tag.number {
            1 => text = reader.string(tag, field)?,
            _ => reader.skip(tag)?,
        }
    }
    Ok(if text.is_empty() { "0".into() } else { text.into() })
}

pub(super) fn int_or_string(bytes: &[u8], field: &str) -> Result<Value, Error> {
    let (mut is_string, mut number, mut text) = (false, 0, String::new());
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        match (tag.number, tag.wire_type) {
            (1, 0) => is_string = reader.varint()? == 1,
            (2, 0) => number = reader.varint()? as i32,
            (1 | 2, _) => return Err(tag.unexpected(field)),
            (3, _) => text = reader.string(tag, field)?,
            _ => reader.skip(tag)?,
        }
    }
    Ok(if is_string { text.into() } else { number.into() })
}

/// A time; none if it is Go's zero time, which JSON shows as null.
pub(super) fn time(bytes: &[u8], field: &str, micros: bool) -> Result<Option<Value>, Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        match (tag.number, tag.wire_type) {
            (1, 0) => seconds = reader.varint()? as i64,
            (2, 0) => nanos = reader.varint()? as i32,
            (1 | 2, _) => return Err(tag.unexpected(field)),
            _ => reader.skip(tag)?,
        }
    }
    /// 0001-01-01T00:00:00Z, which Go calls zero.
    const ZERO: i64 = -62_135_596_800;
    if seconds == ZERO && nanos == 0 {
        return Ok(None);
    }
    let out_of_range = || Error::Time(field.to_owned());
    let time = Timestamp::new(seconds, nanos).map_err(|_| out_of_range())?;
    if seconds < ZERO {
        return Err(out_of_range());
    }
    Ok(Some(crate::strict::format_time(time, micros).into()))
}

/// The JSON inside a message, or the object of a nested protobuf body; none if it is empty.
pub(super) fn raw(bytes: &[u8], field: &str, depth: u32) -> Result<Option<Value>, Error> {
    let mut raw = &b""[..];
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        match tag.number {
            1 => raw = reader.bytes(tag, field)?,
            _ => reader.skip(tag)?,
        }
    }
    if raw.is_empty() {
        return Ok(None);
    }
    if raw.starts_with(MAGIC) {
        return super::decode_nested(raw, None, depth).map(Some);
    }
    serde_json::from_slice(raw).map(Some).map_err(|error| Error::Json {
        field: field.to_owned(),
        message: error.to_string(),
    })
}
