//! Stand-ins for images that Docker does not have: this very program ([`super::program`]), told by the scenario how to
//! behave. Nothing is pulled.

use std::collections::{BTreeMap, BTreeSet};

use orrery_kubelet::docker::DockerRuntime;
use orrery_play::scenario::{Manifest, Scenario, StepAction};
use serde_json::{Map, Value};

use super::program::{self, Program};
use super::stand_in::Script;
use super::walk;
use crate::daemon::{Failure, fail};

/// Readable and executable.
const MODE: u32 = 0o755;
/// Fields of a container that are commands of its own program, which a stand-in is not.
const COMMANDS: [&str; 2] = ["command", "args"];
const PROBES: [&str; 3] = ["startupProbe", "readinessProbe", "livenessProbe"];

/// The images that a scenario uses, each with the ports that its containers are asked on.
pub fn used(scenario: &Scenario) -> BTreeMap<String, BTreeSet<u16>> {
    let mut images: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    let mut of_services = BTreeSet::new();
    for name in scenario.images.keys() {
        images.entry(name.clone()).or_default();
    }
    for plan in &scenario.workload {
        of_services.extend(plan.action.applied().iter().flat_map(ports_of_service));
        if let StepAction::SetImage(spec) = &plan.action {
            images.entry(spec.image.clone()).or_default();
        }
    }
    containers(&mut scenario.clone(), |image, container| {
        images.entry(image).or_default().extend(ports(container));
    });
    // Another version of a program is asked on the same ports; and a service may name one that no container does.
    let of_name = |image: &str| image.rsplit_once(':').map_or(image, |(name, _)| name).to_owned();
    let mut of_names: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    for (image, own) in &images {
        of_names.entry(of_name(image)).or_default().extend(own);
    }
    for (image, own) in &mut images {
        own.extend(of_names.get(&of_name(image)).into_iter().flatten());
        own.extend(&of_services);
    }
    images
}

/// The numbers at which a service asks its pods; none of what is no service.
fn ports_of_service(object: &Value) -> Vec<u16> {
    let ports = object.pointer("/spec/ports").and_then(Value::as_array);
    let ports = ports.filter(|_| object["kind"] == "Service").into_iter().flatten();
    let target = |port: &Value| {
        let target = Some(&port["targetPort"]).filter(|target| !target.is_null());
        u16::try_from(target.unwrap_or(&port["port"]).as_u64()?).ok()
    };
    ports.filter_map(target).collect()
}

/// Does something with all containers in what a scenario applies or edits, each with its image: whatever has a name and
/// an image.
fn containers(scenario: &mut Scenario, mut act: impl FnMut(String, &mut Map<String, Value>)) {
    let objects = scenario.workload.iter_mut().flat_map(|plan| match &mut plan.action {
        StepAction::Apply(Manifest::Inline(objects)) => objects.iter_mut().collect(),
        StepAction::Replace(spec) => vec![&mut spec.object],
        StepAction::Edit(spec) => vec![&mut spec.patch],
        _ => Vec::new(),
    });
    for object in objects {
        walk::maps(object, &mut |fields| {
            let image = fields.get("image").and_then(Value::as_str).map(str::to_owned);
            if let Some(image) = image.filter(|_| fields.contains_key("name")) {
                act(image, fields);
            }
        });
    }
}

/// The ports at which a container is asked.
fn ports(container: &Map<String, Value>) -> Vec<u16> {
    let named = container.get("ports").and_then(Value::as_array).into_iter().flatten();
    let named = named.map(|port| &port["containerPort"]);
    let probes = PROBES.iter().filter_map(|probe| container.get(*probe));
    let probed = probes.flat_map(|probe| [&probe["httpGet"]["port"], &probe["tcpSocket"]["port"]]);
    let all = named.chain(probed);
    all.filter_map(|port| u16::try_from(port.as_u64()?).ok()).collect()
}

