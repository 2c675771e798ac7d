//! Metadata: what the server stamps, what a client may not change, and what is well-formed.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::field::Error;
use orrery_api::random::Random;
use orrery_api::{clock, mutant, names};

use crate::delete::{FOREGROUND, ORPHAN};
use crate::resource::{AnyResource, NameRule};

/// All annotations of an object together may not be longer.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;
/// The finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", FOREGROUND, ORPHAN];
/// A generated name keeps so much of its prefix, so that the whole is a DNS label.
const GENERATED_PREFIX_LIMIT: usize = 58;

/// Stamps a new object: name (if it is to be generated), uid, time; drops what is the server's to write.
pub fn stamp_new(meta: &mut ObjectMeta, has_generation: bool, random: &Random) {
    let generate = meta.generate_name.as_deref().unwrap_or_default();
    if meta.name.as_deref().unwrap_or_default().is_empty() && !generate.is_empty() {
        let end = (0..=generate.len().min(GENERATED_PREFIX_LIMIT))
            .rev()
            .find(|end| generate.is_char_boundary(*end));
        let prefix = &generate[..end.unwrap_or(0)];
        meta.name = Some(format!("{prefix}{}", random.suffix(5)));
    }
    meta.uid = Some(random.uid());
    meta.creation_timestamp = Some(clock::now_time());
    meta.deletion_timestamp = None;
    meta.deletion_grace_period_seconds = None;
    meta.generation = has_generation.then_some(1);
    meta.resource_version = None;
    meta.self_link = None;
    meta.managed_fields = None;
    drop_empty(meta);
}

/// Puts back what a client may not change.
pub fn keep_immutable(new: &mut ObjectMeta, old: &ObjectMeta) {
    new.uid = old.uid.clone();
    new.creation_timestamp = old.creation_timestamp.clone();
    if new.deletion_timestamp.is_some() || old.deletion_timestamp.is_none() || !mutant::active("O169") {
        new.deletion_timestamp = old.deletion_timestamp.clone();
        new.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    }
    new.generation = old.generation;
    new.generate_name = old.generate_name.clone();
    new.self_link = None;
    new.managed_fields = None;
    drop_empty(new);
}

/// Empty maps and lists are absent ones: an object must not change by being read and written back.
fn drop_empty(meta: &mut ObjectMeta) {
    fn map(map: &mut Option<BTreeMap<String, String>>) {
        if map.as_ref().is_some_and(BTreeMap::is_empty) {
            *map = None;
        }
    }
    map(&mut meta.labels);
    map(&mut meta.annotations);
    if meta.finalizers.as_ref().is_some_and(Vec::is_empty) {
        meta.finalizers = None;
    }
    if meta.owner_references.as_ref().is_some_and(Vec::is_empty) {
        meta.owner_references = None;
    }
    if meta.generate_name.as_deref() == Some("") {
        meta.generate_name = None;
    }
}

/// Finds faults of the metadata of an object of `resource`.
pub fn validate(meta: &ObjectMeta, resource: &dyn AnyResource) -> Vec<Error> {
    let mut errors = Vec::new();
    let name = meta.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        errors.push(Error::required("metadata.name", "name or generateName is required"));
    } else {
        let faults = match resource.name_rule() {
            NameRule::Subdomain => names::dns1123_subdomain(name),
            NameRule::Label => names::dns1123_label(name),
            NameRule::Label1035 => names::dns1035_label(name),
            NameRule::PathSegment => names::path_segment(name),
        };
        errors.extend(
            faults
                .into_iter()
                .map(|fault| Error::invalid("metadata.name", name, fault)),
        );
    }
    if resource.info().namespaced {
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        if namespace.is_empty() {
            errors.push(Error::required("metadata.namespace", ""));
        } else {
            let faults = names::dns1123_label(namespace).into_iter();
            errors.extend(faults.map(|fault| Error::invalid("metadata.namespace", namespace, fault)));
        }
    }
    let empty = BTreeMap::new();
    for (shown, fault) in names::labels(meta.labels.as_ref().unwrap_or(&empty)) {
        errors.push(Error::invalid("metadata.labels", shown, fault));
    }
    let mut size = 0;
    for (key, value) in meta.annotations.as_ref().unwrap_or(&empty) {
        size += key.len() + value.len();
        let faults = names::qualified_name(&key.to_lowercase()).into_iter();
        errors.extend(faults.map(|fault| Error::invalid("metadata.annotations", key, fault)));
    }
    if size > ANNOTATIONS_LIMIT {
        errors.push(Error::too_long("metadata.annotations", ANNOTATIONS_LIMIT));
    }
    for finalizer in meta.finalizers.as_deref().unwrap_or_default() {
        let faults = names::qualified_name(finalizer).into_iter();
        errors.extend(faults.map(|fault| Error::invalid("metadata.finalizers", finalizer, fault)));
    }
    if resource.qualifies_finalizers() {
        for (position, finalizer) in meta.finalizers.iter().flatten().enumerate() {
            if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer.as_str()) {
                errors.push(Error::invalid(
                    format!("metadata.finalizers[{position}]"),
                    finalizer,
                    "name is neither a standard finalizer name nor is it fully qualified",
                ));
            }
        }
    }
    let has = |name: &str| meta.finalizers.iter().flatten().any(|finalizer| finalizer == name);
    if has(FOREGROUND) && has(ORPHAN) {
        let rule = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.push(Error::invalid("metadata.finalizers", &meta.finalizers, rule));
    }
    validate_owners(meta, &mut errors);
    errors
}

fn validate_owners(meta: &ObjectMeta, errors: &mut Vec<Error>) {
    let mut controllers = 0;
    for (position, owner) in meta.owner_references.as_deref().unwrap_or_default().iter().enumerate() {
        let path = format!("metadata.ownerReferences[{position}]");
        for (field, value) in [
            ("apiVersion", &owner.api_version),
            ("kind", &owner.kind),
            ("name", &owner.name),
            ("uid", &owner.uid),
        ] {
            if value.is_empty() {
                errors.push(Error::invalid(
                    format!("{path}.{field}"),
                    "",
                    format!("{field} must not be empty"),
                ));
            }
        }
        controllers += usize::from(owner.controller == Some(true));
    }
    if controllers > 1 {
        errors.push(Error::invalid(
            "metadata.ownerReferences",
            controllers,
            "Only one reference can have Controller set to true",
        ));
    }
}

/// Finds faults of a change of metadata.
pub fn validate_update(new: &ObjectMeta, old: &ObjectMeta) -> Vec<Error> {
    let mut errors = Vec::new();
    if old.deletion_timestamp.is_some() {
        let before = old.finalizers.as_deref().unwrap_or_default();
        let added: Vec<&String> = new
            .finalizers
            .as_deref()
            .unwrap_or_default()
            .iter()
            .filter(|name| !before.contains(name))
            .collect();
        if !added.is_empty() && !mutant::active("O171") {
            errors.push(Error::forbidden(
                "metadata.finalizers",
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
                ),
            ));
        }
    }
    errors
}
