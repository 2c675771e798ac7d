//! The head of an object or list: its metadata, read without reading the rest.
//!
//! Kinds are encoded with their metadata before everything that is long, so that reading can stop there. Of a list
//! everything is read, since its items come last.

use crate::json::Text;

/// What is read of an object's metadata.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The name.
    pub name: String,
    /// The namespace; empty for cluster-wide kinds.
    pub namespace: String,
    /// The resourceVersion, as it stands there.
    pub resource_version: String,
    /// The uid.
    pub uid: Option<String>,
    /// By what a list goes on, if it does: the token `continue`.
    pub next: Option<String>,
}

/// What is read of an object or list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its metadata.
    pub metadata: Meta,
    /// The metadata of its items, if it is a list.
    pub items: Option<Vec<Meta>>,
}

/// Reads the head of what `bytes` begin with; `None` if that is no object.
pub fn read(bytes: &[u8]) -> Option<Head> {
    let mut text = Text::new(bytes);
    let mut head = Head::default();
    let mut is_one = false;
    let mut members = text.open(b'{')?;
    while members {
        match text.key()? {
            b"kind" => is_one = !text.string()?.ends_with("List"),
            b"metadata" => {
                head.metadata = meta(&mut text)?;
                if is_one {
                    return Some(head);
                }
            }
            b"items" => head.items = items(&mut text)?,
            _ => text.skip()?,
        }
        members = text.goes_on(b'}')?;
    }
    Some(head)
}

fn meta(text: &mut Text) -> Option<Meta> {
    let mut meta = Meta::default();
    let mut members = text.open(b'{')?;
    while members {
        match text.key()? {
            b"name" => meta.name = text.string()?.into_owned(),
            b"namespace" => meta.namespace = text.string()?.into_owned(),
            b"resourceVersion" => meta.resource_version = text.string()?.into_owned(),
            b"uid" if text.peek()? == b'"' => meta.uid = Some(text.string()?.into_owned()),
            b"continue" if text.peek()? == b'"' => {
                meta.next = Some(text.string()?.into_owned()).filter(|token| !token.is_empty());
            }
            _ => text.skip()?,
        }
        members = text.goes_on(b'}')?;
    }
    Some(meta)
}

/// The metadata of a list's items; none if it is `null`.
fn items(text: &mut Text) -> Option<Option<Vec<Meta>>> {
    if text.peek()? == b'n' {
        return text.skip().map(|()| None);
    }
    let mut items = Vec::new();
    let mut more = text.open(b'[')?;
    while more {
        let mut meta = Meta::default();
        let mut members = text.open(b'{')?;
        while members {
            match text.key()? {
                b"metadata" => meta = self::meta(text)?,
                _ => text.skip()?,
            }
            members = text.goes_on(b'}')?;
        }
        items.push(meta);
        more = text.goes_on(b']')?;
    }
    Some(Some(items))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

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
        let list = br#"{"kind":"PodList","metadata":{"continue":"t","remainingItemCount":3,"resourceVersion":"7"},
            "items":[{"metadata":{"name":"a"}},{}]}"#;
        let head = read(list).expect("it is a list");
        assert_eq!(head.metadata.resource_version, "7");
        assert_eq!(head.metadata.next.as_deref(), Some("t"));
        assert_eq!(head.items.map(|items| items.len()), Some(2));
        let other = read(br#"{"metadata":{"name":"a"},"items":[{}],"kind":"XList"}"#).expect("it is a list");
        assert_eq!(other.items.map(|items| items.len()), Some(1));
        assert!(read(br#"{"kind":"PodList","metadata":{},"items":[{"#).is_none());
    }

    proptest! {
        #[test]
        fn it_reads_what_a_parser_reads(text in json(), cut in any::<prop::sample::Index>()) {
            let value: Value = serde_json::from_str(&text).expect("it is JSON");
            let meta = |value: &Value| {
                let of = |name: &str| value["metadata"][name].as_str().unwrap_or_default().to_owned();
                Meta {
                    name: of("name"),
                    namespace: of("namespace"),
                    resource_version: of("resourceVersion"),
                    uid: value["metadata"]["uid"].as_str().map(str::to_owned),
                    next: Some(of("continue")).filter(|token| !token.is_empty()),
                }
            };
            let items = value["items"].as_array().map(|items| items.iter().map(meta).collect());
            prop_assert_eq!(read(text.as_bytes()), Some(Head { metadata: meta(&value), items }));
            // Whatever is cut off, nothing panics.
            let _ = read(&text.as_bytes()[..cut.index(text.len())]);
        }
    }

    /// Lists and objects, with spaces and without, whose strings hold what JSON escapes or does not.
    fn json() -> impl Strategy<Value = String> {
        let text = || prop_oneof!["[a-z]{0,4}", Just("\"\\{[".to_owned()), ".{0,6}"];
        let other = || {
            prop_oneof![
                Just(json!(null)),
                Just(json!(-1.5)),
                text().prop_map(Value::from),
                (text(), text()).prop_map(|(key, value)| json!({ key: [value, {}, []] })),
            ]
        };
        let meta = move || {
            let some = || proptest::option::of(text());
            (text(), text(), some(), some(), other()).prop_map(|(name, version, uid, next, other)| {
                json!({
                    "labels": other, "name": name, "resourceVersion": version, "uid": uid, "continue": next, "x": []
                })
            })
        };
        let item = move || (other(), meta()).prop_map(|(other, meta)| json!({ "spec": other, "metadata": meta }));
        let items = proptest::option::of(proptest::collection::vec(item(), 0..4));
        (meta(), items, other(), any::<bool>()).prop_map(|(meta, items, other, pretty)| {
            let mut value = json!({ "kind": "XList", "apiVersion": other, "metadata": meta });
            if let Some(items) = items {
                value["items"] = items.into();
            }
            if pretty {
                serde_json::to_string_pretty(&value)
            } else {
                serde_json::to_string(&value)
            }
            .expect("it is JSON")
        })
    }

    #[test]
    fn what_is_no_object_has_no_head() {
        assert!(read(b"a line of a log").is_none());
        assert!(read(b"").is_none());
        assert!(read(b"[1]").is_none());
    }
}
