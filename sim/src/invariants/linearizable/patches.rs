//! Whether a patch did what it names, and left alone what it does not.
//!
//! What an acknowledged patch shows must have the values that it names, in labels, annotations, `data` and `spec`, and
//! no label, annotation or key of `data` that it takes away. What it does not name must be as it was: judged by the
//! fields at the second level (`spec.replicas`, `status.conditions`, a key of `data`), by those below them that were
//! there before, by the single labels and annotations, and by finalizers and owners as a whole. Containers and conditions
//! in a strategic patch are looked into one by one, told apart by their keys.
//!
//! Not judged: what the server may write otherwise than it was sent (quantities, times, zeros); what a patch takes away
//! of a spec, since a default may take its place; other lists; metadata that is the server's; a part that the patch
//! replaces, takes away or whose keys it names (`null`, `$patch`, `$retainKeys`); a service's spec, in which one field
//! has consequences for others; whether a status is what a patch of it names.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::json::{self, Text};
use crate::model::Asked;

/// A field that follows another: the older name of `serviceAccountName`.
const FOLLOWING: &str = "serviceAccount";
/// Fields that the server may write otherwise than they are named.
const UNLIKE: [&str; 7] = [
    FOLLOWING,
    "resources",
    "overhead",
    "creationTimestamp",
    "renewTime",
    "acquireTime",
    "kubernetes.io/metadata.name",
];

/// A patch that names all that it changes.
#[derive(Debug, Clone)]
pub struct Patch {
    resource: Arc<str>,
    subresource: String,
    bytes: Bytes,
    /// Whether it merges lists by the keys of their elements.
    strategic: bool,
}

impl Patch {
    /// What a request sends, if that is one.
    pub fn of(asked: &Asked) -> Option<Self> {
        let bytes = asked.patch.clone()?;
        let path = asked.path.as_ref()?;
        Some(Patch {
            resource: path.resource.clone(),
            subresource: path.subresource.clone(),
            bytes,
            strategic: asked.strategic,
        })
    }

    /// The first field that it names and that an object does not have so, which is shown as what came of it.
    pub fn lacking(&self, object: &[u8]) -> Option<String> {
        if !self.subresource.is_empty() {
            return None;
        }
        let (patch, object) = (Fields::of(Some(&self.bytes[..]))?, Fields::of(Some(object))?);
        let [named, shown] = [&patch, &object].map(|all| Fields::of(all.get("metadata")));
        let (named, shown) = (named?, shown?);
        let mut metadata = ["labels", "annotations"].into_iter();
        let metadata = metadata.find_map(|part| self.unset(part, named.get(part)?, shown.get(part)));
        let mut content = ["data", "spec"].into_iter().filter(|part| match *part {
            "data" => !patch.names("stringData"),
            _ => &*self.resource != "services",
        });
        metadata.or_else(|| content.find_map(|part| self.unset(part, patch.get(part)?, object.get(part))))
    }

    /// The first field below `name` that is not as it is named.
    fn unset(&self, name: &str, patch: &[u8], object: Option<&[u8]>) -> Option<String> {
        if UNLIKE.contains(&name) {
            return None;
        }
        let is_map = ["labels", "annotations", "data"].contains(&name);
        let within = |below: String| format!("{name}.{below}");
        match Text::new(patch).peek()? {
            b'{' => {
                let (named, shown) = (Fields::of(Some(patch))?, Fields::of(object)?);
                if named.replaces() {
                    return None;
                }
                let mut named = named.0.iter().filter(|(field, _)| !field.starts_with('$'));
                named.find_map(|(field, value)| {
                    let own = shown.get(field);
                    if *value != b"null" {
                        return self.unset(field, value, own).map(within);
                    }
                    (is_map && own.is_some()).then(|| within(field.clone().into_owned()))
                })
            }
            b'[' => {
                let key = self.key_of(name)?;
                let (named, shown) = (elements(patch, key)?, elements(object?, key)?);
                named.iter().find_map(|(element, value)| match find(&shown, element) {
                    Some(own) => self.unset(element, value, Some(own)).map(within),
                    None => Some(within(element.clone().into_owned())),
                })
            }
            _ => {
                // Zeros are left out, or are what a default stands for.
                let is_zero = patch == b"\"\"" || (object.is_none() && [&b"0"[..], b"false"].contains(&patch));
                (!is_zero && !same(Some(patch), object)).then(|| name.to_owned())
            }
        }
    }

