//! Events.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use orrery_api::field;
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::cells::NAME;
use crate::resource::{Column, ResourceInfo, Strategy};

/// Events.
pub struct Events;

static INFO: ResourceInfo = ResourceInfo {
    group: "",
    version: "v1",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    namespaced: true,
    subresources: &[],
};

impl Strategy for Events {
    type Object = Event;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn validate(&self, _object: &Event) -> Vec<field::Error> {
        Vec::new()
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn cells(&self, object: &Event, _now: Timestamp) -> Vec<Value> {
        vec![json!(object.name())]
    }
}
