//! Does a pod fit beside the others: topology spread constraints, pod affinity and anti-affinity.
//!
//! What concerns all nodes is counted once a pod ([`Topology::new`]), and only for pods that ask for it; each node is
//! then judged by look-up. A node that lacks the topology key of one of a pod's spread constraints has no part in the
//! others, as in Kubernetes: those that forbid are taken together, and so are those that prefer.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, PodSpec, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use orrery_api::labels::Selector;
use orrery_api::meta::Object;
use orrery_api::mutant;
use orrery_api::placement::wants_node;

use crate::affinity::repelling_taint;
use crate::queue::Event;
use crate::state::{NodeInfo, PodInfo, State};

/// Why a node is not for the pod.
#[derive(Debug, Clone, Copy)]
pub struct Reason {
    /// In Kubernetes' words.
    pub words: &'static str,
    /// What may change it.
    pub events: &'static [Event],
    /// Whether fewer pods on the node could help.
    pub crowded: bool,
}

/// What may change who is beside whom; a node that goes takes its pods out of their domains.
const COMPANY: &[Event] = &[
    Event::Node,
    Event::NodeGone,
    Event::PodGone,
    Event::PodPlaced,
    Event::Namespace,
];

const SPREAD: Reason = Reason {
    words: "node(s) didn't match pod topology spread constraints",
    // A domain that goes may have been the emptiest one.
    events: &[Event::Node, Event::NodeGone, Event::PodGone, Event::PodPlaced],
    crowded: true,
};
const SPREAD_LABEL: Reason = Reason {
    words: "node(s) didn't match pod topology spread constraints (missing required label)",
    events: &[Event::Node],
    crowded: false,
};
const AFFINITY: Reason = Reason {
    words: "node(s) didn't match pod affinity rules",
    events: COMPANY,
    crowded: false,
};
const ANTI_AFFINITY: Reason = Reason {
    words: "node(s) didn't match pod anti-affinity rules",
    events: COMPANY,
    crowded: true,
};
const OTHERS_ANTI_AFFINITY: Reason = Reason {
    words: "node(s) didn't satisfy existing pods anti-affinity rules",
    events: COMPANY,
    crowded: true,
};

/// Which pods a term or constraint is about.
struct Matcher {
    /// Pods in namespaces of these names,
    namespaces: Vec<String>,
    /// and in those with such labels.
    labelled: Selector,
    selector: Selector,
}

impl Matcher {
    fn of_term(term: &PodAffinityTerm, pod: &Pod) -> Self {
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(pod.namespace().to_owned());
        }
        let selector = narrowed(
            term.label_selector.as_ref(),
            term.match_label_keys.as_deref(),
            term.mismatch_label_keys.as_deref(),
            pod,
        );
        Matcher {
            namespaces,
            labelled: Selector::from_optional(term.namespace_selector.as_ref()).unwrap_or(Selector::nothing()),
            selector,
        }
    }

    fn of_constraint(constraint: &TopologySpreadConstraint, pod: &Pod) -> Self {
        let keys = constraint.match_label_keys.as_deref();
        let selector = narrowed(
            constraint.label_selector.as_ref(),
            keys.filter(|_| !mutant::active("O139")),
            None,
            pod,
        );
        Matcher {
            namespaces: vec![pod.namespace().to_owned()],
            labelled: Selector::nothing(),
            selector,
        }
    }

    fn matches(&self, pod: &Pod, state: &State) -> bool {
        let namespace = pod.namespace();
        let is_meant = self.namespaces.iter().any(|name| name == namespace)
            || self.labelled.matches_by(|key| state.namespace_label(namespace, key));
        is_meant && self.selector.matches_by(|key| pod.label(key))
    }
}

/// The selector, narrowed to the pod's own values of the keys `same`, and to others than its own of the keys `other`.
/// No selector matches nothing.
fn narrowed(
    selector: Option<&LabelSelector>,
    same: Option<&[String]>,
    other: Option<&[String]>,
    pod: &Pod,
) -> Selector {
    let Some(selector) = selector else {
        return Selector::nothing();
    };
    let mut selector = selector.clone();
    for (operator, keys) in [("In", same), ("NotIn", other)] {
        let own = keys
            .into_iter()
            .flatten()
            .filter_map(|key| Some((key, pod.label(key)?)));
        let requirements = own.map(|(key, value)| LabelSelectorRequirement {
            key: key.clone(),
            operator: operator.to_owned(),
            values: Some(vec![value.to_owned()]),
        });
        selector.match_expressions.get_or_insert_default().extend(requirements);
    }
    Selector::from_label_selector(&selector).unwrap_or(Selector::nothing())
}

