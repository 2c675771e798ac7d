//! Nodes.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use orrery_api::field;
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::cells::NAME;
use crate::resource::{Column, ResourceInfo, STATUS, Strategy};

/// Nodes.
pub struct Nodes;

static INFO: ResourceInfo = ResourceInfo {
    group: "",
    version: "v1",
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    categories: &[],
    namespaced: false,
    subresources: &[STATUS],
};

impl Strategy for Nodes {
    type Object = Node;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn validate(&self, _object: &Node) -> Vec<field::Error> {
        Vec::new()
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn cells(&self, object: &Node, _now: Timestamp) -> Vec<Value> {
        vec![json!(object.name())]
    }
}
