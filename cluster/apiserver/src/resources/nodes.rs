//! Nodes: the machines that pods run on.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeSystemInfo, Taint};
use orrery_api::field::{self, Error};
use orrery_api::meta::Object as _;
use orrery_api::names;
use serde_json::{Value, json};

use super::cells::{AGE, NAME, age, column, or_none, wide};
use super::check::{Unique, cidr, items, label_key, messages, one_of, text};
use crate::resource::{Column, ResourceInfo, STATUS, Strategy};

/// Nodes.
pub struct Nodes;

static INFO: ResourceInfo = ResourceInfo {
    group: "",
    version: "v1",
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    categories: &[],
    namespaced: false,
    subresources: &[STATUS],
};

static COLUMNS: &[Column] = &[
    NAME,
    column(
        "Status",
        "string",
        "Whether it is ready, and whether it takes new pods.",
    ),
    column("Roles", "string", "Its roles, by its labels."),
    AGE,
    column("Version", "string", "The version of its kubelet."),
    wide("Internal-IP", "string", "Its address inside the cluster."),
    wide("External-IP", "string", "Its address outside."),
    wide("OS-Image", "string", "Its operating system."),
    wide("Kernel-Version", "string", "Its kernel."),
    wide("Container-Runtime", "string", "What runs its containers."),
];

/// The effects of taints.
pub(super) const TAINT_EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "PreferNoSchedule"];

impl Strategy for Nodes {
    type Object = Node;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn set_defaults(&self, object: &mut Node) {
        let spec = object.spec.get_or_insert_default();
        if let (Some(first), None) = (&spec.pod_cidr, &spec.pod_cidrs) {
            spec.pod_cidrs = Some(vec![first.clone()]);
        }
        let status = object.status.get_or_insert_default();
        if status.allocatable.is_none() {
            status.allocatable = status.capacity.clone();
        }
    }

    fn prepare_update(&self, new: &mut Node, old: &Node) {
        new.status = old.status.clone();
    }

    fn prepare_status_update(&self, new: &mut Node, old: &Node) {
        new.spec = old.spec.clone();
    }

    fn validate(&self, object: &Node) -> Vec<field::Error> {
        let mut errors = Vec::new();
        if let Some(spec) = &object.spec {
            errors.extend(validate_taints(items(&spec.taints)));
            for (index, range) in items(&spec.pod_cidrs).iter().enumerate() {
                errors.extend(cidr(&format!("spec.podCIDRs[{index}]"), range));
            }
            let ranges = items(&spec.pod_cidrs);
            if let (Some(one), Some(first)) = (spec.pod_cidr.as_deref().filter(|one| !one.is_empty()), ranges.first())
                && one != first
            {
                errors.push(Error::invalid(
                    "spec.podCIDRs",
                    ranges,
                    "podCIDRs[0] must match podCIDR",
                ));
            }
        }
        errors.extend(validate_status(object));
        errors
    }

    fn validate_update(&self, new: &Node, old: &Node) -> Vec<field::Error> {
        let mut errors = self.validate(new);
        if let (Some(new), Some(old)) = (&new.spec, &old.spec) {
            if !items(&old.pod_cidrs).is_empty() && items(&old.pod_cidrs) != items(&new.pod_cidrs) {
                let rule = "node updates may not change podCIDR except from \"\" to valid";
                errors.push(Error::forbidden("spec.podCIDRs", rule));
            }
            if !text(&old.provider_id).is_empty() && text(&old.provider_id) != text(&new.provider_id) {
                let rule = "node updates may not change providerID except from \"\" to valid";
                errors.push(Error::forbidden("spec.providerID", rule));
            }
        }
        errors
    }

    fn validate_status_update(&self, new: &Node, _old: &Node) -> Vec<field::Error> {
        validate_status(new)
    }

