//! ServiceAccounts: who pods are when they speak to the API.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ServiceAccount;
use orrery_api::field;
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::cells::{AGE, NAME, age, column};
use super::check::items;
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

static COLUMNS: &[Column] = &[
    NAME,
    column("Secrets", "string", "The number of secrets that pods may use."),
    AGE,
];

impl Strategy for ServiceAccounts {
    type Object = ServiceAccount;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn prepare_create(&self, object: &mut ServiceAccount) {
        clean(object);
    }

    fn prepare_update(&self, new: &mut ServiceAccount, _old: &ServiceAccount) {
        clean(new);
    }

    fn validate(&self, _object: &ServiceAccount) -> Vec<field::Error> {
        Vec::new()
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &ServiceAccount, now: Timestamp) -> Vec<Value> {
        vec![
            json!(object.name()),
            json!(items(&object.secrets).len()),
            json!(age(&object.metadata, now)),
        ]
    }
}

/// Of a reference to a secret only the name is kept.
fn clean(account: &mut ServiceAccount) {
    for secret in account.secrets.iter_mut().flatten() {
        *secret = k8s_openapi::api::core::v1::ObjectReference {
            name: secret.name.take(),
            ..Default::default()
        };
    }
}
