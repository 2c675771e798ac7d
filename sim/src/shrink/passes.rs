//! What may become simpler in a scenario: each pass lists variants, the simplest first, and knows nothing of runs.
//!
//! A variant may be nonsense (a manifest without what it needs): it then does not fail the same way, and is not taken.

use std::time::Duration;

use serde_json::Value;

use super::{Failure, triggers};
use crate::scenario::simpler::{LADDER, rounder, seconds};
use crate::scenario::{
    Expect, Heal, ImageScript, InvariantChoice, Manifest, Moment, NetworkSpec, Scenario, StepAction, Topology,
    numbered, read,
};

/// Its name for people, and the variants.
pub type Pass = (&'static str, fn(&Scenario, &Failure) -> Vec<Scenario>);

/// All passes, those that make runs shorter first.
pub const PASSES: &[Pass] = &[
    ("the end", duration),
    ("what is expected", expectations),
    ("objects", objects),
    ("nodes", nodes),
    ("the topology", topology),
    ("the network", network),
    ("images", images),
    ("manifests", manifests),
    ("faults", faults),
    ("steps", steps),
    ("triggers", waits),
    ("idle time", idle_time),
    ("times", times),
];

/// The scenario, changed.
fn with(scenario: &Scenario, change: impl FnOnce(&mut Scenario)) -> Scenario {
    let mut variant = scenario.clone();
    change(&mut variant);
    variant
}

fn duration(scenario: &Scenario, _: &Failure) -> Vec<Scenario> {
    let shorter = LADDER.iter().map(|count| seconds(*count));
    shorter
        .filter(|shorter| *shorter < scenario.duration)
        .map(|shorter| scenario.ending_at(shorter))
        .collect()
}

fn expectations(scenario: &Scenario, failure: &Failure) -> Vec<Scenario> {
    let mut variants = Vec::new();
    let is_invariant = crate::invariants::ids().contains(&failure.kind.as_str());
    let needed = InvariantChoice::These(if is_invariant {
        vec![failure.kind.clone()]
    } else {
        Vec::new()
    });
    if scenario.expect.invariants != needed {
        variants.push(with(scenario, |variant| variant.expect.invariants = needed));
    }
    if is_invariant && scenario.expect.converge != Expect::default().converge {
        variants.push(with(scenario, |variant| {
            variant.expect.converge = Expect::default().converge
        }));
    }
    for index in 0..scenario.expect.state.len() {
        variants.push(with(scenario, |variant| {
            variant.expect.state.remove(index);
        }));
    }
    // Runs without faults are played for the end alone.
    if scenario.expect.compares_ends() && !failure.is_of_the_end() {
        variants.push(with(scenario, |variant| {
            variant.expect.end_state = None;
            variant.expect.creates_and_deletes = None;
        }));
    }
    if scenario.heal != Heal::All {
        variants.push(with(scenario, |variant| variant.heal = Heal::All));
    }
    if scenario.heal != Heal::Core && is_invariant {
        variants.push(with(scenario, |variant| variant.heal = Heal::Core));
    }
    // `core` and `all` must not take turns.
    variants.retain(|variant| !(scenario.heal == Heal::Core && variant.heal == Heal::All && is_invariant));
    variants
}

fn objects(scenario: &Scenario, _: &Failure) -> Vec<Scenario> {
    let mut variants = Vec::new();
    for (index, plan) in scenario.workload.iter().enumerate() {
        let objects = plan.action.applied();
        for gone in 0..objects.len() {
            let mut fewer = objects.to_vec();
            fewer.remove(gone);
            variants.push(with(scenario, |variant| {
                variant.workload[index].action = StepAction::Apply(Manifest::Inline(fewer));
            }));
        }
    }
    variants
}

fn nodes(scenario: &Scenario, _: &Failure) -> Vec<Scenario> {
    let nodes = &scenario.topology.nodes;
    let count = nodes.len();
    if *nodes != numbered(count as u32) {
        let plain = with(scenario, |variant| variant.topology.nodes = numbered(count as u32));
        let fewer = (0..count).map(|index| {
            with(scenario, |variant| {
                variant.topology.nodes.remove(index);
            })
        });
        return std::iter::once(plain).chain(fewer).collect();
    }
    let text = scenario.to_yaml();
    let named: Vec<&str> = nodes
        .iter()
        .map(|node| node.name.as_str())
        .filter(|name| replace_word(&text, name, "") != text)
        .collect();
    // Whoever is named gets the first numbers, in order; a name that nobody has keeps them apart meanwhile.
    let mut renamed = text.clone();
    for (index, name) in named.iter().enumerate() {
        renamed = replace_word(&renamed, name, &format!("node_{}", index + 1));
    }
    for index in 1..=named.len() {
        renamed = replace_word(&renamed, &format!("node_{index}"), &format!("node-{index}"));
    }
    let Ok(renamed) = read("a variant", &renamed, |_| Err(String::new())) else {
        return Vec::new();
    };
    (named.len().max(1)..count)
        .map(|fewer| with(&renamed, |variant| variant.topology.nodes = numbered(fewer as u32)))
        .collect()
}

/// `text` with each whole word `from` replaced: `node-1` is no part of `node-12`.
fn replace_word(text: &str, from: &str, to: &str) -> String {
    let part = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, after) = (&rest[..at], &rest[at + from.len()..]);
        let whole = !before.ends_with(part) && !after.starts_with(part);
        result.push_str(before);
        result.push_str(if whole { to } else { from });
        rest = after;
    }
    result + rest
}

