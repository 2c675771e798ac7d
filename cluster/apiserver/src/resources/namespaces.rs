//! Namespaces: the rooms that objects live in.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus};
use orrery_api::field::{self, Error};
use orrery_api::meta::Object as _;
use orrery_api::names;
use serde_json::{Value, json};

use super::cells::{AGE, NAME, age, column};
use super::check::{items, messages, text};
use crate::resource::{Column, NameRule, ResourceInfo, STATUS, Strategy, Subresource};

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
        Subresource {
            name: "finalize",
            kind: None,
            verbs: &["update"],
        },
        STATUS,
    ],
};

static COLUMNS: &[Column] = &[
    NAME,
    column("Status", "string", "Active, or Terminating while it empties."),
    AGE,
];

/// The finalizer in the spec of every namespace: it goes when the namespace is empty.
pub const FINALIZER: &str = "kubernetes";
/// The label by which selectors find a namespace by name.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl Strategy for Namespaces {
    type Object = Namespace;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn set_defaults(&self, object: &mut Namespace) {
        // A name that is still to be generated is labelled in `prepare_create`.
        if let Some(name) = object.metadata.name.clone().filter(|name| !name.is_empty()) {
            object
                .metadata
                .labels
                .get_or_insert_default()
                .insert(NAME_LABEL.to_owned(), name);
        }
        object.spec.get_or_insert_default();
        let status = object.status.get_or_insert_default();
        if text(&status.phase).is_empty() {
            status.phase = Some("Active".to_owned());
        }
    }

    fn prepare_create(&self, object: &mut Namespace) {
        object.status = Some(NamespaceStatus {
            phase: Some("Active".to_owned()),
            conditions: None,
        });
        let finalizers = object.spec.get_or_insert_default().finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
        }
        self.set_defaults(object);
    }

    fn prepare_update(&self, new: &mut Namespace, old: &Namespace) {
        new.spec = old.spec.clone();
        new.status = old.status.clone();
    }

    fn prepare_status_update(&self, new: &mut Namespace, old: &Namespace) {
        new.spec = old.spec.clone();
    }

    fn validate(&self, object: &Namespace) -> Vec<field::Error> {
        let finalizers = object.spec.as_ref().map_or(&[][..], |spec| items(&spec.finalizers));
        let mut errors = Vec::new();
        for finalizer in finalizers {
            errors.extend(messages(
                "spec.finalizers",
                finalizer.as_str(),
                names::qualified_name(finalizer),
            ));
            if !finalizer.contains('/') && finalizer != FINALIZER {
                let rule = "name is neither a standard finalizer name nor is it fully qualified";
                errors.push(Error::invalid("spec.finalizers", finalizer, rule));
            }
        }
        errors
    }

    fn validate_status_update(&self, new: &Namespace, _old: &Namespace) -> Vec<field::Error> {
        let phase = new.status.as_ref().map_or("", |status| text(&status.phase));
        let (wanted, rule) = match new.is_terminating() {
            true => (
                "Terminating",
                "may only be 'Terminating' if `deletionTimestamp` is not empty",
            ),
            false => ("Active", "may only be 'Active' if `deletionTimestamp` is empty"),
        };
        if phase == wanted {
            Vec::new()
        } else {
            vec![Error::invalid("status.Phase", phase, rule)]
        }
    }

    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn fields(&self, object: &Namespace) -> Vec<(&'static str, String)> {
        let phase = object.status.as_ref().map_or("", |status| text(&status.phase));
        vec![("status.phase", phase.to_owned()), ("name", object.name().to_owned())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.phase", "name"]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Namespace, now: Timestamp) -> Vec<Value> {
        let phase = object.status.as_ref().map_or("", |status| text(&status.phase));
        vec![json!(object.name()), json!(phase), json!(age(&object.metadata, now))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{defaulted, faults, object, row, value};
    use super::*;

    #[test]
    fn a_new_namespace_is_active_and_knows_its_name() {
        let mut namespace = defaulted(
            &Namespaces,
            object::<Namespace>(json!({"status": {"phase": "Terminating"}})),
        );
        Namespaces.prepare_create(&mut namespace);
        assert_eq!(value(&namespace)["spec"], json!({"finalizers": ["kubernetes"]}));
        assert_eq!(namespace.label(NAME_LABEL), Some("web"));
        insta::assert_snapshot!(row(&Namespaces, &namespace), @"web | Active | 10m");
    }

    #[test]
    fn a_finalizer_is_known_or_qualified() {
        let bad = object(json!({"spec": {"finalizers": ["kubernetes", "example.com/own", "own"]}}));
        insta::assert_snapshot!(faults(&Namespaces, &bad), @r#"spec.finalizers: Invalid value: "own": name is neither a standard finalizer name nor is it fully qualified"#);
    }

    #[test]
    fn a_namespace_terminates_only_when_it_is_deleted() {
        let new: Namespace = object(json!({"status": {"phase": "Terminating"}}));
        assert_eq!(Namespaces.validate_status_update(&new, &new).len(), 1);
        let mut deleted = new.clone();
        deleted.metadata.deletion_timestamp = deleted.metadata.creation_timestamp.clone();
        assert!(Namespaces.validate_status_update(&deleted, &new).is_empty());
    }
}
