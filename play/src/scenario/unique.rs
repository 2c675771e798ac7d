//! Keys and values whose keys are each there once. Of a key that is written twice, serde's own maps keep the last value
//! and say nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// For `#[serde(deserialize_with)]`.
pub fn map<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    struct MapVisitor<K, V>(PhantomData<(K, V)>);
    impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for MapVisitor<K, V> {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("keys and values")
        }

        fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
            read(entries)
        }
    }
    deserializer.deserialize_map(MapVisitor(PhantomData))
}

/// Reads what is left of a map.
pub fn read<'de, A, K, V>(mut entries: A) -> Result<BTreeMap<K, V>, A::Error>
where
    A: MapAccess<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    let mut read = BTreeMap::new();
    while let Some(key) = entries.next_key_seed(New(&read))? {
        let value = entries.next_value()?;
        read.insert(key, value);
    }
    Ok(read)
}

/// A map like [`map`] reads, where one can stand only as a type.
#[derive(Debug, Clone, PartialEq)]
pub struct Unique<V>(pub BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        map(deserializer).map(Unique)
    }
}

/// For `#[serde(deserialize_with)]`: any value.
pub fn value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Json::deserialize(deserializer).map(|Json(value)| value)
}

/// Any value, where one can stand only as a type.
#[derive(Debug, Clone, PartialEq)]
pub struct Json(pub Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JsonVisitor;
        impl<'de> Visitor<'de> for JsonVisitor {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value of JSON")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_none<E: de::Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
                value(deserializer)
            }

            fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut all = Vec::new();
                while let Some(Json(item)) = items.next_element()? {
                    all.push(item);
                }
                Ok(Value::Array(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Value, A::Error> {
                let all: BTreeMap<String, Json> = read(entries)?;
                let all: Map<String, Value> = all.into_iter().map(|(key, Json(value))| (key, value)).collect();
                Ok(Value::Object(all))
            }
        }
        deserializer.deserialize_any(JsonVisitor).map(Json)
    }
}

/// A key that is not yet there. It is refused while it is read, and so with its own place.
struct New<'a, K, V>(&'a BTreeMap<K, V>);

impl<'de, K: Deserialize<'de> + Ord, V> DeserializeSeed<'de> for New<'_, K, V> {
    type Value = K;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<K, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, K: Deserialize<'de> + Ord, V> Visitor<'de> for New<'_, K, V> {
    type Value = K;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<K, E> {
        let key = K::deserialize(word.into_deserializer())?;
        if self.0.contains_key(&key) {
            return Err(E::custom(format!("the key {word:?} is there twice")));
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_there_twice_is_refused_with_its_own_place() {
        let read = |text: &str| serde_yaml::from_str::<Json>(text).map_err(|error| error.to_string());
        insta::assert_snapshot!(read("a: { b: 1, c: 1,\n  b: 2 }").unwrap_err(), @r#"a: the key "b" is there twice at line 2 column 3"#);
        insta::assert_snapshot!(read("- 1\n- { b: 1, b: 1 }").unwrap_err(), @r#".[1]: the key "b" is there twice at line 2 column 11"#);
        assert!(serde_yaml::from_str::<Unique<u32>>("{ a: 1, b: 2, a: 1 }").is_err());
    }

    #[test]
    fn every_value_is_read_as_json_reads_it() {
        let text = r#"{"a": [1, -2, 1.5, true, null, "x", {}], "b": {"c": "1", "d": 18446744073709551615}}"#;
        let Json(read) = serde_yaml::from_str(text).unwrap();
        assert_eq!(read, serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(serde_yaml::from_str::<Json>("~").unwrap(), Json(Value::Null));
    }
}
