//! Whether a patch left alone what it does not name.
//!
//! Judged by the fields at the second level (`spec.replicas`, `status.conditions`, a key of `data`), by the single
//! labels and annotations, and by finalizers and owners as a whole. Not judged: what lies below these; metadata that is
//! the server's; a part that the patch replaces, takes away or whose keys it names (`null`, `$patch`, `$retainKeys`); a
//! service's spec, in which one field has consequences for others.

use std::borrow::Cow;

use serde_json::Value;

use crate::json;

/// The first field that a patch of a kind changed without naming it, if there is one.
pub fn stray(resource: &str, patch: &[u8], before: &[u8], after: &[u8]) -> Option<String> {
    let [patch, before, after] = [patch, before, after].map(|bytes| Fields::of(Some(bytes)));
    let (patch, before, after) = (patch?, before?, after?);
    metadata(&patch, &before, &after).or_else(|| {
        names(&before, &after).find_map(|part| {
            let own = ["metadata", "apiVersion", "kind"].contains(&part);
            let has_consequences =
                part == "spec" && resource == "services" || part == "data" && patch.names("stringData");
            if own || has_consequences || patch.takes_away(part) {
                return None;
            }
            differing(part, patch.get(part), before.get(part), after.get(part))
        })
    })
}

/// The first label, annotation, finalizer or owner that differs without being named.
fn metadata(patch: &Fields, before: &Fields, after: &Fields) -> Option<String> {
    let [patch, before, after] = [patch, before, after].map(|all| Fields::of(all.get("metadata")));
    let (patch, before, after) = (patch?, before?, after?);
    let entry = ["labels", "annotations"]
        .into_iter()
        .filter(|part| !patch.takes_away(part))
        .find_map(|part| differing(part, patch.get(part), before.get(part), after.get(part)));
    let owned = || {
        let mut parts = ["finalizers", "ownerReferences"].into_iter();
        parts.find(|part| !patch.names(part) && !same(before.get(part), after.get(part)))
    };
    entry.or_else(|| owned().map(str::to_owned))
}

/// The members of an object, as they are written. What is missing has none.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a [u8])>);

impl<'a> Fields<'a> {
    /// `None` if that is no object.
    fn of(value: Option<&'a [u8]>) -> Option<Self> {
        value.map_or(Some(Vec::new()), json::members).map(Fields)
    }

    fn names(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| own == name)
    }

    /// Whether a patch says `null` for a member.
    fn takes_away(&self, name: &str) -> bool {
        self.names(name) && self.get(name).is_none()
    }

    /// A member's value, unless it is `null`.
    fn get(&self, name: &str) -> Option<&'a [u8]> {
        let (_, value) = self.0.iter().find(|(own, _)| own == name)?;
        (*value != b"null").then_some(*value)
    }
}

/// The names of what either has.
fn names<'a>(one: &'a Fields, other: &'a Fields) -> impl Iterator<Item = &'a str> {
    let only_other = other.0.iter().filter(|(name, _)| !one.names(name));
    one.0.iter().chain(only_other).map(|(name, _)| &**name)
}

/// Whether two values are the same, however they are written.
fn same(one: Option<&[u8]>, other: Option<&[u8]>) -> bool {
    let read = |value: Option<&[u8]>| value.and_then(|value| serde_json::from_slice::<Value>(value).ok());
    one == other || read(one) == read(other)
}

/// The first field of a part that differs without being named; the part itself, if it has no fields.
fn differing(part: &str, patch: Option<&[u8]>, before: Option<&[u8]>, after: Option<&[u8]>) -> Option<String> {
    if before == after {
        return None;
    }
    let (Some(old), Some(new)) = (Fields::of(before), Fields::of(after)) else {
        return (patch.is_none() && !same(before, after)).then(|| part.to_owned());
    };
    let named = Fields::of(patch)?;
    if named.names("$patch") || named.names("$retainKeys") {
        return None;
    }
    let field = names(&old, &new).find(|name| !named.names(name) && !same(old.get(name), new.get(name)))?;
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
    fn a_patch_takes_away_what_it_sets_to_null() {
        let before = json!({"metadata": {"labels": {"a": "1"}, "annotations": {"b": "1"}}, "data": {"key": "a"}});
        let bare = json!({"metadata": {}});
        let all = json!({"metadata": {"labels": null, "annotations": null}, "data": null});
        assert_eq!(stray(&all, &before, &bare), None);
        let labels = json!({"metadata": {"labels": null}, "data": null});
        assert_eq!(stray(&labels, &before, &bare), Some("annotations.b".to_owned()));
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
