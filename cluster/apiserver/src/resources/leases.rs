//! Leases.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use orrery_api::field;
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::cells::NAME;
use crate::resource::{Column, ResourceInfo, Strategy};

/// Leases.
pub struct Leases;

static INFO: ResourceInfo = ResourceInfo {
    group: "coordination.k8s.io",
    version: "v1",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    short_names: &[],
    categories: &[],
    namespaced: true,
    subresources: &[],
};

impl Strategy for Leases {
    type Object = Lease;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn validate(&self, _object: &Lease) -> Vec<field::Error> {
        Vec::new()
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn cells(&self, object: &Lease, _now: Timestamp) -> Vec<Value> {
        vec![json!(object.name())]
    }
}
