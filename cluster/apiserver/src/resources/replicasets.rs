//! ReplicaSets.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use orrery_api::field;
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::cells::NAME;
use crate::resource::{Column, ResourceInfo, SCALE, STATUS, Strategy};

/// ReplicaSets.
pub struct ReplicaSets;

static INFO: ResourceInfo = ResourceInfo {
    group: "apps",
    version: "v1",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    namespaced: true,
    subresources: &[STATUS, SCALE],
};

impl Strategy for ReplicaSets {
    type Object = ReplicaSet;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn validate(&self, _object: &ReplicaSet) -> Vec<field::Error> {
        Vec::new()
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn cells(&self, object: &ReplicaSet, _now: Timestamp) -> Vec<Value> {
        vec![json!(object.name())]
    }
}