    /// The first field that it does not name and that differs between two states of its object, if there is one.
    pub fn stray(&self, before: &[u8], after: &[u8]) -> Option<String> {
        let [patch, before, after] = [&self.bytes[..], before, after].map(|bytes| Fields::of(Some(bytes)));
        let (patch, before, after) = (patch?, before?, after?);
        self.metadata(&patch, &before, &after).or_else(|| {
            names(&before, &after).find_map(|part| {
                let own = ["metadata", "apiVersion", "kind"].contains(&part);
                let has_consequences =
                    part == "spec" && &*self.resource == "services" || part == "data" && patch.names("stringData");
                if own || has_consequences || patch.takes_away(part) {
                    return None;
                }
                self.differing(part, patch.get(part), before.get(part), after.get(part))
            })
        })
    }

    /// The first label, annotation, finalizer or owner that differs without being named.
    fn metadata(&self, patch: &Fields, before: &Fields, after: &Fields) -> Option<String> {
        let [patch, before, after] = [patch, before, after].map(|all| Fields::of(all.get("metadata")));
        let (patch, before, after) = (patch?, before?, after?);
        let entry = ["labels", "annotations"]
            .into_iter()
            .filter(|part| !patch.takes_away(part))
            .find_map(|part| self.differing(part, patch.get(part), before.get(part), after.get(part)));
        let owned = || {
            let mut parts = ["finalizers", "ownerReferences"].into_iter();
            parts.find(|part| !patch.names(part) && !same(before.get(part), after.get(part)))
        };
        entry.or_else(|| owned().map(str::to_owned))
    }

    /// The first field of a part that differs without being named; the part itself, if it has no fields.
    fn differing(
        &self,
        part: &str,
        patch: Option<&[u8]>,
        before: Option<&[u8]>,
        after: Option<&[u8]>,
    ) -> Option<String> {
        if before == after {
            return None;
        }
        let (Some(old), Some(new)) = (Fields::of(before), Fields::of(after)) else {
            return (patch.is_none() && !same(before, after)).then(|| part.to_owned());
        };
        let named = Fields::of(patch)?;
        if named.replaces() {
            return None;
        }
        let unnamed = names(&old, &new).find(|name| !named.names(name) && !same(old.get(name), new.get(name)));
        let field = unnamed
            .map(str::to_owned)
            .or_else(|| self.lost_in_fields(&named, &old, &new))?;
        Some(format!("{part}.{field}"))
    }

    /// The first field below those that it names that was there, and is not as it was.
    fn lost_in_fields(&self, named: &Fields, old: &Fields, new: &Fields) -> Option<String> {
        old.0.iter().find_map(|(name, _)| {
            let (patch, was, is) = (named.get(name)?, old.get(name)?, new.get(name));
            let lost = match self.key_of(name) {
                _ if Some(was) == is => None,
                Some(key) => self.lost_in_list(&elements(patch, key)?, &elements(was, key)?, &elements(is?, key)?),
                None => self.lost(patch, was, is),
            };
            lost.map(|lost| format!("{name}.{lost}"))
        })
    }

    /// The same of the elements of a list.
    fn lost_in_list(&self, named: &[Element], old: &[Element], new: &[Element]) -> Option<String> {
        old.iter().find_map(|(element, was)| {
            let is = find(new, element);
            let Some(patch) = find(named, element) else {
                return (!same(Some(*was), is)).then(|| element.clone().into_owned());
            };
            self.lost(patch, was, is).map(|lost| format!("{element}.{lost}"))
        })
    }

