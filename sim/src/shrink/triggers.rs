//! Writes to wait for, instead of moments in time: what was written just before something happened.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::scenario::{Trigger, WriteKind, WriteTrigger, parse_duration};

/// So long before a moment a write may lie to be its cause.
const BEFORE: Duration = Duration::from_secs(3);
/// So many writes are tried for a moment.
const TRIED: usize = 6;

/// A write: when, and as somebody could wait for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// When.
    pub at: Duration,
    /// What waits for it.
    pub trigger: WriteTrigger,
}

/// The writes in a trace, oldest first. Of names that the server makes up only the kind is said.
pub fn writes(trace: &str) -> Vec<Write> {
    let mut there: BTreeSet<String> = BTreeSet::new();
    let mut counts: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut found = Vec::new();
    for line in trace.lines() {
        let Some((time, rest)) = line.split_once(" store: ") else {
            continue;
        };
        let mut words = rest.split(' ').skip(1);
        let (Some(verb), Some(id)) = (words.next(), words.next()) else {
            continue;
        };
        let kind = match verb {
            "delete" => {
                there.remove(id);
                WriteKind::Delete
            }
            "put" if there.insert(id.to_owned()) => WriteKind::Create,
            "put" => WriteKind::Update,
            _ => continue,
        };
        let (Some(object), Ok(at)) = (object(id), parse_duration(&format!("{time}s"))) else {
            continue;
        };
        let count = counts.entry((format!("{kind:?}"), object.clone())).or_default();
        *count += 1;
        let trigger = WriteTrigger::of(kind, object, *count);
        found.push(Write { at, trigger });
    }
    found
}

/// How a trigger names an object of the store; none for heartbeats and events.
fn object(id: &str) -> Option<String> {
    let mut parts = id.split('/');
    let resource = parts.next()?.split('.').next()?;
    let kind = match resource {
        "pods" => "Pod",
        "nodes" => "Node",
        "services" => "Service",
        "deployments" => "Deployment",
        "replicasets" => "ReplicaSet",
        "endpoints" => "Endpoints",
        "endpointslices" => "EndpointSlice",
        "leases" | "events" | "serviceaccounts" | "configmaps" => return None,
        other => other,
    };
    let place: Vec<&str> = parts.collect();
    let made_up = matches!(resource, "pods" | "replicasets" | "endpointslices");
    Some(match place.as_slice() {
        [namespace, _] if made_up => format!("{kind}/{namespace}/*"),
        [namespace, name] => format!("{kind}/{namespace}/{name}"),
        [name] => format!("{kind}/{name}"),
        _ => return None,
    })
}

/// The writes that may be waited for instead of `moment`, the nearest first, each kind of write once.
pub fn before(writes: &[Write], moment: Duration) -> Vec<Trigger> {
    let mut found: Vec<WriteTrigger> = Vec::new();
    let near = writes
        .iter()
        .rev()
        .skip_while(|write| write.at > moment)
        .take_while(|write| write.at + BEFORE >= moment);
    for write in near {
        let known = found
            .iter()
            .any(|own| own.kind == write.trigger.kind && own.object == write.trigger.object);
        if !known && found.len() < TRIED {
            found.push(write.trigger.clone());
        }
    }
    found.into_iter().map(Trigger::Write).collect()
}

/// Triggers that wait for less.
pub fn simpler(trigger: &Trigger) -> Vec<Trigger> {
    let fewer = |items: &[Trigger], combine: fn(Vec<Trigger>) -> Trigger| {
        let mut variants = items.to_vec();
        for (index, item) in items.iter().enumerate() {
            let mut rest = items.to_vec();
            rest.remove(index);
            if rest.len() > 1 {
                variants.push(combine(rest));
            }
            variants.extend(simpler(item).into_iter().map(|item| {
                let mut items = items.to_vec();
                items[index] = item;
                combine(items)
            }));
        }
        variants
    };
    match trigger {
        Trigger::All(items) => fewer(items, Trigger::All),
        Trigger::Any(items) => fewer(items, Trigger::Any),
        Trigger::Sequence(items) => fewer(items, Trigger::Sequence),
        Trigger::Write(write) => {
            let seen = write.observed_by.is_some().then(|| WriteTrigger {
                observed_by: None,
                ..write.clone()
            });
            let fields = (0..write.fields.len()).map(|index| {
                let mut write = write.clone();
                write.fields.remove(index);
                write
            });
            seen.into_iter().chain(fields).map(Trigger::Write).collect()
        }
        Trigger::Call { .. } | Trigger::After(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_becomes_simpler_part_by_part() {
        let written = |text: &str| serde_yaml::from_str::<Trigger>(text).unwrap();
        let trigger = written("{ any: [{ update: Pod/a, field: x, observed-by: scheduler }, { after: 1s }] }");
        let expected = [
            written("{ update: Pod/a, field: x, observed-by: scheduler }"),
            written("{ after: 1s }"),
            written("{ any: [{ update: Pod/a, field: x }, { after: 1s }] }"),
            written("{ any: [{ update: Pod/a, observed-by: scheduler }, { after: 1s }] }"),
        ];
        assert_eq!(simpler(&trigger), expected);
    }

    #[test]
    fn what_was_written_before_a_moment_can_be_waited_for() {
        let trace = "\
1.000000000 store: 5 put deployments.apps/default/web [ab]
2.000000000 store: 6 put pods/default/web-1-a [ab]
2.500000000 kubelet/node-1: 7 GET /api/v1/pods [ab]
3.000000000 store: 7 put pods/default/web-1-b [ab]
3.500000000 store: 8 put leases.coordination.k8s.io/kube-node-lease/node-1 [ab]
4.000000000 store: 9 put pods/default/web-1-a [ab]
9.000000000 store: 10 delete pods/default/web-1-a [ab]
";
        let writes = writes(trace);
        assert_eq!(writes.len(), 5);
        let found = before(&writes, Duration::from_millis(4200));
        let pods = |kind, occurrence| Trigger::Write(WriteTrigger::of(kind, "Pod/default/*".to_owned(), occurrence));
        assert_eq!(found, [pods(WriteKind::Update, 1), pods(WriteKind::Create, 2)]);
    }
}
