//! Parsing JSON while watching its keys.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::MAX_PROBLEMS;
use super::target::{Target, push_index, push_key};

/// A body and what is wrong with its keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The body. Of a key that came twice the last value counts; unknown fields are still in it.
    pub value: Value,
    /// Problems in the order of the text: `duplicate field "spec.replicas"`, `unknown field "spec.foo"`.
    pub problems: Vec<String>,
}

/// The body is not JSON; the text says where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("couldn't get version/kind; json parse error: {0}")]
pub struct SyntaxError(String);

/// Parses a body and finds its duplicate fields.
pub fn parse_json(body: &[u8]) -> Result<Parsed, SyntaxError> {
    parse(body, Target::Free)
}

/// Parses a body of a kind and finds its duplicate and its unknown fields.
pub fn parse_json_as(body: &[u8], api_version: &str, kind: &str) -> Result<Parsed, SyntaxError> {
    parse(body, Target::of_kind(api_version, kind))
}

fn parse(body: &[u8], target: Target) -> Result<Parsed, SyntaxError> {
    let mut watch = Watch {
        path: String::new(),
        problems: Vec::new(),
    };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let error = |error: serde_json::Error| SyntaxError(error.to_string());
    let value = Node {
        target,
        watch: &mut watch,
    }
    .deserialize(&mut deserializer)
    .map_err(error)?;
    deserializer.end().map_err(error)?;
    Ok(Parsed {
        value,
        problems: watch.problems,
    })
}

/// Where the parser is, and what it found so far.
struct Watch {
    path: String,
    problems: Vec<String>,
}

impl Watch {
    fn found(&mut self, what: &str) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let problem = format!("{what} field \"{}\"", self.path);
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

struct Node<'w> {
    target: Target,
    watch: &'w mut Watch,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let length = self.watch.path.len();
        let mut list = Vec::new();
        loop {
            push_index(&mut self.watch.path, list.len());
            let item = items.next_element_seed(Node {
                target: self.target.item(),
                watch: self.watch,
            })?;
            self.watch.path.truncate(length);
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let length = self.watch.path.len();
        let opaque = self.target.is_opaque();
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            push_key(&mut self.watch.path, &key);
            let target = if opaque {
                Some(Target::Opaque)
            } else {
                self.target.member(&key)
            };
            if target.is_none() {
                self.watch.found("unknown");
            } else if !opaque && object.contains_key(&key) {
                self.watch.found("duplicate");
            }
            let target = target.unwrap_or(Target::Opaque);
            let value = entries.next_value_seed(Node {
                target,
                watch: self.watch,
            })?;
            self.watch.path.truncate(length);
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}
