//! Whether a patch left alone what it does not name.
//!
//! Judged by the fields at the second level (`spec.replicas`, `status.conditions`, a key of `data`), by the single labels and
//! annotations, and by finalizers and owners as a whole. Not judged: what lies below these; metadata that is the server's;
//! a part that the patch replaces or whose keys it names (`$patch`, `$retainKeys`); a service's spec, in which one field has
//! consequences for others.

use serde_json::{Map, Value};

/// The first field that a patch of a kind changed without naming it, if there is one.
pub fn stray(resource: &str, patch: &[u8], before: &[u8], after: &[u8]) -> Option<String> {
    let [patch, before, after] = [patch, before, after].map(|bytes| serde_json::from_slice::<Value>(bytes).ok());
    let (patch, before, after) = (patch?, before?, after?);
    let (patch, before, after) = (patch.as_object()?, before.as_object()?, after.as_object()?);
    let metadata = ["labels", "annotations"].into_iter().find_map(|part| {
        let [patch, before, after] =
            [patch, before, after].map(|all| &all.get("metadata").unwrap_or(&Value::Null)[part]);
        differing(part, patch, before, after)
    });
    let owned = ["finalizers", "ownerReferences"].into_iter().find(|part| {
        let [patch, before, after] =
            [patch, before, after].map(|all| all.get("metadata").and_then(|meta| meta.get(part)));
        patch.is_none() && before != after
    });
    metadata.or(owned.map(str::to_owned)).or_else(|| {
        names(before, after).find_map(|part| {
            let own = ["metadata", "apiVersion", "kind"].contains(&part.as_str());
            let has_consequences =
                part == "spec" && resource == "services" || part == "data" && patch.contains_key("stringData");
            if own || has_consequences {
                return None;
            }
            let [patch, before, after] = [patch, before, after].map(|all| all.get(part).unwrap_or(&Value::Null));
            differing(part, patch, before, after)
        })
    })
}

/// The names of what either has.
fn names<'a>(one: &'a Map<String, Value>, other: &'a Map<String, Value>) -> impl Iterator<Item = &'a String> {
    one.keys().chain(other.keys().filter(|key| !one.contains_key(*key)))
}

/// The first field of a part that differs without being named; the part itself, if it has no fields.
fn differing(part: &str, patch: &Value, before: &Value, after: &Value) -> Option<String> {
    let none = Map::new();
    let fields = |value: &'_ Value| {
        value
            .as_object()
            .cloned()
            .or_else(|| value.is_null().then(|| none.clone()))
    };
    let (Some(before), Some(after)) = (fields(before), fields(after)) else {
        return (patch.is_null() && before != after).then(|| part.to_owned());
    };
    let named = match patch {
        Value::Object(named) => named,
        Value::Null => &none,
        _ => return None,
    };
    if named.keys().any(|key| key == "$patch" || key == "$retainKeys") {
        return None;
    }
    let field = names(&before, &after).find(|key| !named.contains_key(*key) && before.get(*key) != after.get(*key))?;
    Some(format!("{part}.{field}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn stray(patch: &Value, before: &Value, after: &Value) -> Option<String> {
        let [patch, before, after] = [patch, before, after].map(|value| value.to_string().into_bytes());
        super::stray("deployments.apps", &patch, &before, &after)
    }

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let before =
            json!({"metadata": {"generation": 1, "labels": {"a": "1"}}, "spec": {"replicas": 3, "paused": true}});
        let relabelled =
            json!({"metadata": {"generation": 2, "labels": {"a": "2"}}, "spec": {"replicas": 3, "paused": true}});
        let scaled = json!({"metadata": {"labels": {"a": "2"}}, "spec": {"replicas": 5, "paused": true}});
        let label = json!({"metadata": {"labels": {"a": "2"}}});
        assert_eq!(stray(&label, &before, &relabelled), None);
        assert_eq!(stray(&label, &before, &scaled), Some("spec.replicas".to_owned()));
        assert_eq!(
            stray(&json!({"spec": {"replicas": 5}}), &before, &scaled),
            Some("labels.a".to_owned())
        );
    }

    #[test]
    fn finalizers_and_data_are_somebodys_too() {
        let held = json!({"metadata": {"finalizers": ["x"]}, "data": {"key": "a"}});
        let free = json!({"metadata": {}, "data": {"key": "a"}});
        let other = json!({"metadata": {"finalizers": ["x"]}, "data": {"key": "b"}});
        let key = json!({"data": {"key": "b"}});
        assert_eq!(stray(&key, &held, &free), Some("finalizers".to_owned()));
        assert_eq!(stray(&key, &held, &other), None);
        assert_eq!(stray(&json!({"metadata": {"finalizers": null}}), &held, &free), None);
    }

    #[test]
    fn what_a_patch_replaces_is_its_own() {
        let (before, after) = (json!({"spec": {"a": 1, "b": 2}}), json!({"spec": {"a": 1}}));
        assert_eq!(
            stray(&json!({"spec": {"$patch": "replace", "a": 1}}), &before, &after),
            None
        );
        assert_eq!(
            stray(&json!({"spec": {"a": 1}}), &before, &after),
            Some("spec.b".to_owned())
        );
    }
}
