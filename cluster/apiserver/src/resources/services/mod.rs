//! Services: one name and address for the pods behind it.
//!
//! Cluster addresses and node ports are given out elsewhere, after the defaults here and before validation's result
//! is stored; here stands what may be asked for and what stays over updates.

mod columns;
pub(crate) mod defaults;
#[cfg(test)]
mod tests;
mod validation;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Service, ServiceStatus};
use orrery_api::field;
use serde_json::Value;

use super::check::text;
use crate::resource::{Column, NameRule, ResourceInfo, STATUS, Strategy};

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

/// The cluster address of a service without one.
pub const HEADLESS: &str = "None";

impl Strategy for Services {
    type Object = Service;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn set_defaults(&self, object: &mut Service) {
        defaults::spec(object.spec.get_or_insert_default());
        let status = object.status.get_or_insert_default();
        status.load_balancer.get_or_insert_default();
    }

    fn prepare_create(&self, object: &mut Service) {
        object.status = Some(ServiceStatus {
            load_balancer: Some(Default::default()),
            conditions: None,
        });
    }

    fn prepare_update(&self, new: &mut Service, old: &Service) {
        new.status = old.status.clone();
        if let (Some(new), Some(old)) = (&mut new.spec, &old.spec) {
            defaults::carry_over(new, old);
            defaults::drop_what_the_type_lost(new, old);
        }
        self.set_defaults(new);
    }

    fn prepare_status_update(&self, new: &mut Service, old: &Service) {
        new.spec = old.spec.clone();
    }

    fn validate(&self, object: &Service) -> Vec<field::Error> {
        object.spec.as_ref().map(validation::spec).unwrap_or_default()
    }

    fn validate_update(&self, new: &Service, old: &Service) -> Vec<field::Error> {
        let mut errors = Vec::new();
        if let (Some(new), Some(old)) = (&new.spec, &old.spec) {
            errors.extend(validation::change(new, old));
        }
        errors.extend(self.validate(new));
        errors
    }

    fn validate_status_update(&self, new: &Service, _old: &Service) -> Vec<field::Error> {
        new.status.as_ref().map(validation::status).unwrap_or_default()
    }

    fn name_rule(&self) -> NameRule {
        NameRule::Label1035
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn fields(&self, object: &Service) -> Vec<(&'static str, String)> {
        let spec = object.spec.as_ref();
        vec![
            (
                "spec.clusterIP",
                spec.map_or("", |spec| text(&spec.cluster_ip)).to_owned(),
            ),
            ("spec.type", spec.map_or("", |spec| text(&spec.type_)).to_owned()),
        ]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn columns(&self) -> &'static [Column] {
        columns::COLUMNS
    }

    fn cells(&self, object: &Service, now: Timestamp) -> Vec<Value> {
        columns::cells(object, now)
    }
}
