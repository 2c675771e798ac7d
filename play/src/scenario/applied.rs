//! What every run would refuse of what is applied: objects are judged as they are read, by the very rules of their
//! kinds by which the API server judges what it is sent.

use orrery_api::status::ApiError;
use serde_json::Value;

use super::place::{Part, Wrong};
use super::{Scenario, StepAction};
use crate::vocabulary::vocabulary;

/// The first object that is refused.
pub fn check(scenario: &Scenario) -> Result<(), Wrong> {
    for (index, plan) in scenario.workload.iter().enumerate() {
        let step = [Part::Key("workload"), Part::Index(index)];
        for (number, object) in plan.action.applied().iter().enumerate() {
            judge(object, [&step[..], &[Part::Key("apply"), Part::Index(number)]].concat())?;
        }
        if let StepAction::Replace(spec) = &plan.action {
            judge(&spec.object, [&step[..], &[Part::Key("replace")]].concat())?;
        }
    }
    Ok(())
}

/// Judges an object that stands there.
fn judge(object: &Value, path: Vec<Part>) -> Result<(), Wrong> {
    vocabulary().kinds.judge(object).map_err(|error| Wrong {
        path,
        words: field(&error),
        why: error.message().to_owned(),
    })
}

/// The keys that lead to the field that an object is refused for.
fn field(error: &ApiError) -> Vec<String> {
    let causes = error.0.details.as_ref().and_then(|details| details.causes.as_ref());
    let path = match causes.and_then(|causes| causes.first()?.field.as_deref()) {
        Some(path) => path,
        // As Go tells of a value of another type: `Go struct field DeploymentSpec.spec.replicas of type int32`.
        None => {
            let rest = error.message().split("Go struct field ").nth(1).unwrap_or_default();
            let path = rest.split(" of type").next().unwrap_or_default();
            path.split_once('.').map_or("", |(_, path)| path)
        }
    };
    let keys = path
        .split(['.', '['])
        .filter(|key| !key.is_empty() && !key.ends_with(']'));
    keys.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::read_file;

    fn told(object: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        let source = format!("name: a\nduration: 1m\nworkload:\n  - at: 1s\n    apply:\n{object}");
        #[allow(clippy::disallowed_methods, reason = "no world is there yet")]
        std::fs::write(&path, source).unwrap();
        let read = read_file(path.to_str().unwrap());
        read.map(drop)
            .map_err(|error| format!("{:?}: {}", error.at, error.message))
    }

    fn deployment(from: &str, to: &str) -> Result<(), String> {
        let right = "      apiVersion: apps/v1
      kind: Deployment
      metadata: { name: web, labels: { app: web } }
      spec:
        replicas: 3
        selector: { matchLabels: { app: web } }
        template:
          metadata: { labels: { app: web } }
          spec:
            containers:
              - { name: web, image: web:1, ports: [{ containerPort: 80 }] }
";
        assert!(right.contains(from));
        told(&right.replacen(from, to, 1))
    }

    #[test]
    fn an_object_that_every_run_would_refuse_is_refused_with_the_place_of_its_field() {
        assert_eq!(deployment("", ""), Ok(()));
        let wrong = |from: &str, to: &str| deployment(from, to).unwrap_err();
        insta::assert_snapshot!(wrong("replicas: 3", "replicas: -1"), @r#"Some((10, 9)): Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"#);
        insta::assert_snapshot!(wrong("replicas: 3", "replicas: '3'"), @r#"Some((10, 9)): Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"#);
        insta::assert_snapshot!(wrong("matchLabels: { app: web }", "matchLabels: { app: wbe }"), @r#"Some((13, 23)): Deployment.apps "web" is invalid: spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`"#);
        insta::assert_snapshot!(wrong("containerPort: 80", "containerPort: 99999"), @r#"Some((16, 54)): Deployment.apps "web" is invalid: spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 99999: must be between 1 and 65535, inclusive"#);
        insta::assert_snapshot!(wrong("name: web,", "name: Web,"), @r#"Some((8, 19)): Deployment.apps "Web" is invalid: metadata.name: Invalid value: "Web": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#);
        let objects = "      - { apiVersion: v1, kind: ConfigMap, metadata: { name: a } }\n      - { apiVersion: v1, kind: Pod, metadata: { name: a }, spec: { priorityClassName: nosuch, containers: [{ name: a, image: b }] } }\n";
        insta::assert_snapshot!(told(objects).unwrap_err(), @r#"Some((7, 9)): pods "a" is forbidden: no PriorityClass with name nosuch was found"#);
    }
}
