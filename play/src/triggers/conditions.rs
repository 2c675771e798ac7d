//! What a trigger still waits for: a tree that takes in what happens, one thing at a time.

use std::time::Duration;

use serde_json::Value;

use super::Happened;
use crate::model::{Asked, Item, ObjectId};
use crate::scenario::{CallEnd, CallSpec, ClientTarget, FieldChange, Trigger, WriteTrigger};
use crate::workload::plural;

/// A trigger, or a part of one, and how far it has come.
#[derive(Debug)]
pub struct Node {
    done: bool,
    part: Part,
}

#[derive(Debug)]
enum Part {
    Write {
        trigger: WriteTrigger,
        count: u32,
    },
    Call {
        call: CallSpec,
        occurrence: u32,
        count: u32,
    },
    After {
        wait: Duration,
        due: Option<Duration>,
    },
    All(Vec<Node>),
    Any(Vec<Node>),
    /// The parts, and which of them is waited for.
    Sequence(Vec<Node>, usize),
}

impl Node {
    /// Nothing of `trigger` has happened.
    pub fn of(trigger: &Trigger) -> Self {
        let parts = |items: &[Trigger]| items.iter().map(Node::of).collect();
        let part = match trigger {
            Trigger::Write(trigger) => Part::Write {
                trigger: trigger.clone(),
                count: 0,
            },
            Trigger::Call { call, occurrence } => Part::Call {
                call: call.clone(),
                occurrence: *occurrence,
                count: 0,
            },
            Trigger::After(wait) => Part::After { wait: *wait, due: None },
            Trigger::All(items) => Part::All(parts(items)),
            Trigger::Any(items) => Part::Any(parts(items)),
            Trigger::Sequence(items) => Part::Sequence(parts(items), 0),
        };
        Node { done: false, part }
    }

    /// Whether it has happened.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// From now on it is waited for.
    pub fn begin(&mut self, now: Duration) {
        match &mut self.part {
            Part::Write { .. } | Part::Call { .. } => {}
            Part::After { wait, due } => *due = Some(now + *wait),
            Part::All(parts) | Part::Any(parts) => parts.iter_mut().for_each(|part| part.begin(now)),
            Part::Sequence(parts, at) => parts[*at].begin(now),
        }
    }

    /// Takes in what happens; whether anything of it has changed by that.
    pub fn happens(&mut self, what: &Happened<'_>, now: Duration) -> bool {
        if self.done {
            return false;
        }
        let changed = match &mut self.part {
            Part::Write { trigger, count } => count_one(is_meant(trigger, what), trigger.occurrence, count),
            Part::Call {
                call,
                occurrence,
                count,
            } => {
                let meant = matches!(what, Happened::Call(asked, end) if calls(call, asked, *end));
                count_one(meant, *occurrence, count)
            }
            Part::After { .. } => false,
            Part::All(parts) | Part::Any(parts) => {
                let mut changed = false;
                for part in parts {
                    changed |= part.happens(what, now);
                }
                changed
            }
            Part::Sequence(parts, at) => parts[*at].happens(what, now),
        };
        if changed {
            self.settle(now);
        }
        changed
    }

    /// Time has come so far.
    pub fn passes(&mut self, now: Duration) {
        match &mut self.part {
            Part::All(parts) | Part::Any(parts) => parts.iter_mut().for_each(|part| part.passes(now)),
            Part::Sequence(parts, at) => parts[*at].passes(now),
            Part::Write { .. } | Part::Call { .. } | Part::After { .. } => {}
        }
        self.settle(now);
    }

    /// Draws the conclusions from what its parts have come to.
    fn settle(&mut self, now: Duration) {
        self.done |= match &mut self.part {
            Part::Write { trigger, count } => *count >= trigger.occurrence,
            Part::Call { occurrence, count, .. } => *count >= *occurrence,
            Part::After { due, .. } => due.is_some_and(|due| due <= now),
            Part::All(parts) => parts.iter().all(Node::is_done),
            Part::Any(parts) => parts.iter().any(Node::is_done),
            Part::Sequence(parts, at) => {
                while parts[*at].done && *at + 1 < parts.len() {
                    *at += 1;
                    parts[*at].begin(now);
                    parts[*at].settle(now);
                }
                parts[*at].done
            }
        };
    }

    /// When time alone changes something the next time; none if it does not.
    pub fn due(&self) -> Option<Duration> {
        if self.done {
            return None;
        }
        match &self.part {
            Part::Write { .. } | Part::Call { .. } => None,
            Part::After { due, .. } => *due,
            Part::All(parts) | Part::Any(parts) => parts.iter().filter_map(Node::due).min(),
            Part::Sequence(parts, at) => parts[*at].due(),
        }
    }
}

