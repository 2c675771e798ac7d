//! The head of an object or list: its metadata, read without reading the rest.
//!
//! Kinds are encoded with their metadata before everything that is long, so that reading can stop there. Of a list
//! everything is read, since its items come last.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// What is read of an object's metadata.
#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// The name.
    pub name: String,
    /// The namespace; empty for cluster-wide kinds.
    pub namespace: String,
    /// The resourceVersion, as it stands there.
    pub resource_version: String,
    /// The uid.
    pub uid: Option<String>,
}

/// What is read of an object or list.
#[derive(Debug, Default)]
pub struct Head {
    /// Its metadata.
    pub metadata: Meta,
    /// The metadata of its items, if it is a list.
    pub items: Option<Vec<Meta>>,
    /// Nothing more was to be read.
    enough: bool,
}

/// Reads the head of what `bytes` begin with; `None` if that is no object.
pub fn read(bytes: &[u8]) -> Option<Head> {
    let mut head = Head::default();
    let read = Reader(&mut head).deserialize(&mut serde_json::Deserializer::from_slice(bytes));
    (read.is_ok() || head.enough).then_some(head)
}

struct Reader<'a>(&'a mut Head);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Field {
    Kind,
    Metadata,
    Items,
    #[serde(other)]
    Other,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Item {
    metadata: Meta,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut is_one = false;
        while let Some(field) = map.next_key()? {
            match field {
                Field::Kind => is_one = !map.next_value::<String>()?.ends_with("List"),
                Field::Metadata => {
                    self.0.metadata = map.next_value()?;
                    if is_one {
                        self.0.enough = true;
                        // The only way to leave the rest unread.
                        return Err(A::Error::custom("enough"));
                    }
                }
                Field::Items => {
                    let items: Option<Vec<Item>> = map.next_value()?;
                    self.0.items = items.map(|items| items.into_iter().map(|item| item.metadata).collect());
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_an_object_stops_behind_its_metadata() {
        let head = read(br#"{"kind":"Pod","metadata":{"name":"a","uid":"u","resourceVersion":"7"},"spec":{"#);
        let metadata = head.expect("it is an object").metadata;
        assert_eq!((&*metadata.name, &*metadata.resource_version), ("a", "7"));
        assert_eq!(metadata.uid.as_deref(), Some("u"));
    }

    #[test]
    fn a_list_is_read_to_its_end_in_whatever_order_it_comes() {
        let list = br#"{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a"}},{}]}"#;
        let head = read(list).expect("it is a list");
        assert_eq!(head.metadata.resource_version, "7");
        assert_eq!(head.items.map(|items| items.len()), Some(2));
        let other = read(br#"{"metadata":{"name":"a"},"items":[{}],"kind":"XList"}"#).expect("it is a list");
        assert_eq!(other.items.map(|items| items.len()), Some(1));
        assert!(read(br#"{"kind":"PodList","metadata":{},"items":[{"#).is_none());
    }

    #[test]
    fn what_is_no_object_has_no_head() {
        assert!(read(b"a line of a log").is_none());
        assert!(read(b"").is_none());
        assert!(read(b"[1]").is_none());
    }
}
