//! Leases: who leads, and until when.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use orrery_api::field::{self, Error};
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::cells::{AGE, NAME, age, column};
use super::check::{NOT_POSITIVE, non_negative, text};
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

static COLUMNS: &[Column] = &[NAME, column("Holder", "string", "Who holds the lease."), AGE];

impl Strategy for Leases {
    type Object = Lease;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn validate(&self, object: &Lease) -> Vec<field::Error> {
        let Some(spec) = &object.spec else { return Vec::new() };
        let mut errors = Vec::new();
        if let Some(seconds) = spec.lease_duration_seconds
            && seconds <= 0
        {
            errors.push(Error::invalid("spec.leaseDurationSeconds", seconds, NOT_POSITIVE));
        }
        if let Some(transitions) = spec.lease_transitions {
            errors.extend(non_negative("spec.leaseTransitions", transitions));
        }
        if !text(&spec.preferred_holder).is_empty() && text(&spec.strategy).is_empty() {
            errors.push(Error::forbidden(
                "spec.preferredHolder",
                "may only be specified when `strategy` is defined",
            ));
        }
        errors
    }

    // A lease is held by who compares: to overwrite one blindly would be to steal it.
    fn allows_unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Lease, now: Timestamp) -> Vec<Value> {
        let holder = object.spec.as_ref().map_or("", |spec| text(&spec.holder_identity));
        vec![json!(object.name()), json!(holder), json!(age(&object.metadata, now))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, object, row};
    use super::*;

    #[test]
    fn a_lease_lasts() {
        let bad: Lease = object(json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}}));
        insta::assert_snapshot!(faults(&Leases, &bad), @"
        spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0
        spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0
        ");
        let good: Lease = object(json!({"spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}}));
        assert_eq!(faults(&Leases, &good), "");
        insta::assert_snapshot!(row(&Leases, &good), @"web | a | 10m");
    }
}
