//! How two states of an object differ, field by field. What only says when something was, or counts writes, is left
//! out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

/// Values are shown up to so many characters.
const SHOWN: usize = 48;

/// Fields that change without anything being decided.
const VOLATILE: &[&str] = &[
    "resourceVersion",
    "managedFields",
    "creationTimestamp",
    "lastHeartbeatTime",
    "lastTransitionTime",
    "lastUpdateTime",
    "lastProbeTime",
    "renewTime",
    "acquireTime",
    "startTime",
    "startedAt",
    "finishedAt",
    "timeAdded",
    "firstTimestamp",
    "lastTimestamp",
    "eventTime",
    "endpoints.kubernetes.io/last-change-trigger-time",
];

/// Fields that each run draws anew.
const DRAWN: &[&str] = &[
    "uid",
    "containerID",
    "imageID",
    "machineID",
    "bootID",
    "systemUUID",
    "podIP",
    "podIPs",
    "hostIP",
    "hostIPs",
    "clusterIP",
    "clusterIPs",
    "addresses",
    "targetRef",
];

/// Whether a field of this name differs between runs by itself.
pub fn is_drawn(name: &str) -> bool {
    VOLATILE.contains(&name) || DRAWN.contains(&name)
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where, as `status.conditions[Ready].status`.
    pub path: String,
    /// The one value; none if the field is not there.
    pub before: Option<Value>,
    /// The other.
    pub after: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path == "metadata.deletionTimestamp" && self.before.is_none() {
            return write!(f, "{} set", self.path);
        }
        write!(
            f,
            "{} {} → {}",
            self.path,
            brief(self.before.as_ref()),
            brief(self.after.as_ref())
        )
    }
}

/// A value in few characters.
pub fn brief(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => return "(none)".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "\"\"".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if text.chars().count() <= SHOWN {
        return text;
    }
    let cut: String = text.chars().take(SHOWN - 1).collect();
    format!("{cut}…")
}

/// How `after` differs from `before`, in the order of the paths. Between runs, what each draws anew is left out, too.
pub fn differences(before: &Value, after: &Value, between_runs: bool) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(before), Some(after), between_runs, &mut found);
    found
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, between_runs: bool, found: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    let empty = Value::Null;
    let (one, other) = (before.unwrap_or(&empty), after.unwrap_or(&empty));
    match (one, other) {
        (Value::Object(_), Value::Object(_)) | (Value::Object(_), Value::Null) | (Value::Null, Value::Object(_)) => {
            let keys = |value: &Value| -> Vec<String> {
                value
                    .as_object()
                    .into_iter()
                    .flat_map(|map| map.keys().cloned())
                    .collect()
            };
            let names: BTreeSet<String> = keys(one).into_iter().chain(keys(other)).collect();
            let left_out = |name: &str| VOLATILE.contains(&name) || (between_runs && is_drawn(name));
            for name in names.iter().filter(|name| !left_out(name)) {
                let below = if path.is_empty() {
                    name.clone()
                } else if name.contains(['.', '/']) {
                    format!("{path}[{name}]")
                } else {
                    format!("{path}.{name}")
                };
                compare(&below, one.get(name), other.get(name), between_runs, found);
            }
        }
        (Value::Array(_), Value::Array(_)) | (Value::Array(_), Value::Null) | (Value::Null, Value::Array(_)) => {
            let (left, right) = (keyed(one, between_runs), keyed(other, between_runs));
            let names: BTreeSet<&String> = left.iter().chain(&right).map(|(key, _)| key).collect();
            let get = |list: &[(String, Value)], key: &String| {
                list.iter().find(|(own, _)| own == key).map(|(_, value)| value.clone())
            };
            for name in names {
                let below = format!("{path}[{name}]");
                let (before, after) = (get(&left, name), get(&right, name));
                compare(&below, before.as_ref(), after.as_ref(), between_runs, found);
            }
        }
        _ => found.push(Difference {
            path: path.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

/// The elements of a list by what tells them apart: their type, name or key, or, within a run, what they are of;
/// otherwise their place. Those that this does not tell apart are counted.
fn keyed(list: &Value, between_runs: bool) -> Vec<(String, Value)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let items = list.as_array().into_iter().flatten().enumerate();
    items
        .map(|(place, item)| {
            let key = key(item, between_runs).unwrap_or_else(|| place.to_string());
            let count = counts.entry(key.clone()).or_default();
            *count += 1;
            let key = if *count == 1 { key } else { format!("{key}, {count}") };
            (key, item.clone())
        })
        .collect()
}

/// What tells an element of a list from the others, if it says so. Taints and tolerations are told apart by their
/// effect, too.
fn key(item: &Value, between_runs: bool) -> Option<String> {
    let field = |path: &str| item.pointer(path)?.as_str();
    if let (Some(key), Some(effect)) = (field("/key"), field("/effect")) {
        return Some(format!("{key}:{effect}"));
    }
    ["/type", "/name", "/ip", "/key", "/targetRef/name"]
        .iter()
        .filter(|path| !(between_runs && path.starts_with("/targetRef")))
        .find_map(|path| field(path))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn states_differ_in_named_fields_and_times_do_not_count() {
        let before = json!({"metadata": {"name": "web-1", "resourceVersion": "7", "labels": {"app": "web"}},
            "spec": {"replicas": 3},
            "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "a"}]}});
        let after = json!({"metadata": {"name": "web-1", "resourceVersion": "9", "deletionTimestamp": "t",
                "labels": {"app": "web", "example.com/x": "y"}},
            "spec": {"replicas": 5},
            "status": {"conditions": [{"type": "Ready", "status": "Unknown", "lastTransitionTime": "b"}]}});
        let lines: Vec<String> = differences(&before, &after, false)
            .iter()
            .map(ToString::to_string)
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        metadata.deletionTimestamp set
        metadata.labels[example.com/x] (none) → y
        spec.replicas 3 → 5
        status.conditions[Ready].status True → Unknown
        ");
    }

    #[test]
    fn what_has_the_same_key_is_told_apart_by_its_effect_or_counted() {
        let taint = |effect: &str| json!({"key": "node.kubernetes.io/unreachable", "effect": effect});
        let before = json!({"taints": [taint("NoSchedule")], "ports": [{"name": "a", "port": 1}]});
        let after = json!({"taints": [taint("NoSchedule"), taint("NoExecute")],
            "ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]});
        let lines: Vec<String> = differences(&before, &after, false)
            .iter()
            .map(ToString::to_string)
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        ports[a, 2].name (none) → a
        ports[a, 2].port (none) → 2
        taints[node.kubernetes.io/unreachable:NoExecute].effect (none) → NoExecute
        taints[node.kubernetes.io/unreachable:NoExecute].key (none) → node.kubernetes.io/unreachable
        ");
    }

    #[test]
    fn what_a_run_draws_is_no_difference_between_runs() {
        let one = json!({"metadata": {"uid": "a"}, "status": {"podIP": "10.0.0.1", "phase": "Running"}});
        let other = json!({"metadata": {"uid": "b"}, "status": {"podIP": "10.0.0.2", "phase": "Running"}});
        assert!(differences(&one, &other, true).is_empty());
        assert_eq!(differences(&one, &other, false).len(), 2);
    }
}
