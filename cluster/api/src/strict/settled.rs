//! Whether a body is what Go's type would write already: found in one walk that builds nothing, since each write of our
//! own components is asked so.

use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::time::is_as_written;
use crate::quantity::Quantity;
use crate::schema::{Cardinality, Field, Message, Schema, Type};

/// Whether [`normalize`](super::normalize) would leave a body of a kind as it is, and nothing in it is unknown. Whether
/// numbers and times exist and bytes are base64 is for whoever decodes them to find. A body of an unknown kind is never
/// changed.
pub fn is_normal(body: &[u8], api_version: &str, kind: &str) -> bool {
    let Some(message) = Schema::get().message_for(api_version, kind) else {
        return true;
    };
    let Ok(text) = std::str::from_utf8(body) else {
        return false;
    };
    let mut source = serde_json::Deserializer::from_str(text);
    Place::Root(message).deserialize(&mut source).is_ok() && source.end().is_ok()
}

/// As [`is_normal`], of a value.
pub fn is_normal_value(value: &Value, api_version: &str, kind: &str) -> bool {
    let message = Schema::get().message_for(api_version, kind);
    message.is_none_or(|message| Place::Root(message).deserialize(value).is_ok())
}

/// What stands at a place. Reading it succeeds if it is as Go would write it.
#[derive(Clone, Copy)]
enum Place {
    /// The body.
    Root(&'static Message),
    /// All of a field: a value, a list or a map.
    Whole(&'static Field),
    /// One element of a list or a map.
    Element(&'static Field),
}

impl Place {
    /// The type of the one value that stands here; none where a list, a map or the body does.
    fn value_type(self) -> Option<Type> {
        match self {
            Place::Root(_) => None,
            Place::Whole(field) => (field.cardinality == Cardinality::Single).then_some(field.element),
            Place::Element(field) => Some(field.element),
        }
    }

    /// What is expected under a key; none if the key is unknown, or nothing should have keys here.
    fn member(self, key: &str) -> Option<Place> {
        let message = match self {
            Place::Root(message) => message,
            Place::Whole(field) if field.cardinality == Cardinality::Map => return Some(Place::Element(field)),
            Place::Whole(field) if field.cardinality == Cardinality::List => return None,
            Place::Whole(field) | Place::Element(field) => field.message()?,
        };
        message.field(key).map(Place::Whole)
    }

    /// Fails where Go leaves `value` out.
    fn keep<E: de::Error>(self, value: &Value) -> Result<(), E> {
        match self {
            Place::Whole(field) if field.omits(value) => Err(other()),
            _ => Ok(()),
        }
    }

    fn number<E: de::Error>(self, number: impl Into<Value>) -> Result<(), E> {
        match self.value_type() {
            Some(Type::Int32 | Type::Int64 | Type::Double | Type::IntOrString) => self.keep(&number.into()),
            _ => Err(other()),
        }
    }
}

/// Go would write something else. Nobody reads the words.
fn other<E: de::Error>() -> E {
    E::custom("not as Go writes it")
}

impl<'de> DeserializeSeed<'de> for Place {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        if self.value_type() != Some(Type::Raw) {
            return source.deserialize_any(self);
        }
        let is_null = Option::<IgnoredAny>::deserialize(source)?.is_none();
        if is_null && matches!(self, Place::Whole(_)) {
            return Err(other());
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Place {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what Go's type would write")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        match self.value_type() {
            Some(Type::Bool) => self.keep(&value.into()),
            _ => Err(other()),
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.number(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.number(value)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.number(value)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        let is_normal = match self.value_type() {
            Some(Type::String | Type::IntOrString) => true,
            Some(Type::Bytes) => !text.contains(['\r', '\n']),
            Some(Type::Quantity) => Quantity::parse(text).is_ok_and(|quantity| quantity.to_string() == text),
            Some(Type::Time) => is_as_written(text, false),
            Some(Type::MicroTime) => is_as_written(text, true),
            _ => false,
        };
        match is_normal {
            true if text.is_empty() => self.keep(&Value::String(String::new())),
            true => Ok(()),
            false => Err(other()),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Place::Whole(field) = self else { return Err(other()) };
        if field.cardinality != Cardinality::List {
            return Err(other());
        }
        let mut is_empty = true;
        while items.next_element_seed(Place::Element(field))?.is_some() {
            is_empty = false;
        }
        match is_empty {
            true => self.keep(&Value::Array(Vec::new())),
            false => Ok(()),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut is_empty = true;
        while let Some(place) = entries.next_key_seed(Key(self))? {
            entries.next_value_seed(place)?;
            is_empty = false;
        }
        let may_be_object = match self {
            Place::Root(_) => true,
            Place::Whole(field) if field.cardinality == Cardinality::Map => true,
            Place::Whole(_) | Place::Element(_) => matches!(self.value_type(), Some(Type::Message(_))),
        };
        match (may_be_object, is_empty) {
            (false, _) => Err(other()),
            (true, true) => self.keep(&Value::Object(Map::new())),
            (true, false) => Ok(()),
        }
    }
}

/// A key of what stands at a place; it is read as the place below it.
struct Key(Place);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Place;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Place, D::Error> {
        source.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Place;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Place, E> {
        self.0.member(key).ok_or_else(other)
    }
}
