//! Pods: containers that run together on one node.

pub mod admission;
mod columns;
mod containers;
pub(super) mod defaults;
mod handlers;
mod placement;
pub mod qos;
#[cfg(test)]
mod tests;
mod updates;
pub(super) mod validation;
mod volumes;
pub(super) mod warnings;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use orrery_api::field;
use orrery_api::meta::Object as _;
use orrery_api::mutant;
use serde_json::Value;

use super::check::{items, text};
use crate::resource::{Column, ResourceInfo, STATUS, Strategy, Subresource};

/// Pods.
pub struct Pods;

static INFO: ResourceInfo = ResourceInfo {
    group: "",
    version: "v1",
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    namespaced: true,
    subresources: &[
        Subresource {
            name: "binding",
            kind: Some(("", "v1", "Binding")),
            verbs: &["create"],
        },
        Subresource {
            name: "eviction",
            kind: Some(("policy", "v1", "Eviction")),
            verbs: &["create"],
        },
        Subresource {
            name: "log",
            kind: None,
            verbs: &["get"],
        },
        STATUS,
    ],
};

/// The grace period of pods that name none, in seconds.
pub const DEFAULT_GRACE_PERIOD: i64 = 30;

fn scheduling_gated() -> PodCondition {
    PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("SchedulingGated".to_owned()),
        message: Some("Scheduling is blocked due to non-empty scheduling gates".to_owned()),
        ..PodCondition::default()
    }
}

impl Strategy for Pods {
    type Object = Pod;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn set_defaults(&self, object: &mut Pod) {
        let spec = object.spec.get_or_insert_default();
        defaults::spec(spec);
        defaults::pod_only(spec);
        object.status.get_or_insert_default();
    }

    fn prepare_create(&self, object: &mut Pod) {
        let class = object.spec.as_ref().map(qos::class);
        let gated = object
            .spec
            .as_ref()
            .filter(|spec| !items(&spec.scheduling_gates).is_empty());
        object.status = Some(PodStatus {
            phase: Some("Pending".to_owned()),
            qos_class: class.map(str::to_owned),
            // Nobody else would say so: the scheduler looks at no gated pod. Its binding says otherwise later.
            conditions: gated.map(|_| vec![scheduling_gated()]),
            ..PodStatus::default()
        });
    }

    fn prepare_update(&self, new: &mut Pod, old: &Pod) {
        new.status = old.status.clone();
    }

    fn prepare_status_update(&self, new: &mut Pod, old: &Pod) {
        new.spec = old.spec.clone();
        new.metadata.owner_references = old.metadata.owner_references.clone();
        // Never changes in a pod's life, and kubelets need not know it.
        let status = new.status.get_or_insert_default();
        if text(&status.qos_class).is_empty() {
            status.qos_class = old.status.as_ref().and_then(|status| status.qos_class.clone());
        }
    }

    fn spec_changed(&self, new: &Pod, old: &Pod) -> bool {
        new.spec != old.spec && !mutant::active("O164")
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, object: &Pod) -> Vec<field::Error> {
        validation::pod(object)
    }

    fn validate_update(&self, new: &Pod, old: &Pod) -> Vec<field::Error> {
        updates::update(new, old)
    }

    fn validate_status_update(&self, new: &Pod, old: &Pod) -> Vec<field::Error> {
        updates::status(new, old)
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    // Not of changes, as in Kubernetes: people seldom make them, and hardly anything may change.
    fn warnings(&self, new: &Pod, old: Option<&Pod>) -> Vec<String> {
        match (&new.spec, old) {
            (Some(spec), None) => warnings::spec("spec", spec),
            _ => Vec::new(),
        }
    }

    fn fields(&self, object: &Pod) -> Vec<(&'static str, String)> {
        let spec = object.spec.as_ref();
        let status = object.status.as_ref();
        let host_network = spec.and_then(|spec| spec.host_network).unwrap_or(false);
        vec![
            (
                "spec.nodeName",
                spec.map_or("", |spec| text(&spec.node_name)).to_owned(),
            ),
            (
                "spec.restartPolicy",
                spec.map_or("", |spec| text(&spec.restart_policy)).to_owned(),
            ),
            (
                "spec.schedulerName",
                spec.map_or("", |spec| text(&spec.scheduler_name)).to_owned(),
            ),
            (
                "spec.serviceAccountName",
                spec.map_or("", |spec| text(&spec.service_account_name)).to_owned(),
            ),
            ("spec.hostNetwork", host_network.to_string()),
            (
                "status.phase",
                status.map_or("", |status| text(&status.phase)).to_owned(),
            ),
            (
                "status.podIP",
                status.map_or("", |status| text(&status.pod_ip)).to_owned(),
            ),
            (
                "status.nominatedNodeName",
                status.map_or("", |status| text(&status.nominated_node_name)).to_owned(),
            ),
        ]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ]
    }

    fn columns(&self) -> &'static [Column] {
        columns::COLUMNS
    }

    fn cells(&self, object: &Pod, now: Timestamp) -> Vec<Value> {
        columns::cells(object.name(), object, now)
    }

    fn grace_period(&self, object: &Pod, requested: Option<i64>) -> Option<i64> {
        let spec = object.spec.as_ref();
        let phase = object.status.as_ref().map_or("", |status| text(&status.phase));
        let unscheduled = spec.is_none_or(|spec| text(&spec.node_name).is_empty());
        if unscheduled || matches!(phase, "Succeeded" | "Failed") {
            return Some(0);
        }
        let own = spec.and_then(|spec| spec.termination_grace_period_seconds);
        let seconds = requested.or(own).unwrap_or(DEFAULT_GRACE_PERIOD);
        Some(if seconds < 0 { 1 } else { seconds })
    }
}
