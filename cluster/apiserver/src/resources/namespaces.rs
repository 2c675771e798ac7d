//! Namespaces.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use orrery_api::field;
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::cells::NAME;
use crate::resource::{Column, ResourceInfo, STATUS, Strategy, Subresource};

/// Namespaces.
pub struct Namespaces;

static INFO: ResourceInfo = ResourceInfo {
    group: "",
    version: "v1",
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    categories: &[],
    namespaced: false,
    subresources: &[
        STATUS,
        Subresource {
            name: "finalize",
            kind: None,
            verbs: &["update"],
        },
    ],
};

impl Strategy for Namespaces {
    type Object = Namespace;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn validate(&self, _object: &Namespace) -> Vec<field::Error> {
        Vec::new()
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn cells(&self, object: &Namespace, _now: Timestamp) -> Vec<Value> {
        vec![json!(object.name())]
    }
}
