//! ServiceAccounts.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ServiceAccount;
use orrery_api::field;
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::cells::NAME;
use crate::resource::{Column, ResourceInfo, Strategy};

/// ServiceAccounts.
pub struct ServiceAccounts;

static INFO: ResourceInfo = ResourceInfo {
    group: "",
    version: "v1",
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    categories: &[],
    namespaced: true,
    subresources: &[],
};

impl Strategy for ServiceAccounts {
    type Object = ServiceAccount;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn validate(&self, _object: &ServiceAccount) -> Vec<field::Error> {
        Vec::new()
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn cells(&self, object: &ServiceAccount, _now: Timestamp) -> Vec<Value> {
        vec![json!(object.name())]
    }
}