/// Counts one more, if it is meant; whether that makes it as many as are waited for.
fn count_one(meant: bool, occurrence: u32, count: &mut u32) -> bool {
    *count += u32::from(meant);
    meant && *count == occurrence
}

fn is_meant(trigger: &WriteTrigger, what: &Happened<'_>) -> bool {
    let Happened::Write {
        by,
        kind,
        id,
        before,
        after,
    } = what
    else {
        return false;
    };
    let seen = match (&trigger.observed_by, by) {
        (None, None) => true,
        (Some(wanted), Some(by)) => wanted.means(by),
        _ => false,
    };
    seen && *kind == trigger.kind && names(&trigger.object, id) && {
        trigger.fields.is_empty() || {
            let (before, after) = (value(*before), value(*after));
            trigger.fields.iter().all(|field| changes(field, &before, &after))
        }
    }
}

/// Whether a name is the one that is meant; `web-*` is any that begins so.
pub fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(begin) => name.starts_with(begin),
        None => pattern == name,
    }
}

/// Whether a namespace is the one that is meant; `*` is any.
fn is_within(wanted: &str, namespace: &str) -> bool {
    wanted == "*" || wanted == namespace
}

/// Whether a trigger's object, `Kind/namespace/name` or `Kind/name`, is the one written.
pub fn names(pattern: &str, id: &ObjectId) -> bool {
    let parts: Vec<&str> = pattern.split('/').collect();
    let (kind, namespace, name) = match parts.as_slice() {
        [kind, namespace, name] => (*kind, Some(*namespace), *name),
        [kind, name] => (*kind, None, *name),
        _ => return false,
    };
    let resource = id.resource.split('.').next().unwrap_or_default();
    plural(kind) == resource
        && namespace.is_none_or(|namespace| is_within(namespace, &id.namespace))
        && fits(name, &id.name)
}

fn value(item: Option<&Item>) -> Value {
    item.and_then(|item| serde_json::from_slice(&item.bytes).ok())
        .unwrap_or_default()
}

/// Whether a field was and is as it is waited for, and is not what it was.
fn changes(change: &FieldChange, before: &Value, after: &Value) -> bool {
    let (was, is) = (field(before, &change.path), field(after, &change.path));
    was != is && change.from.as_ref().is_none_or(|from| from == was) && change.to.as_ref().is_none_or(|to| to == is)
}

/// The field at `path`, null if there is none. Keys may have dots in them: the first that fits is taken.
pub fn field<'a>(value: &'a Value, path: &str) -> &'a Value {
    const NONE: &Value = &Value::Null;
    if path.is_empty() {
        return value;
    }
    match value {
        Value::Object(map) => {
            let found = map.iter().find_map(|(key, inner)| {
                let rest = path.strip_prefix(key.as_str())?;
                let rest = if rest.is_empty() { rest } else { rest.strip_prefix('.')? };
                Some(field(inner, rest)).filter(|found| !found.is_null())
            });
            found.unwrap_or(NONE)
        }
        Value::Array(items) => {
            let (index, rest) = path.split_once('.').unwrap_or((path, ""));
            let item = index.parse().ok().and_then(|index: usize| items.get(index));
            item.map_or(NONE, |item| field(item, rest))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => NONE,
    }
}