    /// The same of one object.
    fn lost(&self, patch: &[u8], was: &[u8], is: Option<&[u8]>) -> Option<String> {
        let (named, old, new) = (Fields::of(Some(patch))?, Fields::of(Some(was))?, Fields::of(is)?);
        if named.replaces() {
            return None;
        }
        let stays = |name: &str| !named.names(name) && name != FOLLOWING;
        let lost = old
            .0
            .iter()
            .find(|(name, _)| stays(name) && !same(old.get(name), new.get(name)));
        match lost {
            Some((name, _)) => Some(name.clone().into_owned()),
            None => self.lost_in_fields(&named, &old, &new),
        }
    }

    /// What tells the elements of a list apart, if it merges them and that is judged.
    fn key_of(&self, list: &str) -> Option<&'static str> {
        match list {
            "containers" | "initContainers" if self.strategic => Some("name"),
            "conditions" if self.strategic => Some("type"),
            _ => None,
        }
    }
}

/// An element of a list: its key's value, and itself as it is written.
type Element<'a> = (Cow<'a, str>, &'a [u8]);

/// The elements of a list; `None` if that is none, or if one of them has no key or says how it is merged.
fn elements<'a>(list: &'a [u8], key: &str) -> Option<Vec<Element<'a>>> {
    let mut text = Text::new(list);
    let mut found = Vec::new();
    let mut more = text.open(b'[')?;
    while more {
        let element = text.value()?;
        let fields = Fields::of(Some(element)).filter(|fields| !fields.replaces())?;
        found.push((Text::new(fields.get(key)?).string()?, element));
        more = text.goes_on(b']')?;
    }
    Some(found)
}

