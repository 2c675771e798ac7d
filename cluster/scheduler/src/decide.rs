//! The decision: which node a pod goes to, or why to none. Pure but for the toss among equals.
//!
//! Filters first, in Kubernetes' order, each node stopped by the first that objects; then scores of 0 to 100 each,
//! weighted as Kubernetes' default plug-ins are. Preemption is not done; the message says what Kubernetes' would.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, PodSpec};
use orrery_api::meta::Object;
use orrery_api::mutant;
use orrery_api::placement::{share_port, term_matches, wants_node};
use orrery_api::random::Random;

use crate::affinity::{disliked_taints, is_cordoned, preferences, repelling_taint};
use crate::queue::Event;
use crate::resources::Resources;
use crate::state::{NodeInfo, PodInfo, State};
use crate::topology::Topology;

/// The highest score.
const FULL: i64 = 100;

/// Why a pod fits on no node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unschedulable {
    /// In Kubernetes' words, for the event and the condition.
    pub message: String,
    /// What may change it.
    pub events: BTreeSet<Event>,
}

/// An objection of a filter to a node.
struct Objection {
    reasons: Vec<String>,
    events: &'static [Event],
    /// Whether fewer pods on the node could help.
    crowded: bool,
}

impl Objection {
    fn of_node(reason: impl Into<String>) -> Self {
        Objection {
            reasons: vec![reason.into()],
            events: &[Event::Node],
            crowded: false,
        }
    }
}

/// Chooses a node for `pod`.
pub fn decide(pod: &PodInfo, state: &State, random: &Random) -> Result<String, Unschedulable> {
    let empty = PodSpec::default();
    let spec = pod.pod.spec.as_ref().unwrap_or(&empty);
    let topology = Topology::new(pod, state);
    let mut feasible = Vec::new();
    let mut objections = Vec::new();
    let wanted = enough(state.nodes.len());
    let first = if wanted < state.nodes.len() {
        random.below(state.nodes.len() as u64) as usize
    } else {
        0
    };
    let (before, after) = (state.nodes.values().take(first), state.nodes.values().skip(first));
    for info in after.chain(before) {
        let Some(node) = info.usable() else { continue };
        match object(pod, spec, node, info, &topology) {
            None => feasible.push((node, info)),
            Some(objection) => objections.push(objection),
        }
        if feasible.len() == wanted {
            break;
        }
    }
    match feasible.as_slice() {
        [] => Err(explain(spec, &objections)),
        [(only, _)] => Ok(only.name().to_owned()),
        many => {
            let scores = score(pod, spec, many, state, &topology);
            let best = scores.iter().max().copied().unwrap_or(0);
            let equals: Vec<_> = many
                .iter()
                .zip(&scores)
                .filter(|(_, score)| **score == best)
                .map(|((node, _), _)| node)
                .collect();
            let chosen = random.choose(&equals).or(equals.first());
            Ok(chosen.map(|node| node.name().to_owned()).unwrap_or_default())
        }
    }
}

/// Of how many nodes that fit the best is chosen, when there are `all`: of a hundred or fewer all, of more a share that
/// falls from a half to a twentieth, as kube-scheduler's `percentageOfNodesToScore` does by default. The look begins at
/// a node by chance.
fn enough(all: usize) -> usize {
    const FEWEST: usize = 100;
    if all <= FEWEST {
        return all;
    }
    let percentage = 50usize.saturating_sub(all / 125).max(5);
    (all * percentage / 100).max(FEWEST)
}

/// The first filter's objection to the node, if one objects.
fn object(pod: &PodInfo, spec: &PodSpec, node: &Node, info: &NodeInfo, topology: &Topology) -> Option<Objection> {
    if is_cordoned(spec, node) {
        return Some(Objection::of_node("node(s) were unschedulable"));
    }
    if spec
        .node_name
        .as_deref()
        .is_some_and(|name| !name.is_empty() && name != node.name())
    {
        return Some(Objection::of_node("node(s) didn't match the requested node name"));
    }
    if let Some(taint) = repelling_taint(spec, node) {
        let value = taint.value.as_deref().unwrap_or_default();
        return Some(Objection::of_node(format!(
            "node(s) had untolerated taint {{{}: {value}}}",
            taint.key
        )));
    }
    if !wants_node(spec, node) {
        return Some(Objection::of_node("node(s) didn't match Pod's node affinity/selector"));
    }
    if !pod.ports.is_empty()
        && info.pods.values().any(|other| share_port(&other.ports, &pod.ports))
        && !mutant::active("O137")
    {
        let reasons = vec!["node(s) didn't have free ports for the requested pod ports".to_owned()];
        return Some(Objection {
            reasons,
            events: &[Event::Node, Event::PodGone],
            crowded: true,
        });
    }
    let mut reasons = Vec::new();
    let count = i64::try_from(info.pods.len()).unwrap_or(i64::MAX);
    if count > info.pod_limit || (count == info.pod_limit && !mutant::active("O52")) {
        reasons.push("Too many pods".to_owned());
    }
    let lacking = info.allocatable.insufficient(&info.requested, &pod.requests);
    reasons.extend(lacking.into_iter().map(|name| format!("Insufficient {name}")));
    if !reasons.is_empty() {
        let crowded = info
            .allocatable
            .insufficient(&Resources::default(), &pod.requests)
            .is_empty();
        return Some(Objection {
            reasons,
            events: &[Event::Node, Event::PodGone],
            crowded,
        });
    }
    topology.objection(info).map(|reason| Objection {
        reasons: vec![reason.words.to_owned()],
        events: reason.events,
        crowded: reason.crowded,
    })
}

