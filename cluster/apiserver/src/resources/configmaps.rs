//! ConfigMaps: plain data that pods read.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use orrery_api::field::{self, Error};
use orrery_api::meta::Object as _;
use orrery_api::{mutant, names};
use serde_json::{Value, json};

use super::cells::{AGE, NAME, age, column};
use super::check::{MAX_DATA, SEALED, messages};
use crate::resource::{Column, ResourceInfo, Strategy};

/// ConfigMaps.
pub struct ConfigMaps;

static INFO: ResourceInfo = ResourceInfo {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    categories: &[],
    namespaced: true,
    subresources: &[],
};

static COLUMNS: &[Column] = &[NAME, column("Data", "string", "The number of keys."), AGE];

impl Strategy for ConfigMaps {
    type Object = ConfigMap;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn validate(&self, object: &ConfigMap) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (data, binary) = (object.data.iter().flatten(), object.binary_data.iter().flatten());
        let mut size = 0;
        for (key, value) in data {
            size += value.len();
            errors.extend(messages(
                &format!("data[{key}]"),
                key.as_str(),
                names::config_map_key(key),
            ));
            if object
                .binary_data
                .as_ref()
                .is_some_and(|binary| binary.contains_key(key))
            {
                errors.push(Error::invalid(
                    format!("data[{key}]"),
                    key,
                    "duplicate of key present in binaryData",
                ));
            }
        }
        for (key, value) in binary {
            size += value.0.len();
            errors.extend(messages(
                &format!("binaryData[{key}]"),
                key.as_str(),
                names::config_map_key(key),
            ));
        }
        if size > MAX_DATA {
            errors.push(Error::too_long("[]", MAX_DATA));
        }
        errors
    }

    fn validate_update(&self, new: &ConfigMap, old: &ConfigMap) -> Vec<field::Error> {
        let mut errors = Vec::new();
        if old.immutable == Some(true) && !mutant::active("O165") {
            let changes = [
                (new.immutable != Some(true), "immutable"),
                (new.data.iter().flatten().ne(old.data.iter().flatten()), "data"),
                (
                    new.binary_data.iter().flatten().ne(old.binary_data.iter().flatten()),
                    "binaryData",
                ),
            ];
            errors.extend(
                changes
                    .iter()
                    .filter(|(broken, _)| *broken)
                    .map(|(_, path)| Error::forbidden(*path, SEALED)),
            );
        }
        errors.extend(self.validate(new));
        errors
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &ConfigMap, now: Timestamp) -> Vec<Value> {
        let keys = object.data.iter().flatten().count() + object.binary_data.iter().flatten().count();
        vec![json!(object.name()), json!(keys), json!(age(&object.metadata, now))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, object, update_faults};
    use super::*;

    #[test]
    fn keys_are_file_names_and_data_has_a_limit() {
        let bad: ConfigMap = object(json!({"data": {"a/b": "1", "ok": "2"}, "binaryData": {"ok": "MQ=="}}));
        insta::assert_snapshot!(faults(&ConfigMaps, &bad), @r#"
        data[a/b]: Invalid value: "a/b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
        data[ok]: Invalid value: "ok": duplicate of key present in binaryData
        "#);
        let big: ConfigMap = object(json!({"data": {"a": "x".repeat(MAX_DATA + 1)}}));
        insta::assert_snapshot!(faults(&ConfigMaps, &big), @"[]: Too long: may not be more than 1048576 bytes");
    }

    #[test]
    fn a_sealed_config_map_does_not_change() {
        let old: ConfigMap = object(json!({"data": {"a": "1"}, "immutable": true}));
        let new: ConfigMap = object(json!({"data": {"a": "2"}}));
        insta::assert_snapshot!(update_faults(&ConfigMaps, &new, &old), @"
        immutable: Forbidden: field is immutable when `immutable` is set
        data: Forbidden: field is immutable when `immutable` is set
        ");
        assert_eq!(update_faults(&ConfigMaps, &old, &old), "");
    }
}
