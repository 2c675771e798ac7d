//! Deployments.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use orrery_api::field;
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::cells::NAME;
use crate::resource::{Column, ResourceInfo, SCALE, STATUS, Strategy};

/// Deployments.
pub struct Deployments;

static INFO: ResourceInfo = ResourceInfo {
    group: "apps",
    version: "v1",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    namespaced: true,
    subresources: &[STATUS, SCALE],
};

impl Strategy for Deployments {
    type Object = Deployment;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn validate(&self, _object: &Deployment) -> Vec<field::Error> {
        Vec::new()
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn cells(&self, object: &Deployment, _now: Timestamp) -> Vec<Value> {
        vec![json!(object.name())]
    }
}
