//! Pods.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use orrery_api::field;
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::cells::NAME;
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
        STATUS,
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
    ],
};

impl Strategy for Pods {
    type Object = Pod;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn validate(&self, _object: &Pod) -> Vec<field::Error> {
        Vec::new()
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn cells(&self, object: &Pod, _now: Timestamp) -> Vec<Value> {
        vec![json!(object.name())]
    }
}
