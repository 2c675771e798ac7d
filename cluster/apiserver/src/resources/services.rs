//! Services.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use orrery_api::field;
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::cells::NAME;
use crate::resource::{Column, ResourceInfo, STATUS, Strategy};

/// Services.
pub struct Services;

static INFO: ResourceInfo = ResourceInfo {
    group: "",
    version: "v1",
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    namespaced: true,
    subresources: &[STATUS],
};

impl Strategy for Services {
    type Object = Service;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn validate(&self, _object: &Service) -> Vec<field::Error> {
        Vec::new()
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn cells(&self, object: &Service, _now: Timestamp) -> Vec<Value> {
        vec![json!(object.name())]
    }
}
