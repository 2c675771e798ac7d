//! EndpointSlices.

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use orrery_api::field;
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::cells::NAME;
use crate::resource::{Column, ResourceInfo, Strategy};

/// EndpointSlices.
pub struct EndpointSlices;

static INFO: ResourceInfo = ResourceInfo {
    group: "discovery.k8s.io",
    version: "v1",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    short_names: &[],
    categories: &[],
    namespaced: true,
    subresources: &[],
};

impl Strategy for EndpointSlices {
    type Object = EndpointSlice;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn validate(&self, _object: &EndpointSlice) -> Vec<field::Error> {
        Vec::new()
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn cells(&self, object: &EndpointSlice, _now: Timestamp) -> Vec<Value> {
        vec![json!(object.name())]
    }
}
