//! ReplicaSets: so many pods of one template, kept running.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec, ReplicaSetStatus};
use orrery_api::field::{self, Error};
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::cells::{AGE, NAME, age, column, selector, wide};
use super::check::{immutable, non_negative};
use super::{pods, templates};
use crate::resource::{Column, ResourceInfo, SCALE, STATUS, ScaleView, Strategy};

/// ReplicaSets.
pub struct ReplicaSets;

static INFO: ResourceInfo = ResourceInfo {
    group: "apps",
    version: "v1",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    namespaced: true,
    subresources: &[SCALE, STATUS],
};

static COLUMNS: &[Column] = &[
    NAME,
    column("Desired", "integer", "Pods wanted."),
    column("Current", "integer", "Pods there are."),
    column("Ready", "integer", "Pods that are ready."),
    AGE,
    wide("Containers", "string", "The names of the containers."),
    wide("Images", "string", "The images of the containers."),
    wide("Selector", "string", "Which pods are the set's."),
];

impl Strategy for ReplicaSets {
    type Object = ReplicaSet;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn set_defaults(&self, object: &mut ReplicaSet) {
        let spec = object.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        let template = spec.template.get_or_insert_default();
        pods::defaults::spec(template.spec.get_or_insert_default());
        object.status.get_or_insert_default();
    }

    fn prepare_create(&self, object: &mut ReplicaSet) {
        object.status = Some(ReplicaSetStatus::default());
    }

    fn prepare_update(&self, new: &mut ReplicaSet, old: &ReplicaSet) {
        new.status = old.status.clone();
    }

    fn prepare_status_update(&self, new: &mut ReplicaSet, old: &ReplicaSet) {
        new.spec = old.spec.clone();
    }

    fn spec_changed(&self, new: &ReplicaSet, old: &ReplicaSet) -> bool {
        new.spec != old.spec
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, object: &ReplicaSet) -> Vec<field::Error> {
        let Some(spec) = &object.spec else {
            return vec![Error::required("spec", "")];
        };
        let mut errors = non_negative("spec.replicas", spec.replicas.unwrap_or(0));
        errors.extend(non_negative(
            "spec.minReadySeconds",
            spec.min_ready_seconds.unwrap_or(0),
        ));
        match &spec.template {
            Some(template) => errors.extend(templates::validate(&spec.selector, template)),
            None => errors.push(Error::required("spec.template", "")),
        }
        errors
    }

    fn validate_update(&self, new: &ReplicaSet, old: &ReplicaSet) -> Vec<field::Error> {
        let mut errors = self.validate(new);
        if let (Some(new), Some(old)) = (&new.spec, &old.spec) {
            errors.extend(immutable("spec.selector", &new.selector, &old.selector));
        }
        errors
    }

    fn validate_status_update(&self, new: &ReplicaSet, _old: &ReplicaSet) -> Vec<field::Error> {
        new.status.as_ref().map(validate_status).unwrap_or_default()
    }

    fn warnings(&self, new: &ReplicaSet, old: Option<&ReplicaSet>) -> Vec<String> {
        let template = new.spec.as_ref().and_then(|spec| spec.template.as_ref());
        templates::warnings(template, &new.metadata, old.map(|old| &old.metadata))
    }

    fn fields(&self, object: &ReplicaSet) -> Vec<(&'static str, String)> {
        vec![(
            "status.replicas",
            object.status.as_ref().map_or(0, |status| status.replicas).to_string(),
        )]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &ReplicaSet, now: Timestamp) -> Vec<Value> {
        let default = ReplicaSetSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&default);
        let status = object.status.as_ref();
        let (names, images) = templates::containers(spec.template.as_ref());
        vec![
            json!(object.name()),
            json!(spec.replicas.unwrap_or(0)),
            json!(status.map_or(0, |status| status.replicas)),
            json!(status.and_then(|status| status.ready_replicas).unwrap_or(0)),
            json!(age(&object.metadata, now)),
            json!(names),
            json!(images),
            json!(selector(&spec.selector)),
        ]
    }

    fn scale(&self, object: &ReplicaSet) -> Option<ScaleView> {
        let spec = object.spec.as_ref()?;
        Some(ScaleView {
            wanted: spec.replicas.unwrap_or(0),
            current: object.status.as_ref().map_or(0, |status| status.replicas),
            selector: templates::selector_text(&spec.selector),
        })
    }

    fn set_scale(&self, object: &mut ReplicaSet, replicas: i32) {
        object.spec.get_or_insert_default().replicas = Some(replicas);
    }
}