fn find<'a>(elements: &[Element<'a>], wanted: &str) -> Option<&'a [u8]> {
    let (_, element) = elements.iter().find(|(own, _)| own == wanted)?;
    Some(*element)
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

    /// Whether a patch replaces what these are of, or says which of them stay.
    fn replaces(&self) -> bool {
        self.names("$patch") || self.names("$retainKeys")
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn patch(patch: &Value) -> Patch {
        Patch {
            resource: "deployments.apps".into(),
            subresource: String::new(),
            bytes: patch.to_string().into(),
            strategic: true,
        }
    }

    fn stray(sent: &Value, before: &Value, after: &Value) -> Option<String> {
        let [before, after] = [before, after].map(|value| value.to_string().into_bytes());
        patch(sent).stray(&before, &after)
    }

    fn lacking(sent: &Value, shown: &Value) -> Option<String> {
        patch(sent).lacking(shown.to_string().as_bytes())
    }

    /// A template's only container.
    fn of_container(container: &Value) -> Value {
        json!({"spec": {"template": {"spec": {"hostname": "h", "containers": [container, {"name": "other"}]}}}})
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

    #[test]
    fn what_lies_deeper_and_is_not_named_stays() {
        let whole = json!({"name": "web", "image": "a", "ports": [{"containerPort": 80}],
            "readinessProbe": {"periodSeconds": 2}});
        let sent = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "b"}]}}}});
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut after = of_container(&whole);
            let container = &mut after["spec"]["template"]["spec"]["containers"][0];
            container["image"] = json!("b");
            change(&mut after["spec"]["template"]["spec"]);
            stray(&sent, &of_container(&whole), &after)
        };
        assert_eq!(changed(&|_| ()), None);
        // What the server adds is its own.
        assert_eq!(changed(&|spec| spec["serviceAccountName"] = json!("x")), None);
        assert_eq!(changed(&|spec| spec["containers"][0]["env"] = json!([])), None);
        assert_eq!(
            changed(&|spec| spec["hostname"] = json!("other")),
            Some("spec.template.spec.hostname".to_owned())
        );
        assert_eq!(
            changed(&|spec| spec["containers"][0]["ports"] = json!(null)),
            Some("spec.template.spec.containers.web.ports".to_owned())
        );
        assert_eq!(
            changed(&|spec| spec["containers"][1]["image"] = json!("b")),
            Some("spec.template.spec.containers.other".to_owned())
        );
    }

    #[test]
    fn a_list_that_is_replaced_is_the_patchs_own() {
        let (before, after) = (
            of_container(&json!({"name": "web", "image": "a", "tty": true})),
            of_container(&json!({"name": "web", "image": "b"})),
        );
        let containers = |list: Value| json!({"spec": {"template": {"spec": {"containers": list}}}});
        let sent = containers(json!([{"name": "web", "image": "b"}]));
        let lost = Some("spec.template.spec.containers.web.tty".to_owned());
        assert_eq!(stray(&sent, &before, &after), lost);
        let replacing = containers(json!([{"$patch": "replace"}, {"name": "web", "image": "b"}]));
        assert_eq!(stray(&replacing, &before, &after), None);
        let [before, after] = [before, after].map(|value| value.to_string().into_bytes());
        let merge = Patch {
            strategic: false,
            ..patch(&sent)
        };
        assert_eq!(merge.stray(&before, &after), None);
    }

    #[test]
    fn a_condition_that_is_not_named_stays_and_so_does_what_is_not_named_of_another() {
        let conditions = |list: Value| json!({"status": {"conditions": list}});
        let before = conditions(json!([{"type": "A", "status": "True", "reason": "r"}, {"type": "B"}]));
        let sent = conditions(json!([{"type": "A", "status": "False"}, {"type": "C", "status": "True"}]));
        let after = |list: Value| stray(&sent, &before, &conditions(list));
        let a = json!({"type": "A", "status": "False", "reason": "r"});
        let c = json!({"type": "C", "status": "True"});
        assert_eq!(after(json!([a, {"type": "B"}, c])), None);
        assert_eq!(after(json!([a, c])), Some("status.conditions.B".to_owned()));
        let bare = json!({"type": "A", "status": "False"});
        assert_eq!(
            after(json!([bare, {"type": "B"}, c])),
            Some("status.conditions.A.reason".to_owned())
        );
    }

    #[test]
    fn a_patch_has_set_what_it_names_and_taken_away_what_it_nulls() {
        let data = json!({"data": {"size": null, "shape": "round"}});
        assert_eq!(lacking(&data, &json!({"data": {"shape": "round", "x": "y"}})), None);
        assert_eq!(
            lacking(&data, &json!({"data": {"shape": "round", "size": "1"}})),
            Some("data.size".to_owned())
        );
        assert_eq!(lacking(&data, &json!({"data": {}})), Some("data.shape".to_owned()));
        assert_eq!(lacking(&data, &json!({})), Some("data.shape".to_owned()));
        let label = json!({"metadata": {"labels": {"a": null, "b": "c"}}});
        assert_eq!(lacking(&label, &json!({"metadata": {"labels": {"b": "c"}}})), None);
        assert_eq!(
            lacking(&label, &json!({"metadata": {"labels": {"a": "", "b": "c"}}})),
            Some("labels.a".to_owned())
        );
        let image = of_container(&json!({"name": "web", "image": "b", "ports": [{"containerPort": 80}]}));
        assert_eq!(lacking(&image, &image), None);
        assert_eq!(
            lacking(&image, &of_container(&json!({"name": "web", "image": "a"}))),
            Some("spec.template.spec.containers.web.image".to_owned())
        );
        let scaled = json!({"spec": {"replicas": 0}});
        assert_eq!(
            lacking(&scaled, &json!({"spec": {"replicas": 3}})),
            Some("spec.replicas".to_owned())
        );
    }

    #[test]
    fn what_the_server_writes_otherwise_is_not_lacking() {
        let sent = json!({
            "spec": {"paused": false, "strategy": null, "dnsPolicy": "", "resources": {"limits": {"cpu": "0.1"}},
                "selector": {"$retainKeys": ["a"], "a": 1}, "tolerations": [{"key": "a"}]},
            "status": {"replicas": 3}
        });
        assert_eq!(
            lacking(
                &sent,
                &json!({"spec": {"dnsPolicy": "ClusterFirst", "strategy": {"type": "x"}}})
            ),
            None
        );
        let service = Patch {
            resource: "services".into(),
            ..patch(&json!({"spec": {"clusterIP": "None"}}))
        };
        assert_eq!(service.lacking(b"{}"), None);
        let status = Patch {
            subresource: "status".to_owned(),
            ..patch(&json!({"spec": {"replicas": 3}}))
        };
        assert_eq!(status.lacking(b"{}"), None);
    }
}