/// Counts the pods that `matcher` matches by the value of `key` on their nodes.
fn count<'a>(
    nodes: impl Iterator<Item = &'a NodeInfo>,
    key: &str,
    matcher: impl Fn(&Pod) -> bool,
) -> BTreeMap<String, i64> {
    let mut domains = BTreeMap::new();
    for node in nodes {
        let Some(domain) = node.label(key) else { continue };
        let here = node.pods.values().filter(|pod| matcher(&pod.pod)).count();
        *domains.entry(domain.to_owned()).or_default() += i64::try_from(here).unwrap_or(i64::MAX);
    }
    domains
}

struct Spread {
    key: String,
    hard: bool,
    max_skew: i64,
    least: i64,
    own: i64,
    domains: BTreeMap<String, i64>,
}

struct Term {
    key: String,
    domains: BTreeMap<String, i64>,
    /// Signed: what a pod in the domain is worth to a preference.
    weight: i64,
}

/// What the other pods mean for one pod, by topology.
#[derive(Default)]
pub struct Topology {
    spread: Vec<Spread>,
    affinity: Vec<Term>,
    /// Whether it is the first of pods that want each other's company: any domain will do.
    is_first: bool,
    anti_affinity: Vec<Term>,
    /// Domains that pods already there keep this one out of: label and value.
    others: Vec<(String, String)>,
    preferences: Vec<Term>,
}

impl Topology {
    /// Counts what concerns `pod`.
    pub fn new(pod: &PodInfo, state: &State) -> Self {
        let own = &*pod.pod;
        let Some(spec) = own.spec.as_ref() else {
            return Topology::default();
        };
        let nodes = || state.nodes.values().filter(|node| node.usable().is_some());
        let counted = |term: &PodAffinityTerm, weight, matches: &dyn Fn(&Pod) -> bool| Term {
            key: term.topology_key.clone(),
            domains: count(nodes(), &term.topology_key, matches),
            weight,
        };
        let term = |term: &PodAffinityTerm, weight| {
            let matcher = Matcher::of_term(term, own);
            counted(term, weight, &|pod| matcher.matches(pod, state))
        };
        let affinity = spec
            .affinity
            .as_ref()
            .and_then(|affinity| affinity.pod_affinity.as_ref());
        let anti = spec
            .affinity
            .as_ref()
            .and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let required = affinity.and_then(|one| one.required_during_scheduling_ignored_during_execution.as_deref());
        let required = required.unwrap_or_default();
        // Only pods that all terms mean are company.
        let matchers: Vec<Matcher> = required.iter().map(|one| Matcher::of_term(one, own)).collect();
        let is_company = |pod: &Pod| matchers.iter().all(|matcher| matcher.matches(pod, state));
        let terms: Vec<Term> = required.iter().map(|one| counted(one, 0, &is_company)).collect();
        let mut counts = terms.iter().flat_map(|term| term.domains.values());
        let is_first = counts.all(|count| *count == 0) && (is_company(own) || mutant::active("O240"));
        let likes = affinity.and_then(|one| one.preferred_during_scheduling_ignored_during_execution.as_deref());
        let likes = likes
            .unwrap_or_default()
            .iter()
            .map(|one| (&one.pod_affinity_term, i64::from(one.weight)));
        let dislikes = anti.and_then(|one| one.preferred_during_scheduling_ignored_during_execution.as_deref());
        let dislikes = dislikes
            .unwrap_or_default()
            .iter()
            .map(|one| (&one.pod_affinity_term, -i64::from(one.weight)));
        Topology {
            spread: spec
                .topology_spread_constraints
                .iter()
                .flatten()
                .map(|one| spread(one, own, spec, state))
                .collect(),
            affinity: terms,
            is_first,
            anti_affinity: pod.anti_affinity().iter().map(|one| term(one, 0)).collect(),
            others: others(own, state),
            preferences: likes.chain(dislikes).map(|(one, weight)| term(one, weight)).collect(),
        }
    }

