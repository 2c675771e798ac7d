//! Deployments: pods kept running, and replaced step by step when their template changes.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStatus, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use orrery_api::field::{self, Error};
use orrery_api::meta::Object as _;
use orrery_api::mutant;
use serde_json::{Value, json};

use super::cells::{AGE, NAME, age, column, selector, wide};
use super::check::{immutable, non_negative, text};
use super::{pods, templates};
use crate::resource::{Column, ResourceInfo, SCALE, STATUS, ScaleView, Strategy};

/// Deployments.
pub struct Deployments;

static INFO: ResourceInfo = ResourceInfo {
    group: "apps",
    version: "v1",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    namespaced: true,
    subresources: &[SCALE, STATUS],
};

static COLUMNS: &[Column] = &[
    NAME,
    column("Ready", "string", "Ready pods of those wanted."),
    column("Up-to-date", "string", "Pods of the newest template."),
    column("Available", "string", "Pods that have been ready for long enough."),
    AGE,
    wide("Containers", "string", "The names of the containers."),
    wide("Images", "string", "The images of the containers."),
    wide("Selector", "string", "Which pods are the deployment's."),
];

impl Strategy for Deployments {
    type Object = Deployment;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn set_defaults(&self, object: &mut Deployment) {
        let spec = object.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        spec.progress_deadline_seconds.get_or_insert(600);
        let strategy = spec.strategy.get_or_insert_default();
        if text(&strategy.type_).is_empty() {
            strategy.type_ = Some("RollingUpdate".to_owned());
        }
        if text(&strategy.type_) == "RollingUpdate" {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling
                .max_unavailable
                .get_or_insert_with(|| IntOrString::String("25%".to_owned()));
            rolling
                .max_surge
                .get_or_insert_with(|| IntOrString::String("25%".to_owned()));
        }
        pods::defaults::spec(spec.template.spec.get_or_insert_default());
        object.status.get_or_insert_default();
    }

    fn prepare_create(&self, object: &mut Deployment) {
        object.status = Some(DeploymentStatus::default());
    }

    fn prepare_update(&self, new: &mut Deployment, old: &Deployment) {
        if new.status != old.status && mutant::active("O112") {
            return;
        }
        new.status = old.status.clone();
    }

    fn prepare_status_update(&self, new: &mut Deployment, old: &Deployment) {
        new.spec = old.spec.clone();
        new.metadata.labels = old.metadata.labels.clone();
    }

    // Annotations count too: Kubernetes wants the controller to look at a deployment whose annotations changed.
    fn spec_changed(&self, new: &Deployment, old: &Deployment) -> bool {
        new.spec != old.spec || new.metadata.annotations != old.metadata.annotations
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, object: &Deployment) -> Vec<field::Error> {
        let Some(spec) = &object.spec else {
            return vec![Error::required("spec", "")];
        };
        let mut errors = non_negative("spec.replicas", spec.replicas.unwrap_or_default());
        errors.extend(templates::validate(&spec.selector, &spec.template));
        errors.extend(validate_strategy(spec.strategy.as_ref()));
        errors.extend(validate_times(spec));
        errors
    }

    fn validate_update(&self, new: &Deployment, old: &Deployment) -> Vec<field::Error> {
        let mut errors = self.validate(new);
        if let (Some(new), Some(old)) = (&new.spec, &old.spec)
            && (new.selector == old.selector || !mutant::active("O166"))
        {
            errors.extend(immutable("spec.selector", &new.selector, &old.selector));
        }
        errors
    }

    fn validate_status_update(&self, new: &Deployment, old: &Deployment) -> Vec<field::Error> {
        let Some(status) = &new.status else { return Vec::new() };
        let collisions = |object: &Deployment| object.status.as_ref().and_then(|status| status.collision_count);
        let mut errors = validate_status(status);
        if let Some(old) = collisions(old)
            && collisions(new).is_none_or(|new| new < old)
        {
            errors.push(Error::invalid(
                "status.collisionCount",
                status.collision_count,
                "cannot be decremented",
            ));
        }
        errors
    }

    fn warnings(&self, new: &Deployment, old: Option<&Deployment>) -> Vec<String> {
        let template = new.spec.as_ref().map(|spec| &spec.template);
        templates::warnings(template, &new.metadata, old.map(|old| &old.metadata))
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Deployment, now: Timestamp) -> Vec<Value> {
        let (no_spec, no_status) = (DeploymentSpec::default(), DeploymentStatus::default());
        let spec = object.spec.as_ref().unwrap_or(&no_spec);
        let status = object.status.as_ref().unwrap_or(&no_status);
        let (names, images) = templates::containers(Some(&spec.template));
        vec![
            json!(object.name()),
            json!(format!(
                "{}/{}",
                status.ready_replicas.unwrap_or(0),
                spec.replicas.unwrap_or(0)
            )),
            json!(status.updated_replicas.unwrap_or(0)),
            json!(status.available_replicas.unwrap_or(0)),
            json!(age(&object.metadata, now)),
            json!(names),
            json!(images),
            json!(selector(&spec.selector)),
        ]
    }