/// Whether `spec` means this end of a call.
pub fn calls(spec: &CallSpec, asked: &Asked, end: CallEnd) -> bool {
    let CallSpec {
        client,
        verb,
        resource,
        object,
        when,
    } = spec;
    let Some(path) = &asked.path else { return false };
    let is_client = |wanted: &ClientTarget| wanted.means(&asked.client);
    let is_resource = |wanted: &String| {
        let plural = path.resource.split('.').next().unwrap_or_default();
        match wanted.split_once('/') {
            Some((wanted, subresource)) => wanted == plural && subresource == path.subresource,
            None => wanted == plural && path.subresource.is_empty(),
        }
    };
    let is_object = |wanted: &String| {
        let name = asked.named.as_deref().unwrap_or(&path.name);
        let (namespace, pattern) = match wanted.split_once('/') {
            Some((namespace, pattern)) => (Some(namespace), pattern),
            None => (None, wanted.as_str()),
        };
        namespace.is_none_or(|namespace| is_within(namespace, &path.namespace)) && fits(pattern, name)
    };
    *when == end
        && client.as_ref().is_none_or(is_client)
        && verb.as_ref().is_none_or(|verb| verb == asked.verb())
        && resource.as_ref().is_none_or(is_resource)
        && object.as_ref().is_none_or(is_object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectId;
    use crate::scenario::WriteKind;

    fn node(text: &str) -> Node {
        let trigger: Trigger = serde_yaml::from_str(text).unwrap();
        let mut node = Node::of(&trigger);
        node.begin(Duration::ZERO);
        node
    }

    fn pod(text: &str) -> Item {
        let id = ObjectId::of_key("/registry/pods/default/web-1").unwrap();
        Item::decode(id, 5, text.to_owned().into())
    }

    /// Tells of an update of the pod at a second.
    fn update(node: &mut Node, by: Option<&str>, before: &str, after: &str, at: u64) -> bool {
        let (before, after) = (pod(before), pod(after));
        let what = Happened::Write {
            by,
            kind: WriteKind::Update,
            id: &after.id,
            before: Some(&before),
            after: Some(&after),
        };
        node.happens(&what, Duration::from_secs(at));
        node.is_done()
    }

    const UNBOUND: &str = r#"{"metadata":{"annotations":{"a.b/c":"1"}},"spec":{"containers":[{"image":"web:1"}]}}"#;
    const BOUND: &str =
        r#"{"metadata":{"annotations":{"a.b/c":"2"}},"spec":{"nodeName":"node-1","containers":[{"image":"web:1"}]}}"#;

    #[test]
    fn a_field_is_waited_for_with_what_it_was_and_is() {
        for (text, wanted) in [
            ("{ update: Pod/default/web-* }", true),
            ("{ update: Pod/default/web-1, field: spec.nodeName }", true),
            (
                "{ update: Pod/default/web-1, field: spec.nodeName, from: null, to: node-1 }",
                true,
            ),
            ("{ update: Pod/default/web-1, field: spec.nodeName, to: node-2 }", false),
            (
                "{ update: Pod/default/web-1, field: metadata.annotations.a.b/c, from: \"1\" }",
                true,
            ),
            ("{ update: Pod/default/web-1, field: spec.containers.0.image }", false),
            (
                "{ update: Pod/default/web-1, fields: { spec.nodeName: {}, metadata.annotations.a.b/c: {} } }",
                true,
            ),
            (
                "{ update: Pod/default/web-1, fields: { spec.nodeName: {}, spec.containers.0.image: {} } }",
                false,
            ),
            ("{ create: Pod/default/web-1 }", false),
            ("{ update: Pod/default/web-1, observed-by: kubelet/node-1 }", false),
        ] {
            assert_eq!(update(&mut node(text), None, UNBOUND, BOUND, 1), wanted, "{text}");
        }
    }

    #[test]
    fn whoever_observes_counts_for_himself() {
        let mut node = node("{ update: Pod/default/web-1, observed-by: kubelet/node-1, occurrence: 2 }");
        assert!(!update(&mut node, Some("kubelet/node-1"), UNBOUND, BOUND, 1));
        assert!(!update(&mut node, Some("kubelet/node-2"), UNBOUND, BOUND, 2));
        assert!(!update(&mut node, None, UNBOUND, BOUND, 3));
        assert!(update(&mut node, Some("kubelet/node-1"), UNBOUND, BOUND, 4));
    }

    #[test]
    fn a_sequence_waits_for_one_after_the_other_and_for_time() {
        let mut node = node(
            "{ sequence: [{ update: Pod/default/web-1, field: spec.nodeName, after: 5s }, { update: Pod/default/* }] }",
        );
        assert!(!update(&mut node, None, UNBOUND, BOUND, 1));
        assert_eq!(node.due(), Some(Duration::from_secs(6)));
        assert!(!update(&mut node, None, BOUND, BOUND, 4), "too early");
        node.passes(Duration::from_secs(6));
        assert!(!node.is_done());
        assert!(update(&mut node, None, BOUND, BOUND, 7));
    }

    #[test]
    fn all_is_every_one_and_any_is_the_first() {
        let both = "[{ update: Pod/default/*, field: spec.nodeName }, { after: 3s }]";
        let (mut all, mut any) = (node(&format!("{{ all: {both} }}")), node(&format!("{{ any: {both} }}")));
        assert!(!update(&mut all, None, UNBOUND, BOUND, 1));
        assert!(update(&mut any, None, UNBOUND, BOUND, 1));
        all.passes(Duration::from_secs(3));
        assert!(all.is_done());
    }
}