fn topology(scenario: &Scenario, _: &Failure) -> Vec<Scenario> {
    let default = Topology::default();
    let now = &scenario.topology;
    let changed = |change: &dyn Fn(&mut Topology)| with(scenario, |variant| change(&mut variant.topology));
    let variants = [
        changed(&|topology| {
            *topology = Topology {
                nodes: now.nodes.clone(),
                ..Topology::default()
            }
        }),
        changed(&|topology| topology.zones = default.zones),
        changed(&|topology| topology.apiservers = default.apiservers),
        changed(&|topology| topology.schedulers = default.schedulers),
        changed(&|topology| topology.controller_managers = default.controller_managers),
        changed(&|topology| topology.node.clear()),
        changed(&|topology| topology.store = default.store),
    ];
    variants.into_iter().filter(|variant| variant != scenario).collect()
}

fn network(scenario: &Scenario, _: &Failure) -> Vec<Scenario> {
    let default = NetworkSpec::default();
    let variants = [
        with(scenario, |variant| variant.network = default.clone()),
        with(scenario, |variant| variant.network.loss = 0.0),
        with(scenario, |variant| variant.network.latency = default.latency),
    ];
    variants.into_iter().filter(|variant| variant != scenario).collect()
}

fn images(scenario: &Scenario, _: &Failure) -> Vec<Scenario> {
    let default = ImageScript::default();
    let mut variants = Vec::new();
    if scenario.images.len() > 1 {
        variants.push(with(scenario, |variant| variant.images.clear()));
    }
    for name in scenario.images.keys() {
        variants.push(with(scenario, |variant| {
            variant.images.remove(name);
        }));
        let changes: [fn(&mut ImageScript, &ImageScript); 8] = [
            |script, default| script.pull = default.pull,
            |script, default| script.start = default.start,
            |script, default| script.ready = default.ready,
            |script, default| script.stop = default.stop,
            |script, default| script.crash = default.crash,
            |script, default| script.lifetime = default.lifetime,
            |script, default| script.exit = default.exit,
            |script, default| script.listen.clone_from(&default.listen),
        ];
        for change in changes {
            let variant = with(scenario, |variant| {
                if let Some(script) = variant.images.get_mut(name) {
                    change(script, &default);
                }
            });
            variants.push(variant);
        }
    }
    variants.into_iter().filter(|variant| variant != scenario).collect()
}

fn manifests(scenario: &Scenario, _: &Failure) -> Vec<Scenario> {
    let mut variants = Vec::new();
    for (step, plan) in scenario.workload.iter().enumerate() {
        for (number, object) in plan.action.applied().iter().enumerate() {
            for simpler in simpler_values(object) {
                variants.push(with(scenario, |variant| {
                    if let StepAction::Apply(Manifest::Inline(objects)) = &mut variant.workload[step].action {
                        objects[number] = simpler;
                    }
                }));
            }
        }
    }
    variants
}