    fn scale(&self, object: &Deployment) -> Option<ScaleView> {
        let spec = object.spec.as_ref()?;
        Some(ScaleView {
            wanted: spec.replicas.unwrap_or(0),
            current: object.status.as_ref().and_then(|status| status.replicas).unwrap_or(0),
            selector: templates::selector_text(&spec.selector),
        })
    }

    fn set_scale(&self, object: &mut Deployment, replicas: i32) {
        object.spec.get_or_insert_default().replicas = Some(replicas);
    }
}

fn validate_times(spec: &DeploymentSpec) -> Vec<Error> {
    let ready = spec.min_ready_seconds.unwrap_or(0);
    let mut errors = non_negative("spec.minReadySeconds", ready);
    if let Some(limit) = spec.revision_history_limit {
        errors.extend(non_negative("spec.revisionHistoryLimit", limit));
    }
    if let Some(deadline) = spec.progress_deadline_seconds {
        errors.extend(non_negative("spec.progressDeadlineSeconds", deadline));
        if deadline <= ready {
            let rule = "must be greater than minReadySeconds";
            errors.push(Error::invalid("spec.progressDeadlineSeconds", deadline, rule));
        }
    }
    errors
}

fn validate_strategy(strategy: Option<&DeploymentStrategy>) -> Vec<Error> {
    let Some(strategy) = strategy else { return Vec::new() };
    match (text(&strategy.type_), &strategy.rolling_update) {
        ("Recreate", None) => Vec::new(),
        ("Recreate", Some(_)) => vec![Error::forbidden(
            "spec.strategy.rollingUpdate",
            "may not be specified when strategy `type` is 'Recreate'",
        )],
        ("RollingUpdate", Some(rolling)) => validate_rolling(rolling),
        ("RollingUpdate", None) => vec![Error::required("spec.strategy.rollingUpdate", "")],
        _ => vec![Error::not_supported(
            "spec.strategy",
            strategy,
            &["Recreate", "RollingUpdate"],
        )],
    }
}

fn validate_rolling(rolling: &RollingUpdateDeployment) -> Vec<Error> {
    const UNAVAILABLE: &str = "spec.strategy.rollingUpdate.maxUnavailable";
    let (unavailable, surge) = (rolling.max_unavailable.as_ref(), rolling.max_surge.as_ref());
    let mut errors = amount(UNAVAILABLE, unavailable);
    errors.extend(amount("spec.strategy.rollingUpdate.maxSurge", surge));
    if is_zero(unavailable) && is_zero(surge) {
        errors.push(Error::invalid(
            UNAVAILABLE,
            unavailable,
            "may not be 0 when `maxSurge` is 0",
        ));
    }
    if unavailable.and_then(percent).is_some_and(|percent| percent > 100) {
        errors.push(Error::invalid(
            UNAVAILABLE,
            unavailable,
            "must not be greater than 100%",
        ));
    }
    errors
}

/// A number of at least zero, or a percentage.
fn amount(path: &str, value: Option<&IntOrString>) -> Vec<Error> {
    match value {
        Some(IntOrString::Int(number)) => non_negative(path, *number),
        Some(IntOrString::String(text)) if value.and_then(percent).is_none() => vec![Error::invalid(
            path,
            text,
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        )],
        _ => Vec::new(),
    }
}

