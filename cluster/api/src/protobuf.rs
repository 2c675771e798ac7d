//! Decoding protobuf bodies into the JSON that the client could have sent instead.
//!
//! kubectl 1.32 and newer sends many bodies in Kubernetes' protobuf encoding: `k8s\0`, then a message
//! `runtime.Unknown` that names the kind and holds its bytes. [`decode`] reads them by the [table](crate::schema) into
//! the JSON object that Go's type would have written: zero values left out where Go leaves them out, zeros behind
//! pointers kept, messages inlined where JSON inlines them. Fields that JSON would show as `null` are absent.
//!
//! Nothing here encodes: every such client also accepts JSON. Unknown fields are skipped, as Go's decoder does.

mod object;
mod scalar;
mod wire;

use serde_json::{Map, Value};

use crate::schema::Schema;

/// What a body in this encoding starts with.
pub const MAGIC: &[u8] = b"k8s\0";

/// How deep messages may nest; no kind comes near.
const MAX_DEPTH: u32 = 100;

/// Why a body cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The body does not start with [`MAGIC`].
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NotProtobuf,
    /// The body ends within a value.
    #[error("unexpected EOF")]
    Truncated,
    /// A number longer than 64 bits.
    #[error("proto: integer overflow")]
    Overflow,
    /// A field with an encoding that its type does not have.
    #[error("proto: wrong wireType = {wire_type} for field {field}")]
    WireType {
        /// The field, in JSON's name.
        field: String,
        /// The encoding found.
        wire_type: u8,
    },
    /// A field number or an encoding that does not exist.
    #[error("proto: illegal tag {0}")]
    Tag(u64),
    /// Messages within messages, too deep.
    #[error("proto: message nested too deeply")]
    TooDeep,
    /// A string that is not UTF-8.
    #[error("proto: field {0} contains invalid UTF-8")]
    Utf8(String),
    /// A field with JSON inside that is not JSON.
    #[error("proto: field {field}: {message}")]
    Json {
        /// The field, in JSON's name.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// A time that no calendar holds.
    #[error("proto: field {0}: time out of range")]
    Time(String),
    /// The body is encoded in some further way.
    #[error("unsupported content encoding {0:?}")]
    ContentEncoding(String),
    /// The body does not say what it is.
    #[error("Object 'Kind' is missing in the body")]
    MissingKind,
    /// The body is of a kind that is not served.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind {
        /// The body's apiVersion.
        api_version: String,
        /// The body's kind.
        kind: String,
    },
}

/// Decodes a body that says which kind it is of.
pub fn decode(body: &[u8]) -> Result<Value, Error> {
    decode_as(body, None)
}

/// As [`decode`]; a body that does not say its kind is of the (apiVersion, kind) given.
pub fn decode_as(body: &[u8], default: Option<(&str, &str)>) -> Result<Value, Error> {
    decode_nested(body, default, 0)
}

fn decode_nested(body: &[u8], default: Option<(&str, &str)>, depth: u32) -> Result<Value, Error> {
    let mut reader = wire::Reader::new(body.strip_prefix(MAGIC).ok_or(Error::NotProtobuf)?);
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &b""[..]);
    while let Some(tag) = reader.tag()? {
        match tag.number {
            1 => {
                let mut type_meta = wire::Reader::new(reader.bytes(tag, "typeMeta")?);
                while let Some(tag) = type_meta.tag()? {
                    match tag.number {
                        1 => api_version = type_meta.string(tag, "apiVersion")?,
                        2 => kind = type_meta.string(tag, "kind")?,
                        _ => type_meta.skip(tag)?,
                    }
                }
            }
            2 => raw = reader.bytes(tag, "raw")?,
            3 => {
                let encoding = reader.string(tag, "contentEncoding")?;
                if !encoding.is_empty() {
                    return Err(Error::ContentEncoding(encoding));
                }
            }
            _ => reader.skip(tag)?,
        }
    }
    if let (true, Some((default_version, default_kind))) = (kind.is_empty(), default) {
        (api_version, kind) = (default_version.to_owned(), default_kind.to_owned());
    }
    if kind.is_empty() {
        return Err(Error::MissingKind);
    }
    let Some(message) = Schema::get().message_for(&api_version, &kind) else {
        return Err(Error::UnknownKind { api_version, kind });
    };
    let mut object = Map::new();
    object::decode(message, raw, depth, &mut object)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}