/// The message of a pod that fits nowhere, as `kubectl describe` has always shown it.
fn explain(spec: &PodSpec, objections: &[Objection]) -> Unschedulable {
    if objections.is_empty() {
        let message = "no nodes available to schedule pods".to_owned();
        return Unschedulable {
            message,
            events: BTreeSet::from([Event::Node]),
        };
    }
    let total = objections.len();
    let mut counts = BTreeMap::<&str, usize>::new();
    for reason in objections.iter().flat_map(|objection| &objection.reasons) {
        *counts.entry(reason).or_default() += 1;
    }
    let mut reasons: Vec<String> = counts
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    reasons.sort();
    let preemption = if spec.preemption_policy.as_deref() == Some("Never") {
        "not eligible due to preemptionPolicy=Never.".to_owned()
    } else {
        let crowded = objections.iter().filter(|objection| objection.crowded).count();
        let mut parts = Vec::new();
        if crowded > 0 {
            parts.push(format!("{crowded} No preemption victims found for incoming pod"));
        }
        if crowded < total {
            parts.push(format!("{} Preemption is not helpful for scheduling", total - crowded));
        }
        parts.sort();
        format!("0/{total} nodes are available: {}.", parts.join(", "))
    };
    let heard = if total > 1 && mutant::active("O70") {
        &objections[total - 1..]
    } else {
        objections
    };
    Unschedulable {
        message: format!(
            "0/{total} nodes are available: {}. preemption: {preemption}",
            reasons.join(", ")
        ),
        events: heard.iter().flat_map(|objection| objection.events).copied().collect(),
    }
}

/// The weighted score of each node.
fn score(
    pod: &PodInfo,
    spec: &PodSpec,
    nodes: &[(&std::sync::Arc<Node>, &NodeInfo)],
    state: &State,
    topology: &Topology,
) -> Vec<i64> {
    let zones = owner_zones(pod, state);
    let each = |value: &dyn Fn(&Node, &NodeInfo) -> i64| -> Vec<i64> {
        nodes.iter().map(|(node, info)| value(node, info)).collect()
    };
    let spread = each(&|_, info| {
        topology.crowd(info).unwrap_or_else(|| {
            let here = info.owners.get(&pod.owner).copied().unwrap_or(0);
            let zone = info.label(ZONE).and_then(|zone| zones.get(zone)).copied().unwrap_or(0);
            // A neighbour on the node is also one in the zone; the node weighs more.
            i64::try_from(2 * here + zone).unwrap_or(i64::MAX)
        })
    });
    let taints = each(&|node, _| i64::try_from(disliked_taints(spec, node)).unwrap_or(i64::MAX));
    let wishes = preferences(spec);
    let affinity = each(&|node, _| {
        let met = wishes.iter().filter(|wish| term_matches(&wish.preference, node));
        met.map(|wish| i64::from(wish.weight)).sum()
    });
    let company = each(&|_, info| topology.company(info).unwrap_or(0));
    let room = each(&|_, info| least_allocated(pod, info));
    let balance = each(&|_, info| balanced(pod, info));
    let parts = [
        (3, fewer_is_better(&taints)),
        (2, more_is_better(&affinity)),
        (2, fewer_is_better(&spread)),
        (2, more_is_better(&company)),
        (1, room),
        (1, balance),
    ];
    (0..nodes.len())
        .map(|index| parts.iter().map(|(weight, scores)| weight * scores[index]).sum())
        .collect()
}

const ZONE: &str = "topology.kubernetes.io/zone";

/// How many pods of the pod's owner each zone has.
fn owner_zones(pod: &PodInfo, state: &State) -> BTreeMap<String, usize> {
    let mut zones = BTreeMap::new();
    if pod.owner.is_empty() {
        return zones;
    }
    for (node, count) in state.nodes_of_owner(&pod.owner) {
        if let Some(zone) = state.nodes.get(node).and_then(|info| info.label(ZONE)) {
            *zones.entry(zone.to_owned()).or_default() += count;
        }
    }
    zones
}

fn fewer_is_better(values: &[i64]) -> Vec<i64> {
    let most = values.iter().max().copied().unwrap_or(0);
    values
        .iter()
        .map(|value| if most <= 0 { FULL } else { FULL * (most - value) / most })
        .collect()
}

fn more_is_better(values: &[i64]) -> Vec<i64> {
    let (least, most) = (
        values.iter().min().copied().unwrap_or(0),
        values.iter().max().copied().unwrap_or(0),
    );
    values
        .iter()
        .map(|value| {
            if most == least {
                0
            } else {
                FULL * (value - least) / (most - least)
            }
        })
        .collect()
}

/// What the pods of the node and this one ask for, with a default for those that do not say: used and available.
fn load(pod: &PodInfo, info: &NodeInfo) -> [(i64, i64); 2] {
    let (cpu, memory) = pod.load;
    [
        (info.load.0.saturating_add(cpu), info.allocatable.cpu),
        (info.load.1.saturating_add(memory), info.allocatable.memory),
    ]
}

/// The share of the node that stays free, 0 to 100.
fn least_allocated(pod: &PodInfo, info: &NodeInfo) -> i64 {
    let shares = load(pod, info).map(|(used, have)| match have {
        ..=0 => 0,
        _ if used > have => 0,
        _ => i64::try_from(i128::from(have - used) * i128::from(FULL) / i128::from(have)).unwrap_or(0),
    });
    shares.iter().sum::<i64>() / 2
}

/// How evenly processor and memory are used, 0 to 100.
fn balanced(pod: &PodInfo, info: &NodeInfo) -> i64 {
    let [cpu, memory] = load(pod, info).map(|(used, have)| {
        if have <= 0 {
            1.0
        } else {
            (used as f64 / have as f64).min(1.0)
        }
    });
    ((1.0 - (cpu - memory).abs() / 2.0) * FULL as f64) as i64
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