fn validate_status(status: &ReplicaSetStatus) -> Vec<Error> {
    let total = status.replicas;
    let ready = status.ready_replicas.unwrap_or(0);
    let available = status.available_replicas.unwrap_or(0);
    let labelled = status.fully_labeled_replicas.unwrap_or(0);
    let counts = [
        ("status.replicas", total),
        ("status.fullyLabeledReplicas", labelled),
        ("status.readyReplicas", ready),
        ("status.availableReplicas", available),
    ];
    let mut errors: Vec<Error> = counts
        .into_iter()
        .flat_map(|(path, count)| non_negative(path, count))
        .collect();
    errors.extend(non_negative(
        "status.observedGeneration",
        status.observed_generation.unwrap_or(0),
    ));
    let all = "cannot be greater than status.replicas";
    let limits = [
        ("status.fullyLabeledReplicas", labelled, total, all),
        ("status.readyReplicas", ready, total, all),
        ("status.availableReplicas", available, total, all),
        (
            "status.availableReplicas",
            available,
            ready,
            "cannot be greater than readyReplicas",
        ),
    ];
    let broken = limits.into_iter().filter(|(_, count, limit, _)| count > limit);
    errors.extend(broken.map(|(path, count, _, rule)| Error::invalid(path, count, rule)));
    errors
}

#[cfg(test)]
mod tests {
    use super::super::testing::{defaulted, faults, object, row};
    use super::*;

    #[test]
    fn a_replica_set_shows_its_pods() {
        let set: ReplicaSet = object(json!({
            "spec": {
                "replicas": 3, "selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["b", "a"]}]},
                "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            },
            "status": {"replicas": 2, "readyReplicas": 1},
        }));
        let set = defaulted(&ReplicaSets, set);
        assert_eq!(faults(&ReplicaSets, &set), "");
        insta::assert_snapshot!(row(&ReplicaSets, &set), @"web | 3 | 2 | 1 | 10m | c | i | app in (a,b)");
    }

    #[test]
    fn a_template_is_checked_where_it_stands() {
        let bad: ReplicaSet = object(json!({"spec": {
            "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "C"}]}},
        }}));
        insta::assert_snapshot!(faults(&ReplicaSets, &defaulted(&ReplicaSets, bad)), @r#"
        spec.template.spec.containers[0].name: Invalid value: "C": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        spec.template.spec.containers[0].image: Required value
        spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"
        "#);
    }

    #[test]
    fn a_set_without_a_selector_selects_nothing() {
        let bad: ReplicaSet = object(json!({"spec": {
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        }}));
        insta::assert_snapshot!(faults(&ReplicaSets, &defaulted(&ReplicaSets, bad)), @r#"
        spec.selector: Required value
        spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`
        "#);
    }

    #[test]
    fn what_is_odd_about_a_template_is_told() {
        let odd: ReplicaSet = object(json!({"spec": {"template": {"spec": {"containers": [
            {"name": "c", "resources": {"limits": {"memory": "512m"}}},
        ]}}}}));
        insta::assert_snapshot!(ReplicaSets.warnings(&odd, None).join("\n"), @r#"spec.template.spec.containers[0].resources.limits[memory]: fractional byte value "512m" is invalid, must be an integer"#);
    }

    #[test]
    fn more_pods_cannot_be_ready_than_there_are() {
        let set: ReplicaSet = object(json!({"status": {"replicas": 1, "readyReplicas": 2}}));
        assert_eq!(ReplicaSets.validate_status_update(&set, &set).len(), 1);
    }
}
