//! One field of a message.

use std::fmt;

use serde_json::Value;

use super::{Message, Schema};

/// How many values a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    /// One value, or none.
    Single,
    /// A JSON array.
    List,
    /// A JSON object with free keys.
    Map,
}

/// What one value of a field is: of the list's elements or the map's values, if it is a list or a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A string.
    String,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A boolean.
    Bool,
    /// A floating-point number.
    Double,
    /// Bytes, base64 in JSON.
    Bytes,
    /// A [`Quantity`](crate::quantity::Quantity): a string in JSON, where a number is accepted too.
    Quantity,
    /// A 32-bit integer or a string.
    IntOrString,
    /// An RFC 3339 time of whole seconds, or null.
    Time,
    /// An RFC 3339 time with microseconds, or null.
    MicroTime,
    /// Any JSON: `RawExtension` and `FieldsV1`.
    Raw,
    /// A list of strings that is a message in protobuf (`ExtraValue`, `Verbs`).
    Strings,
    /// An object with the fields of a message, by its index in the schema.
    Message(u32),
}

/// How server-side apply sees a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    /// Replaced as a whole.
    Atomic,
    /// A set of scalars.
    Set,
    /// Objects told apart by [`Field::list_map_keys`].
    Map,
}

/// How strategic merge patch treats a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    /// A list is merged element by element; otherwise it is replaced.
    pub merge: bool,
    /// An object is replaced, not merged.
    pub replace: bool,
    /// A patch names the keys that stay; the others are cleared.
    pub retain_keys: bool,
}

/// How Go's type writes the field, which decides what a zero value looks like in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Go {
    /// A pointer: its absence differs from a zero, and a zero is written.
    pub pointer: bool,
    /// `omitempty`: zero scalars, empty lists and empty maps are left out.
    pub omit_empty: bool,
    /// `omitzero`: also an empty object is left out.
    pub omit_zero: bool,
}

/// A field of a message, as JSON sees it.
#[derive(Clone, PartialEq)]
pub struct Field {
    /// The name in JSON.
    pub name: &'static str,
    /// The number in protobuf.
    pub number: u32,
    /// How many values it holds.
    pub cardinality: Cardinality,
    /// What each of them is.
    pub element: Type,
    /// How server-side apply sees it, if it is a list; lists without a mark are atomic.
    pub list_type: Option<ListType>,
    /// The keys that tell the elements of a [`ListType::Map`] apart.
    pub list_map_keys: Vec<&'static str>,
    /// How strategic merge patch treats it.
    pub patch_strategy: PatchStrategy,
    /// The key that tells the elements of a merged list of objects apart.
    pub patch_merge_key: Option<&'static str>,
    /// The default declared on the type, as JSON text.
    pub default: Option<&'static str>,
    /// An object or map that server-side apply replaces as a whole.
    pub atomic: bool,
    /// How Go's type writes it.
    pub go: Go,
    pub(super) go_type: &'static str,
    pub(super) inline: bool,
}

impl Field {
    /// The message of its value or elements, if these are objects with known fields.
    pub fn message(&self) -> Option<&'static Message> {
        match self.element {
            Type::Message(index) => Schema::get().at(index),
            _ => None,
        }
    }

    /// Whether Go leaves this value of the field out of JSON.
    pub fn omits(&self, value: &Value) -> bool {
        if self.go.pointer {
            return false;
        }
        match (self.cardinality, self.element) {
            (Cardinality::Single, Type::Message(_)) => {
                self.go.omit_zero && value.as_object().is_some_and(serde_json::Map::is_empty)
            }
            // Structs in Go, which `omitempty` does not touch.
            (Cardinality::Single, Type::IntOrString | Type::Quantity | Type::Time | Type::MicroTime | Type::Raw) => {
                false
            }
            _ if !self.go.omit_empty => false,
            _ => match value {
                Value::Null => true,
                Value::Bool(value) => !value,
                Value::Number(number) => number.as_f64() == Some(0.0),
                Value::String(text) => text.is_empty(),
                Value::Array(items) => items.is_empty(),
                Value::Object(entries) => entries.is_empty(),
            },
        }
    }

    /// The name of the element's type in Go, as decoding errors spell it: `int32`, `v1.Protocol`, `v1.Container`.
    pub fn element_type_name(&self) -> String {
        if !self.go_type.is_empty() && !self.go_type.starts_with('=') {
            return self.go_type.to_owned();
        }
        match self.element {
            Type::String => "string".into(),
            Type::Int32 => "int32".into(),
            Type::Int64 => "int64".into(),
            Type::Bool => "bool".into(),
            Type::Double => "float64".into(),
            Type::Bytes => "[]uint8".into(),
            Type::Quantity => "resource.Quantity".into(),
            Type::IntOrString => "intstr.IntOrString".into(),
            Type::Time => "v1.Time".into(),
            Type::MicroTime => "v1.MicroTime".into(),
            Type::Raw => "runtime.RawExtension".into(),
            Type::Strings => "[]string".into(),
            Type::Message(_) => self.message().map_or_else(String::new, Message::go_name),
        }
    }

    /// The name of the whole field's type in Go: `[]v1.Container`, `map[string]string`, `v1.ResourceList`.
    pub fn type_name(&self) -> String {
        if let Some(whole) = self.go_type.strip_prefix('=') {
            return whole.to_owned();
        }
        match self.cardinality {
            Cardinality::Single => self.element_type_name(),
            Cardinality::List => format!("[]{}", self.element_type_name()),
            Cardinality::Map => format!("map[string]{}", self.element_type_name()),
        }
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.name, self.number, self.type_name())
    }
}