/// Makes stand-ins for the images of `scenario` that Docker does not have, those of an earlier run anew; their names.
/// `made` has all that may have been made, when this fails, too.
pub async fn make(docker: &DockerRuntime, scenario: &Scenario, made: &mut Vec<String>) -> Result<(), Failure> {
    let mut program: Option<Program> = None;
    for (image, ports) in used(scenario) {
        // Of a name that Docker cannot read there will be no container, which the pod's status says.
        if docker.is_stand_in(&image).await.unwrap_or(Some(false)) == Some(false) {
            continue;
        }
        let program = match &mut program {
            Some(program) => program,
            none => none.insert(program::own().map_err(fail("stand-ins for images"))?),
        };
        let ports: Vec<u16> = ports.into_iter().collect();
        let script = scenario.images.get(&image).cloned().unwrap_or_default();
        let script = serde_json::to_string(&Script::of(&script, &ports)).map_err(fail("stand-ins for images"))?;
        let content = program.files.iter();
        let content: Vec<(&str, &[u8], u32)> = content
            .map(|(path, bytes)| (path.as_str(), bytes.as_slice(), MODE))
            .collect();
        let mut entrypoint = program.entrypoint.clone();
        entrypoint.extend(["stand-in".to_owned(), script]);
        made.push(image.clone());
        let imported = docker.make_stand_in(&image, &content, &entrypoint).await;
        imported.map_err(fail("stand-ins for images"))?;
    }
    Ok(())
}

/// Fits the containers of a scenario to the stand-ins of their images: nothing is pulled for them, and what would be
/// run in them is left out. Whether anything is.
pub fn fit(scenario: &mut Scenario, made: &[String]) -> bool {
    let mut left_out = false;
    containers(scenario, |image, container| {
        if made.contains(&image) {
            left_out |= fit_container(container);
        }
    });
    left_out
}

fn fit_container(container: &mut Map<String, Value>) -> bool {
    container.insert("imagePullPolicy".to_owned(), Value::from("IfNotPresent"));
    let before = container.len();
    container.retain(|field, value| match field.as_str() {
        field if COMMANDS.contains(&field) => false,
        field if PROBES.contains(&field) => value.get("exec").is_none(),
        "lifecycle" => !value
            .as_object()
            .is_some_and(|hooks| hooks.values().any(|hook| hook.get("exec").is_some())),
        _ => true,
    });
    container.len() < before
}

/// Removes stand-ins: all of them, though one may not go.
pub async fn remove(docker: &DockerRuntime, images: &[String]) -> Result<(), Failure> {
    let mut outcome = Ok(());
    for image in images {
        let removed = docker
            .remove_image(image)
            .await
            .map_err(fail(&format!("the stand-in {image}")));
        outcome = outcome.and(removed);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use orrery_play::scenario::read;

    use super::*;

    const SCENARIO: &str = "
name: a
duration: 1m
images: { web:bad: { exit: 1 } }
workload:
  - at: 0s
    apply:
      - { apiVersion: apps/v1, kind: Deployment, metadata: { name: web }, spec: { selector: { matchLabels: { a: b } },
          template: { metadata: { labels: { a: b } }, spec: { containers: [{ name: c, image: web:1, args: [x],
            ports: [{ containerPort: 8080 }], readinessProbe: { httpGet: { port: 9000 } }, livenessProbe: { exec: { command: [y] } } }] } } } }
      - { apiVersion: v1, kind: Service, metadata: { name: web }, spec: { selector: { a: b }, ports: [{ port: 80, targetPort: 7000 }] } }
  - at: 8s
    edit: { object: Deployment/web, patch: { spec: { template: { spec: { containers: [{ name: c, image: other:1 }] } } } } }
  - at: 9s
    set-image: { deployment: web, container: c, image: web:2 }
";

    fn scenario() -> Scenario {
        read("a.yaml", SCENARIO, |_| Err(String::new())).expect("a scenario")
    }

    #[test]
    fn all_images_of_a_scenario_are_found_with_the_ports_they_are_asked_on() {
        let used = used(&scenario());
        let names: Vec<&str> = used.keys().map(String::as_str).collect();
        assert_eq!(names, ["other:1", "web:1", "web:2", "web:bad"]);
        let ports = |image: &str| used[image].iter().copied().collect::<Vec<_>>();
        assert_eq!(ports("other:1"), [7000]);
        for image in ["web:1", "web:2", "web:bad"] {
            assert_eq!(ports(image), [7000, 8080, 9000], "{image}");
        }
    }

    #[test]
    fn nothing_is_run_in_a_stand_in_and_nothing_pulled_for_it() {
        let mut fitted = scenario();
        assert!(!fit(&mut fitted, &["another:1".to_owned()]));
        assert_eq!(fitted, scenario());
        assert!(fit(&mut fitted, &["web:1".to_owned()]));
        let container = fitted.workload[0].action.applied()[0]
            .pointer("/spec/template/spec/containers/0")
            .and_then(Value::as_object);
        let fields: Vec<&String> = container.expect("a container").keys().collect();
        assert_eq!(fields, ["image", "imagePullPolicy", "name", "ports", "readinessProbe"]);
    }
}