    /// Why the node is not for the pod, if it is not; asked in Kubernetes' order.
    pub fn objection(&self, node: &NodeInfo) -> Option<Reason> {
        for spread in self.spread.iter().filter(|spread| spread.hard) {
            let Some(domain) = node.label(&spread.key) else {
                return Some(SPREAD_LABEL);
            };
            let here = spread.domains.get(domain).copied().unwrap_or(0);
            if here + spread.own - spread.least > spread.max_skew {
                return Some(SPREAD);
            }
        }
        let occupied = |term: &Term| {
            node.label(&term.key)
                .and_then(|domain| term.domains.get(domain))
                .is_some_and(|count| *count > 0)
        };
        let is_company = |term: &Term| match self.is_first {
            true => node.label(&term.key).is_some(),
            false => occupied(term),
        };
        if !self.affinity.iter().all(is_company) {
            return Some(AFFINITY);
        }
        if self.anti_affinity.iter().any(occupied) {
            return Some(ANTI_AFFINITY);
        }
        let mut others = self.others.iter();
        let is_kept_out = others.any(|(key, value)| node.label(key) == Some(value.as_str()));
        is_kept_out.then(|| Reason {
            events: if mutant::active("O132") {
                SPREAD_LABEL.events
            } else {
                OTHERS_ANTI_AFFINITY.events
            },
            ..OTHERS_ANTI_AFFINITY
        })
    }

    /// How many pods of soft spread constraints are in the node's domains already: fewer is better, and worst is not to
    /// be in a domain of each. `None` when the pod has no such constraints.
    pub fn crowd(&self, node: &NodeInfo) -> Option<i64> {
        let soft: Vec<_> = self.spread.iter().filter(|spread| !spread.hard).collect();
        let is_counted = soft.iter().all(|spread| node.label(&spread.key).is_some());
        (!soft.is_empty()).then(|| {
            let counts = soft.iter().map(|spread| {
                let worst = spread.domains.values().max().copied().unwrap_or(0) + 1;
                let domain = node.label(&spread.key).filter(|_| is_counted);
                domain.map_or(worst, |domain| spread.domains.get(domain).copied().unwrap_or(0))
            });
            counts.sum()
        })
    }

    /// What the company on the node is worth to the pod's preferences: more is better. `None` without preferences.
    pub fn company(&self, node: &NodeInfo) -> Option<i64> {
        (!self.preferences.is_empty()).then(|| {
            let worth = self
                .preferences
                .iter()
                .filter_map(|term| Some(term.weight * term.domains.get(node.label(&term.key)?).copied().unwrap_or(0)));
            worth.sum()
        })
    }
}

fn is_hard(constraint: &TopologySpreadConstraint) -> bool {
    constraint.when_unsatisfiable != "ScheduleAnyway"
}

fn spread(constraint: &TopologySpreadConstraint, pod: &Pod, spec: &PodSpec, state: &State) -> Spread {
    let matcher = Matcher::of_constraint(constraint, pod);
    let hard = is_hard(constraint);
    let alike = spec.topology_spread_constraints.iter().flatten();
    let alike: Vec<_> = alike.filter(|other| is_hard(other) == hard).collect();
    let has_all_keys = |node: &NodeInfo| {
        alike.iter().all(|other| node.label(&other.topology_key).is_some())
            || (node.label(&constraint.topology_key).is_some() && mutant::active("O121"))
    };
    let honors_affinity = constraint.node_affinity_policy.as_deref() != Some("Ignore");
    let honors_taints = constraint.node_taints_policy.as_deref() == Some("Honor");
    let nodes = state.nodes.values().filter(|info| {
        let is_eligible = info.usable().is_some_and(|node| {
            (!honors_affinity || wants_node(spec, node) || mutant::active("O138"))
                && (!honors_taints || repelling_taint(spec, node).is_none())
        });
        is_eligible && has_all_keys(info)
    });
    let domains = count(nodes, &constraint.topology_key, |pod| {
        !pod.is_terminating() && matcher.matches(pod, state)
    });
    let enough = i64::try_from(domains.len()).unwrap_or(i64::MAX) >= i64::from(constraint.min_domains.unwrap_or(1));
    Spread {
        key: constraint.topology_key.clone(),
        hard,
        max_skew: i64::from(constraint.max_skew),
        least: if enough {
            let sees = |count: &&i64| **count > 0 || !mutant::active("O81");
            domains.values().filter(sees).min().copied().unwrap_or(0)
        } else {
            0
        },
        own: i64::from(matcher.matches(pod, state)),
        domains,
    }
}

/// The domains that pods with required anti-affinity keep `pod` out of.
fn others(pod: &Pod, state: &State) -> Vec<(String, String)> {
    let mut domains = Vec::new();
    if state.anti_affine == 0 || mutant::active("O131") {
        return domains;
    }
    for node in state.nodes.values() {
        for other in node.pods.values() {
            for term in other.anti_affinity() {
                let Some(value) = node.label(&term.topology_key) else {
                    continue;
                };
                if Matcher::of_term(term, &other.pod).matches(pod, state) {
                    domains.push((term.topology_key.clone(), value.to_owned()));
                }
            }
        }
    }
    domains.sort();
    domains.dedup();
    domains
}
