//! ConfigMaps.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use orrery_api::field;
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::cells::NAME;
use crate::resource::{Column, ResourceInfo, Strategy};

/// ConfigMaps.
pub struct ConfigMaps;

static INFO: ResourceInfo = ResourceInfo {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    categories: &[],
    namespaced: true,
    subresources: &[],
};

impl Strategy for ConfigMaps {
    type Object = ConfigMap;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn validate(&self, _object: &ConfigMap) -> Vec<field::Error> {
        Vec::new()
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn cells(&self, object: &ConfigMap, _now: Timestamp) -> Vec<Value> {
        vec![json!(object.name())]
    }
}