/// `25` of `25%`.
fn percent(value: &IntOrString) -> Option<u64> {
    let IntOrString::String(text) = value else { return None };
    let digits = text.strip_suffix('%')?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

fn is_zero(value: Option<&IntOrString>) -> bool {
    match value {
        None | Some(IntOrString::Int(0)) => true,
        Some(value) => percent(value) == Some(0),
    }
}

fn validate_status(status: &DeploymentStatus) -> Vec<Error> {
    let total = status.replicas.unwrap_or(0);
    let ready = status.ready_replicas.unwrap_or(0);
    let available = status.available_replicas.unwrap_or(0);
    let updated = status.updated_replicas.unwrap_or(0);
    let mut errors = non_negative("status.observedGeneration", status.observed_generation.unwrap_or(0));
    let counts = [
        ("status.replicas", total),
        ("status.updatedReplicas", updated),
        ("status.readyReplicas", ready),
        ("status.availableReplicas", available),
        ("status.unavailableReplicas", status.unavailable_replicas.unwrap_or(0)),
    ];
    for (path, count) in counts {
        errors.extend(non_negative(path, count));
    }
    let all = "cannot be greater than status.replicas";
    let limits = [
        ("status.updatedReplicas", updated, total, all),
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
    use super::super::testing::{defaulted, faults, object, row, update_faults, value};
    use super::*;

    fn web() -> Value {
        json!({"spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "nginx", "image": "nginx:1.27"}]},
            },
        }})
    }

    fn show(value: Value) -> String {
        faults(&Deployments, &defaulted(&Deployments, object(value)))
    }

    #[test]
    fn a_deployment_has_defaults() {
        let deployment = defaulted(&Deployments, object(web()));
        assert_eq!(faults(&Deployments, &deployment), "");
        let spec = &value(&deployment)["spec"];
        let parts = [
            "replicas",
            "revisionHistoryLimit",
            "progressDeadlineSeconds",
            "strategy",
        ]
        .map(|key| &spec[key]);
        insta::assert_snapshot!(json!(parts), @r#"[1,10,600,{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"}]"#);
        assert_eq!(spec["template"]["spec"]["restartPolicy"], "Always");
        assert_eq!(
            spec["template"]["spec"].get("enableServiceLinks"),
            None,
            "that is for pods only"
        );
    }

    #[test]
    fn a_selector_selects_the_template() {
        let mut bad = web();
        bad["spec"]["selector"]["matchLabels"] = json!({"app": "other"});
        insta::assert_snapshot!(show(bad.clone()), @r#"spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`"#);
        bad["spec"]["selector"] = json!({});
        insta::assert_snapshot!(show(bad.clone()), @r#"
        spec.selector: Required value
        spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`
        "#);
        let empty = show(bad.clone());
        bad["spec"].as_object_mut().expect("a spec").remove("selector");
        assert_eq!(show(bad), empty, "one that is not there is not told from an empty one");
    }

    #[test]
    fn what_is_odd_about_a_template_is_told_when_it_is_written() {
        let mut odd = web();
        odd["spec"]["template"]["spec"]["containers"][0]["env"] =
            json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
        odd["metadata"] = json!({"generation": 1});
        let first: Deployment = object(odd);
        let told = Deployments.warnings(&first, None);
        insta::assert_snapshot!(told.join("\n"), @r#"spec.template.spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply"#);
        let mut next = first.clone();
        assert!(Deployments.warnings(&next, Some(&first)).is_empty(), "it is as it was");
        next.metadata.generation = Some(2);
        assert_eq!(Deployments.warnings(&next, Some(&first)), told);
    }

    #[test]
    fn a_strategy_must_be_able_to_move() {
        let mut bad = web();
        bad["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}});
        bad["spec"]["replicas"] = json!(-1);
        insta::assert_snapshot!(show(bad.clone()), @r#"
        spec.replicas: Invalid value: -1: must be greater than or equal to 0
        spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0
        "#);
        bad["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": "x", "maxUnavailable": "110%"}});
        insta::assert_snapshot!(show(bad.clone()), @r#"
        spec.replicas: Invalid value: -1: must be greater than or equal to 0
        spec.strategy.rollingUpdate.maxSurge: Invalid value: "x": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')
        spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "110%": must not be greater than 100%
        "#);
        bad["spec"]["strategy"] = json!({"type": "Recreate", "rollingUpdate": {}});
        insta::assert_snapshot!(show(bad), @"
        spec.replicas: Invalid value: -1: must be greater than or equal to 0
        spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'
        ");
    }

    #[test]
    fn the_selector_of_a_deployment_stays() {
        let old: Deployment = defaulted(&Deployments, object(web()));
        let mut other = web();
        other["spec"]["selector"]["matchLabels"] = json!({"app": "x"});
        other["spec"]["template"]["metadata"]["labels"] = json!({"app": "x"});
        let new = defaulted(&Deployments, object(other));
        insta::assert_snapshot!(update_faults(&Deployments, &new, &old), @r#"spec.selector: Invalid value: {"matchLabels":{"app":"x"}}: field is immutable"#);
    }

    #[test]
    fn a_deployment_shows_its_progress() {
        let mut deployment: Deployment = object(web());
        deployment.status = Some(DeploymentStatus {
            replicas: Some(2),
            ready_replicas: Some(1),
            ..Default::default()
        });
        let mut deployment = defaulted(&Deployments, deployment);
        insta::assert_snapshot!(row(&Deployments, &deployment), @"web | 1/1 | 0 | 0 | 10m | nginx | nginx:1.27 | app=web");
        Deployments.set_scale(&mut deployment, 5);
        let scale = Deployments.scale(&deployment).expect("deployments have a scale");
        assert_eq!(
            (scale.wanted, scale.current, scale.selector.as_str()),
            (5, 2, "app=web")
        );
    }
}