    fn fields(&self, object: &Node) -> Vec<(&'static str, String)> {
        let unschedulable = object
            .spec
            .as_ref()
            .and_then(|spec| spec.unschedulable)
            .unwrap_or(false);
        vec![("spec.unschedulable", unschedulable.to_string())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Node, now: Timestamp) -> Vec<Value> {
        let info = object.status.as_ref().and_then(|status| status.node_info.as_ref());
        let fact = |fact: fn(&NodeSystemInfo) -> &String| {
            info.map(fact)
                .filter(|text| !text.is_empty())
                .map_or("<unknown>", String::as_str)
        };
        vec![
            json!(object.name()),
            json!(status(object)),
            json!(or_none(roles(object))),
            json!(age(&object.metadata, now)),
            json!(info.map_or("", |info| info.kubelet_version.as_str())),
            json!(address(object, "InternalIP")),
            json!(address(object, "ExternalIP")),
            json!(fact(|info| &info.os_image)),
            json!(fact(|info| &info.kernel_version)),
            json!(fact(|info| &info.container_runtime_version)),
        ]
    }
}

fn validate_taints(taints: &[Taint]) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut seen = Unique::default();
    for (index, taint) in taints.iter().enumerate() {
        let path = format!("spec.taints[{index}]");
        errors.extend(label_key(&format!("{path}.key"), &taint.key));
        let value = text(&taint.value);
        errors.extend(messages(&format!("{path}.value"), value, names::label_value(value)));
        if taint.effect.is_empty() {
            errors.push(Error::required(format!("{path}.effect"), ""));
        } else {
            errors.extend(one_of(&format!("{path}.effect"), &taint.effect, TAINT_EFFECTS));
        }
        if seen.seen(&format!("{}:{}", taint.key, taint.effect)) {
            let mut error = Error::duplicate(&path, taint);
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
    }
    errors
}

fn validate_status(node: &Node) -> Vec<Error> {
    let mut seen = Unique::default();
    let addresses = node.status.as_ref().map_or(&[][..], |status| items(&status.addresses));
    let duplicates = addresses
        .iter()
        .enumerate()
        .filter(|(_, address)| seen.seen(&format!("{}:{}", address.type_, address.address)));
    duplicates
        .map(|(index, address)| Error::duplicate(format!("status.addresses[{index}]"), address))
        .collect()
}

/// `Ready`, `NotReady` or `Unknown`, and whether new pods are kept away.
fn status(node: &Node) -> String {
    let conditions = node.status.as_ref().map_or(&[][..], |status| items(&status.conditions));
    let ready = match conditions.iter().find(|condition| condition.type_ == "Ready") {
        Some(condition) if condition.status == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    if cordoned {
        format!("{ready},SchedulingDisabled")
    } else {
        ready.to_owned()
    }
}

/// The roles that labels give: `node-role.kubernetes.io/<role>`, or `kubernetes.io/role=<role>`.
fn roles(node: &Node) -> String {
    let labels = node.metadata.labels.iter().flatten();
    let roles: BTreeSet<&str> = labels
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => Some(value.as_str()),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.into_iter().collect::<Vec<_>>().join(",")
}

fn address<'a>(node: &'a Node, kind: &str) -> &'a str {
    let addresses = node.status.as_ref().map_or(&[][..], |status| items(&status.addresses));
    addresses
        .iter()
        .find(|address| address.type_ == kind)
        .map_or("<none>", |address| &address.address)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{defaulted, faults, object, row, update_faults};
    use super::*;

    #[test]
    fn a_node_shows_what_it_is() {
        let node: Node = object(json!({
            "metadata": {"name": "n1", "labels": {"node-role.kubernetes.io/control-plane": ""}},
            "spec": {"unschedulable": true},
            "status": {
                "capacity": {"cpu": "4"},
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.35.0", "kernelVersion": "6.1", "containerRuntimeVersion": "docker://28"},
            },
        }));
        let node = defaulted(&Nodes, node);
        insta::assert_snapshot!(row(&Nodes, &node), @"n1 | Ready,SchedulingDisabled | control-plane | 10m | v1.35.0 | 10.0.0.1 | <none> | <unknown> | 6.1 | docker://28");
        let status = node.status.expect("there is one");
        assert_eq!(
            status.allocatable, status.capacity,
            "all of a node can be used unless it says otherwise"
        );
        insta::assert_snapshot!(row(&Nodes, &object(json!({}))), @"web | Unknown | <none> | 10m |  | <none> | <none> | <unknown> | <unknown> | <unknown>");
    }

    #[test]
    fn taints_are_checked() {
        let bad = object(json!({"spec": {"taints": [
            {"key": "a b", "effect": "NoSchedule"}, {"key": "x", "effect": "Never"}, {"key": "x", "effect": "Never"}, {"key": "y"},
        ], "podCIDRs": ["10.0.0.0"]}}));
        insta::assert_snapshot!(faults(&Nodes, &bad), @r#"
        spec.taints[0].key: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        spec.taints[1].effect: Unsupported value: "Never": supported values: "NoExecute", "NoSchedule", "PreferNoSchedule"
        spec.taints[2].effect: Unsupported value: "Never": supported values: "NoExecute", "NoSchedule", "PreferNoSchedule"
        spec.taints[2]: Duplicate value: {"effect":"Never","key":"x"}: taints must be unique by key and effect pair
        spec.taints[3].effect: Required value
        spec.podCIDRs[0]: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
        "#);
    }

    #[test]
    fn the_pod_range_of_a_node_stays() {
        let old = object(json!({"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"], "providerID": "a"}}));
        let new = object(json!({"spec": {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24"], "providerID": "b"}}));
        insta::assert_snapshot!(update_faults(&Nodes, &new, &old), @r#"
        spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid
        spec.providerID: Forbidden: node updates may not change providerID except from "" to valid
        "#);
    }
}
