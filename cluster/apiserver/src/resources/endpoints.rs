//! Endpoints.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Endpoints as Kind;
use orrery_api::field;
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::cells::NAME;
use crate::resource::{Column, ResourceInfo, Strategy};

/// Endpoints.
pub struct Endpoints;

static INFO: ResourceInfo = ResourceInfo {
    group: "",
    version: "v1",
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    categories: &[],
    namespaced: true,
    subresources: &[],
};

impl Strategy for Endpoints {
    type Object = Kind;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn validate(&self, _object: &Kind) -> Vec<field::Error> {
        Vec::new()
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn cells(&self, object: &Kind, _now: Timestamp) -> Vec<Value> {
        vec![json!(object.name())]
    }
}
