//! Pod templates and their selectors: the rules that Deployments and ReplicaSets share.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use orrery_api::field::Error;
use orrery_api::labels::Selector;
use serde_json::json;

use super::check::{items, labels, selector as valid_selector};
use super::pods;

/// Finds faults of the selector and template of a set of pods that are kept running.
pub(super) fn validate(selector: &LabelSelector, template: &PodTemplateSpec) -> Vec<Error> {
    let mut errors = valid_selector("spec.selector", selector);
    // Once it is decoded, none cannot be told from an empty one: it is taken for none, which selects nothing.
    let is_absent =
        selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty) && items(&selector.match_expressions).is_empty();
    if is_absent {
        errors.push(Error::required("spec.selector", ""));
    }
    let own = template.metadata.as_ref().and_then(|meta| meta.labels.as_ref());
    match Selector::from_label_selector(selector) {
        Err(_) => errors.push(Error::invalid("spec.selector", selector, "invalid label selector")),
        Ok(parsed) if is_absent || !parsed.matches(own.unwrap_or(&BTreeMap::new())) => {
            let shown = own.map_or(json!(null), |labels| json!(labels));
            let rule = "`selector` does not match template `labels`";
            errors.push(Error::invalid("spec.template.metadata.labels", shown, rule));
        }
        Ok(_) => {}
    }
    errors.extend(labels("spec.template.labels", own));
    let default = PodSpec::default();
    let spec = template.spec.as_ref().unwrap_or(&default);
    errors.extend(pods::validation::spec("spec.template.spec", spec));
    if !items(&spec.ephemeral_containers).is_empty() {
        let rule = "ephemeral containers not allowed in pod template";
        errors.push(Error::forbidden("spec.template.spec.ephemeralContainers", rule));
    }
    let policy = spec.restart_policy.as_deref().unwrap_or_default();
    if policy != "Always" {
        errors.push(Error::not_supported(
            "spec.template.spec.restartPolicy",
            policy,
            &["Always"],
        ));
    }
    if spec.active_deadline_seconds.is_some() {
        let rule = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.push(Error::forbidden("spec.template.spec.activeDeadlineSeconds", rule));
    }
    errors
}

/// What is odd about the template of the object with `meta`: of a new one, or one whose `generation` grew since `old`.
pub(super) fn warnings(template: Option<&PodTemplateSpec>, meta: &ObjectMeta, old: Option<&ObjectMeta>) -> Vec<String> {
    if old.is_some_and(|old| old.generation == meta.generation) {
        return Vec::new();
    }
    let spec = template.and_then(|template| template.spec.as_ref());
    spec.map(|spec| pods::warnings::spec("spec.template.spec", spec))
        .unwrap_or_default()
}

/// Names and images of a template's containers: the cells of wide tables.
pub(super) fn containers(template: Option<&PodTemplateSpec>) -> (String, String) {
    let containers = template
        .and_then(|template| template.spec.as_ref())
        .map_or(&[][..], |spec| &spec.containers);
    let names: Vec<&str> = containers.iter().map(|container| container.name.as_str()).collect();
    let images: Vec<&str> = containers
        .iter()
        .map(|container| container.image.as_deref().unwrap_or_default())
        .collect();
    (names.join(","), images.join(","))
}

/// The selector as text, as `scale` tells it.
pub(super) fn selector_text(selector: &LabelSelector) -> String {
    Selector::from_label_selector(selector)
        .map(|selector| selector.to_string())
        .unwrap_or_default()
}
