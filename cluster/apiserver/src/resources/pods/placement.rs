//! Rules of what says where a pod may run: tolerations, affinity, spreading.

use k8s_openapi::api::core::v1::{
    NodeAffinity, NodeSelectorTerm, PodAffinityTerm, PodSpec, Toleration, WeightedPodAffinityTerm,
};
use orrery_api::field::Error;
use orrery_api::names;

use super::super::check::{between, items, label_key, messages, one_of, selector, text};
use super::super::nodes::TAINT_EFFECTS;

/// Finds faults of the placement of the pod spec at `path`.
pub(super) fn validate(path: &str, spec: &PodSpec) -> Vec<Error> {
    let mut errors = Vec::new();
    for (index, toleration) in items(&spec.tolerations).iter().enumerate() {
        errors.extend(validate_toleration(&format!("{path}.tolerations[{index}]"), toleration));
    }
    if let Some(affinity) = &spec.affinity {
        if let Some(node) = &affinity.node_affinity {
            errors.extend(node_affinity(&format!("{path}.affinity.nodeAffinity"), node));
        }
        if let Some(near) = &affinity.pod_affinity {
            let path = format!("{path}.affinity.podAffinity");
            let required = items(&near.required_during_scheduling_ignored_during_execution);
            let preferred = items(&near.preferred_during_scheduling_ignored_during_execution);
            errors.extend(pod_affinity(&path, required, preferred));
        }
        if let Some(far) = &affinity.pod_anti_affinity {
            let path = format!("{path}.affinity.podAntiAffinity");
            let required = items(&far.required_during_scheduling_ignored_during_execution);
            let preferred = items(&far.preferred_during_scheduling_ignored_during_execution);
            errors.extend(pod_affinity(&path, required, preferred));
        }
    }
    for (index, spread) in items(&spec.topology_spread_constraints).iter().enumerate() {
        let path = format!("{path}.topologySpreadConstraints[{index}]");
        if spread.max_skew <= 0 {
            errors.push(Error::invalid(
                format!("{path}.maxSkew"),
                spread.max_skew,
                "must be greater than zero",
            ));
        }
        errors.extend(topology_key(&format!("{path}.topologyKey"), &spread.topology_key));
        let known = ["DoNotSchedule", "ScheduleAnyway"];
        errors.extend(one_of(
            &format!("{path}.whenUnsatisfiable"),
            &spread.when_unsatisfiable,
            &known,
        ));
        if let Some(own) = &spread.label_selector {
            errors.extend(selector(&format!("{path}.labelSelector"), own));
        }
    }
    errors
}

fn validate_toleration(path: &str, toleration: &Toleration) -> Vec<Error> {
    let (key, value) = (text(&toleration.key), text(&toleration.value));
    let (operator, effect) = (text(&toleration.operator), text(&toleration.effect));
    let mut errors = Vec::new();
    if !key.is_empty() {
        errors.extend(label_key(&format!("{path}.key"), key));
    } else if operator != "Exists" {
        let rule = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(Error::invalid(format!("{path}.operator"), operator, rule));
    }
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        let rule = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(Error::invalid(format!("{path}.effect"), effect, rule));
    }
    match operator {
        "" | "Equal" => errors.extend(messages(&format!("{path}.operator"), value, names::label_value(value))),
        "Exists" if !value.is_empty() => {
            let rule = "value must be empty when `operator` is 'Exists'";
            errors.push(Error::invalid(format!("{path}.operator"), toleration, rule));
        }
        "Exists" => {}
        _ => errors.extend(one_of(&format!("{path}.operator"), operator, &["Equal", "Exists"])),
    }
    if !effect.is_empty() {
        errors.extend(one_of(&format!("{path}.effect"), effect, TAINT_EFFECTS));
    }
    errors
}

fn node_affinity(path: &str, affinity: &NodeAffinity) -> Vec<Error> {
    let mut errors = Vec::new();
    if let Some(required) = &affinity.required_during_scheduling_ignored_during_execution {
        let path = format!("{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
        if required.node_selector_terms.is_empty() {
            errors.push(Error::required(&path, "must have at least one node selector term"));
        }
        for (index, term) in required.node_selector_terms.iter().enumerate() {
            errors.extend(node_term(&format!("{path}[{index}]"), term));
        }
    }
    for (index, preferred) in items(&affinity.preferred_during_scheduling_ignored_during_execution)
        .iter()
        .enumerate()
    {
        let path = format!("{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]");
        errors.extend(weight(&format!("{path}.weight"), preferred.weight));
        errors.extend(node_term(&format!("{path}.preference"), &preferred.preference));
    }
    errors
}

fn node_term(path: &str, term: &NodeSelectorTerm) -> Vec<Error> {
    let mut errors = Vec::new();
    for (index, rule) in items(&term.match_expressions).iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let values = items(&rule.values);
        match rule.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(Error::required(format!("{path}.values"), why));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(Error::forbidden(format!("{path}.values"), why));
            }
            "Gt" | "Lt" if values.len() != 1 => {
                let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.push(Error::required(format!("{path}.values"), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.push(Error::invalid(
                format!("{path}.operator"),
                other,
                "not a valid selector operator",
            )),
        }
        errors.extend(label_key(&format!("{path}.key"), &rule.key));
    }
    for (index, rule) in items(&term.match_fields).iter().enumerate() {
        let path = format!("{path}.matchFields[{index}]");
        if rule.key != "metadata.name" {
            errors.push(Error::invalid(
                format!("{path}.key"),
                &rule.key,
                "not a valid field selector key",
            ));
        }
        if !matches!(rule.operator.as_str(), "In" | "NotIn") {
            let why = "not a valid selector operator";
            errors.push(Error::invalid(format!("{path}.operator"), &rule.operator, why));
        }
        if items(&rule.values).len() != 1 {
            let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(Error::required(format!("{path}.values"), why));
        }
    }
    errors
}

fn pod_affinity(path: &str, required: &[PodAffinityTerm], preferred: &[WeightedPodAffinityTerm]) -> Vec<Error> {
    let mut errors = Vec::new();
    for (index, term) in required.iter().enumerate() {
        let path = format!("{path}.requiredDuringSchedulingIgnoredDuringExecution[{index}]");
        errors.extend(pod_term(&path, term));
    }
    for (index, preferred) in preferred.iter().enumerate() {
        let path = format!("{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]");
        errors.extend(weight(&format!("{path}.weight"), preferred.weight));
        errors.extend(pod_term(
            &format!("{path}.podAffinityTerm"),
            &preferred.pod_affinity_term,
        ));
    }
    errors
}

fn pod_term(path: &str, term: &PodAffinityTerm) -> Vec<Error> {
    let mut errors = Vec::new();
    for (name, own) in [
        ("labelSelector", &term.label_selector),
        ("namespaceSelector", &term.namespace_selector),
    ] {
        if let Some(own) = own {
            errors.extend(selector(&format!("{path}.{name}"), own));
        }
    }
    errors.extend(topology_key(&format!("{path}.topologyKey"), &term.topology_key));
    errors
}

fn topology_key(path: &str, key: &str) -> Vec<Error> {
    if key.is_empty() {
        vec![Error::required(path, "can not be empty")]
    } else {
        label_key(path, key)
    }
}

fn weight(path: &str, weight: i32) -> Vec<Error> {
    let mut errors = between(path, weight.into(), 1, 100);
    for error in &mut errors {
        error.detail = "must be in the range 1-100".to_owned();
    }
    errors
}