/// A value with one thing of it left out, the greatest first, or with one number of replicas made smaller.
fn simpler_values(value: &Value) -> Vec<Value> {
    let mut variants = Vec::new();
    match value {
        Value::Object(map) => {
            for key in map.keys() {
                let mut fewer = map.clone();
                fewer.remove(key);
                variants.push(Value::Object(fewer));
            }
            for (key, inner) in map {
                let smaller = match inner.as_u64() {
                    Some(count) if key == "replicas" => smaller_numbers(count),
                    _ => simpler_values(inner),
                };
                variants.extend(smaller.into_iter().map(|inner| {
                    let mut map = map.clone();
                    map.insert(key.clone(), inner);
                    Value::Object(map)
                }));
            }
        }
        Value::Array(items) => {
            for index in 0..items.len() {
                if items.len() > 1 {
                    let mut fewer = items.clone();
                    fewer.remove(index);
                    variants.push(Value::Array(fewer));
                }
                variants.extend(simpler_values(&items[index]).into_iter().map(|inner| {
                    let mut items = items.clone();
                    items[index] = inner;
                    Value::Array(items)
                }));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    variants
}

fn smaller_numbers(count: u64) -> Vec<Value> {
    let mut smaller = vec![1, count / 2, count.saturating_sub(1)];
    smaller.retain(|smaller| (1..count).contains(smaller));
    smaller.dedup();
    smaller.into_iter().map(Value::from).collect()
}

fn faults(scenario: &Scenario, _: &Failure) -> Vec<Scenario> {
    let mut variants = Vec::new();
    for (index, plan) in scenario.faults.iter().enumerate() {
        for action in plan.action.simpler() {
            variants.push(with(scenario, |variant| variant.faults[index].action = action));
        }
    }
    variants
}

fn steps(scenario: &Scenario, _: &Failure) -> Vec<Scenario> {
    let mut variants = Vec::new();
    for (index, plan) in scenario.workload.iter().enumerate() {
        for action in plan.action.simpler() {
            variants.push(with(scenario, |variant| variant.workload[index].action = action));
        }
    }
    variants
}

/// All moments of faults and steps.
pub fn moments(scenario: &mut Scenario) -> impl Iterator<Item = &mut Moment> {
    let faults = scenario.faults.iter_mut().map(|plan| &mut plan.moment);
    faults.chain(scenario.workload.iter_mut().map(|plan| &mut plan.moment))
}

fn waits(scenario: &Scenario, _: &Failure) -> Vec<Scenario> {
    let mut variants = Vec::new();
    let count = moments(&mut scenario.clone()).count();
    for index in 0..count {
        let Some(Moment::When(trigger)) = moments(&mut scenario.clone()).nth(index).cloned() else {
            continue;
        };
        for simpler in triggers::simpler(&trigger) {
            variants.push(with(scenario, |variant| {
                if let Some(moment) = moments(variant).nth(index) {
                    *moment = Moment::When(simpler);
                }
            }));
        }
    }
    variants
}

/// Everything from some moment on happens sooner after what was before it.
fn idle_time(scenario: &Scenario, _: &Failure) -> Vec<Scenario> {
    let mut times: Vec<Duration> = moments(&mut scenario.clone())
        .filter_map(|moment| match moment {
            Moment::At(at) => Some(*at),
            Moment::Between(_) | Moment::When(_) => None,
        })
        .collect();
    times.push(Duration::ZERO);
    times.sort();
    let mut variants = Vec::new();
    for pair in times.windows(2) {
        for keep in [seconds(1), seconds(5), seconds(10)] {
            // Less is not worth a run.
            let Some(sooner) = (pair[1] - pair[0])
                .checked_sub(keep)
                .filter(|sooner| *sooner >= seconds(2))
            else {
                continue;
            };
            let earlier = with(scenario, |variant| {
                moments(variant).for_each(|moment| match moment {
                    Moment::At(at) if *at >= pair[1] => *at -= sooner,
                    Moment::At(_) | Moment::Between(_) | Moment::When(_) => {}
                });
            });
            let end = scenario.duration.saturating_sub(sooner).max(seconds(1));
            variants.push(earlier.ending_at(end));
            variants.push(earlier);
        }
    }
    variants
}

fn times(scenario: &Scenario, _: &Failure) -> Vec<Scenario> {
    let mut variants = Vec::new();
    let count = moments(&mut scenario.clone()).count();
    for index in 0..count {
        let Some(Moment::At(at)) = moments(&mut scenario.clone()).nth(index).cloned() else {
            continue;
        };
        for rounder in rounder(at) {
            variants.push(with(scenario, |variant| {
                if let Some(moment) = moments(variant).nth(index) {
                    *moment = Moment::At(rounder);
                }
            }));
        }
    }
    let whole = rounder(scenario.duration).into_iter().filter(|whole| !whole.is_zero());
    variants.extend(whole.map(|whole| scenario.ending_at(whole)));
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::examine;

    fn scenario(text: &str) -> Scenario {
        let text = format!("name: a\nduration: 100s\n{text}");
        read("a.yaml", &text, |_| Err(String::new())).unwrap()
    }

    fn failure(kind: &str) -> Failure {
        Failure {
            kind: kind.to_owned(),
            signs: std::collections::BTreeSet::new(),
            message: String::new(),
        }
    }

    #[test]
    fn fewer_nodes_are_enough_and_those_that_are_named_get_the_first_numbers() {
        let five = scenario(
            "topology: { nodes: 5 }\nfaults:\n  - at: 1s\n    crash: { component: kubelet/node-4, for: 2s }\n",
        );
        let variants = nodes(&five, &failure("P2"));
        assert_eq!(variants.len(), 4);
        assert_eq!(variants[0].topology.nodes.len(), 1);
        assert!(
            variants[0].to_yaml().contains("kubelet/node-1"),
            "{}",
            variants[0].to_yaml()
        );
    }

    #[test]
    fn a_shorter_chaos_has_no_faults_that_come_too_late() {
        let late = scenario(
            "faults:\n  - at: 90s\n    restart: scheduler\n  - between: 1s..95s\n    restart: proxy\n  - when: { after: 80s }\n    \
             restart: apiserver\n",
        );
        let variants = duration(&late, &failure("P2"));
        let left: Vec<usize> = variants.iter().map(|variant| variant.faults.len()).collect();
        assert!(left.contains(&1) && !left.contains(&0), "{left:?}");
        for variant in variants {
            let examined = examine("a.yaml", &variant.to_yaml(), |_| Err(String::new()));
            assert_eq!(examined.map(|(again, _)| again).as_ref(), Ok(&variant));
        }
    }

    #[test]
    fn no_variant_is_the_scenario_itself_and_each_can_be_written_and_read() {
        let texts = [
            include_str!("../../../scenarios/swarm.yaml"),
            include_str!("../../../scenarios/disk-trouble.yaml"),
            "name: a\nduration: 100s\nfaults:\n  - at: 9s\n    clock: { node: any, offset: -90s..2m, drift: 0.9..1.1 }\n",
        ];
        let manifest = include_str!("../../../scenarios/manifests/web.yaml");
        for text in texts {
            let scenario = read("b.yaml", text, |_| Ok(manifest.to_owned())).unwrap();
            for (name, pass) in PASSES {
                for variant in pass(&scenario, &failure("P2")) {
                    assert_ne!(variant, scenario, "{name}");
                    if *name != "manifests" {
                        let again = read("a.yaml", &variant.to_yaml(), |_| Err(String::new()));
                        assert_eq!(again.as_ref(), Ok(&variant), "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn faults_of_links_and_requests_become_simpler_and_can_still_be_read() {
        for fault in [
            "partition: { between: [[node-1, node-2], [control-plane]], direction: in, for: 30s }",
            "slow-link: { node: node-1, to: control-plane, by: 100ms..2s, for: 30s }",
            "loss: { node: node-1, to: control-plane, probability: 0.3, for: 30s }",
            "loss: { client: scheduler/1, request: list nodes, nth: [2, 5], lost: answer, then: silence }",
            "duplicate: { client: user, request: create pods, nth: [3], after: 250ms }",
            "api-errors: { client: scheduler, codes: [409, 500], effect: true, probability: 0.3, for: 30s }",
            "drop-watches: { client: scheduler, resource: nodes, relist: true, for: 30s }",
            "slow-reader: { client: proxy, by: 1s..3s, for: 30s }",
        ] {
            let one = scenario(&format!("topology: {{ nodes: 2 }}\nfaults:\n  - at: 1s\n    {fault}\n"));
            let variants = faults(&one, &failure("P2"));
            assert!(!variants.is_empty(), "{fault}");
            for variant in variants {
                assert_ne!(variant, one);
                let again = read("a.yaml", &variant.to_yaml(), |_| Err(String::new()));
                assert_eq!(again.as_ref(), Ok(&variant), "{fault}");
            }
        }
    }
}
