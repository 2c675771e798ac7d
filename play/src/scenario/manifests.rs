//! What manifests and patches say in vain: fields that their kinds do not have, and containers that are not in them and
//! whose image is set.
//!
//! The API server would drop such a field with a mere warning, and a patch would add such a container. Not judged:
//! kinds of users' own.

use orrery_api::strict::unknown_fields;
use serde_json::Value;

use super::kind_fields;
use super::nearest;
use super::served::called;
use super::vain::Vain;
use super::workload::StepAction;
use super::{EditSpec, Scenario, SetImageSpec};

/// All of it, in the order of the steps.
pub fn find(scenario: &Scenario) -> Vec<Vain> {
    let mut found = Vec::new();
    for (index, plan) in scenario.workload.iter().enumerate() {
        let mut tell = |word: &str, why: String| {
            found.push(Vain {
                entry: ("workload", index),
                word: word.to_owned(),
                why,
                certain: true,
            });
        };
        let sent = plan.action.sent().map(|(_, object)| object);
        for object in plan.action.applied().iter().chain(sent) {
            for (field, wrong) in unknown(object, text(object, "/apiVersion"), text(object, "/kind")) {
                tell(&field, format!("{} has {wrong}", title(object)));
            }
        }
        if let Some(EditSpec { object, patch }) = plan.action.edited() {
            let kind = object.split('/').next().and_then(called);
            let unknown = kind.map(|kind| unknown(patch, &kind.api_version(), kind.kind));
            for (field, wrong) in unknown.into_iter().flatten() {
                tell(&field, format!("{object} has {wrong}"));
            }
        }
        if let StepAction::SetImage(spec) = &plan.action
            && let Some(why) = no_such_container(scenario, spec)
        {
            tell(&spec.container, why);
        }
    }
    found
}

/// The namespace that an object of a namespaced kind is in when it is applied.
pub fn namespace_of(object: &Value) -> &str {
    Some(text(object, "/metadata/namespace"))
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or("default")
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// An object as people call it: `Deployment "web"`.
fn title(object: &Value) -> String {
    format!("{} {:?}", text(object, "/kind"), text(object, "/metadata/name"))
}

/// The fields of an object, or a part of one, that its kind does not have: their names, and what is wrong with them.
fn unknown(object: &Value, api_version: &str, kind: &str) -> Vec<(String, String)> {
    let problems = unknown_fields(object, api_version, kind).into_iter();
    problems
        .map(|problem| {
            let path = problem.split('"').nth(1).unwrap_or_default();
            let name = path.rsplit('.').next().unwrap_or_default().to_owned();
            // Scenarios number the parts of lists in another way.
            let dotted = path.replace('[', ".").replace(']', "");
            let wrong = kind_fields::wrong(api_version, kind, &dotted).map(|wrong| wrong.replace(&dotted, path));
            (name, wrong.unwrap_or_else(|| format!("an {problem}")))
        })
        .collect()
}

/// Why a step sets no image, if manifests make its deployment and none of them has its container.
fn no_such_container(scenario: &Scenario, spec: &SetImageSpec) -> Option<String> {
    let is_meant = |object: &&Value| {
        text(object, "/kind") == "Deployment"
            && namespace_of(object) == spec.namespace
            && text(object, "/metadata/name") == spec.deployment
    };
    let containers: Vec<&str> = scenario
        .applied()
        .filter(is_meant)
        .filter_map(|object| object.pointer("/spec/template/spec/containers")?.as_array())
        .flatten()
        .filter_map(|container| container["name"].as_str())
        .collect();
    (!containers.is_empty() && !containers.contains(&spec.container.as_str())).then(|| {
        format!(
            "Deployment {:?} has no container {:?}{}",
            spec.deployment,
            spec.container,
            nearest::hint(&spec.container, &containers)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::examine;

    fn told(step: &str) -> Result<(), String> {
        let manifest = "
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replcias: 3
  template: { spec: { containers: [{ name: web, image: web:1 }] } }
";
        let right = manifest.replace("replcias", "replicas");
        let load = |name: &str| {
            Ok(if name == "wrong.yaml" {
                manifest.to_owned()
            } else {
                right.clone()
            })
        };
        let source = format!("name: a\nduration: 1m\nworkload:\n  - at: 1s\n    {step}\n");
        examine("a.yaml", &source, load)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_field_that_a_kind_does_not_have_is_refused() {
        insta::assert_snapshot!(told("apply: wrong.yaml").unwrap_err(), @r#"a.yaml:4:5: Deployment "web" has an unknown field "spec.replcias"; did you mean "replicas"? (known: minReadySeconds, paused, progressDeadlineSeconds, replicas, revisionHistoryLimit, selector, strategy, template)"#);
        insta::assert_snapshot!(told("apply: { apiVersion: v1, kind: ConfigMap, metadata: { name: a }, dtaa: {} }").unwrap_err(), @r#"a.yaml:5:70: ConfigMap "a" has an unknown field "dtaa"; did you mean "data"? (known: apiVersion, binaryData, data, immutable, kind, metadata)"#);
        assert_eq!(told("apply: right.yaml"), Ok(()));
    }

    #[test]
    fn a_patch_has_no_other_fields_than_its_kind() {
        let edit = |object: &str, patch: &str| {
            told(&format!(
                "apply: right.yaml\n  - at: 2s\n    edit: {{ object: {object}, patch: {patch} }}"
            ))
        };
        insta::assert_snapshot!(edit("deploy/web", "{ spec: { replica: 5 } }").unwrap_err(), @r#"a.yaml:7:50: deploy/web has an unknown field "spec.replica"; did you mean "replicas"? (known: minReadySeconds, paused, progressDeadlineSeconds, replicas, revisionHistoryLimit, selector, strategy, template)"#);
        insta::assert_snapshot!(edit("Deployment/web", "{ spec: { template: { spec: { containers: [{ nam: a }] } } } }").unwrap_err(), @r#"a.yaml:7:89: Deployment/web has an unknown field "spec.template.spec.containers[0].nam"; did you mean "name"? (known: args, command, env, envFrom, image, imagePullPolicy, lifecycle, livenessProbe, name, ports, readinessProbe, resizePolicy, resources, restartPolicy, restartPolicyRules, securityContext, startupProbe, stdin, stdinOnce, terminationMessagePath, terminationMessagePolicy, tty, volumeDevices, volumeMounts, workingDir)"#);
        for right in [
            "{ spec: { replicas: 5, strategy: null } }",
            "{ metadata: { labels: { example.com/any: x }, annotations: null } }",
            "{ spec: { template: { spec: { containers: [{ name: web, image: 'web:2' }] } } } }",
        ] {
            assert_eq!(edit("Deployment/web", right), Ok(()), "{right}");
        }
    }

    #[test]
    fn the_image_of_a_container_that_is_not_there_is_not_set() {
        let set = |container: &str| {
            told(&format!(
                "apply: right.yaml\n  - at: 2s\n    set-image: {{ deployment: web, container: {container}, image: 'web:2' }}"
            ))
        };
        insta::assert_snapshot!(set("wbe").unwrap_err(), @r#"a.yaml:7:46: Deployment "web" has no container "wbe"; did you mean "web"? (known: web)"#);
        assert_eq!(set("web"), Ok(()));
    }
}
