//! What manifests say in vain: fields that their kinds do not have, and containers that are not in them and whose image
//! is set.
//!
//! The API server would drop such a field with a mere warning, and a patch would add such a container. Not judged: kinds
//! of users' own, and what steps other than `apply` write.

use orrery_api::strict::unknown_fields;
use serde_json::Value;

use super::nearest;
use super::vain::Vain;
use super::workload::{Manifest, StepAction};
use super::{Scenario, SetImageSpec};

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
        match &plan.action {
            StepAction::Apply(Manifest::Inline(objects)) => {
                for object in objects {
                    for problem in problems(object) {
                        let field = problem
                            .trim_end_matches('"')
                            .rsplit(['.', '"'])
                            .next()
                            .unwrap_or_default();
                        tell(field, format!("{} has an {problem}", title(object)));
                    }
                }
            }
            StepAction::SetImage(spec) => {
                if let Some(why) = no_such_container(scenario, spec) {
                    tell(&spec.container, why);
                }
            }
            _ => {}
        }
    }
    found
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// An object as people call it: `Deployment "web"`.
fn title(object: &Value) -> String {
    format!("{} {:?}", text(object, "/kind"), text(object, "/metadata/name"))
}

/// The fields of an object that its kind does not have.
fn problems(object: &Value) -> Vec<String> {
    unknown_fields(object, text(object, "/apiVersion"), text(object, "/kind"))
}

/// Why a step sets no image, if manifests make its deployment and none of them has its container.
fn no_such_container(scenario: &Scenario, spec: &SetImageSpec) -> Option<String> {
    let applied = scenario.workload.iter().filter_map(|plan| match &plan.action {
        StepAction::Apply(Manifest::Inline(objects)) => Some(objects),
        _ => None,
    });
    let is_meant = |object: &&Value| {
        let namespace = text(object, "/metadata/namespace");
        let namespace = if namespace.is_empty() { "default" } else { namespace };
        text(object, "/kind") == "Deployment"
            && namespace == spec.namespace
            && text(object, "/metadata/name") == spec.deployment
    };
    let containers: Vec<&str> = applied
        .flatten()
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
        insta::assert_snapshot!(told("apply: wrong.yaml").unwrap_err(), @r#"a.yaml:4:5: Deployment "web" has an unknown field "spec.replcias""#);
        insta::assert_snapshot!(told("apply: { apiVersion: v1, kind: ConfigMap, metadata: { name: a }, dtaa: {} }").unwrap_err(), @r#"a.yaml:5:70: ConfigMap "a" has an unknown field "dtaa""#);
        assert_eq!(told("apply: right.yaml"), Ok(()));
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
