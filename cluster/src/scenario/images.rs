//! Stand-ins for images that Docker does not have: this very program with the libraries that it runs with, told by the
//! scenario how to behave. Nothing is pulled and nothing compiled.

use std::collections::{BTreeMap, BTreeSet};

use orrery_kubelet::docker::DockerRuntime;
use orrery_kubelet::runtime::ContainerRuntime;
use orrery_play::scenario::{Manifest, Scenario, StepAction};
use serde_json::Value;

use super::stand_in::Script;
use crate::daemon::Failure;

/// Where the program is in the image, and the folder of its libraries.
const PROGRAM: &str = "orrery";
const LIBRARIES: &str = "lib";
/// Readable and executable.
const MODE: u32 = 0o755;

/// The images that a scenario uses, each with the ports that its containers are asked on.
pub fn used(scenario: &Scenario) -> BTreeMap<String, BTreeSet<u16>> {
    let mut images: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    for plan in &scenario.workload {
        match &plan.action {
            StepAction::Apply(Manifest::Inline(objects)) => {
                objects.iter().for_each(|object| collect(object, &mut images));
            }
            StepAction::SetImage(spec) => {
                images.entry(spec.image.clone()).or_default();
            }
            _ => {}
        }
    }
    images.extend(
        scenario
            .images
            .keys()
            .filter_map(|name| {
                let known = images.contains_key(name);
                (!known).then(|| (name.clone(), BTreeSet::new()))
            })
            .collect::<Vec<_>>(),
    );
    // Another version of a program is asked on the same ports.
    let of_name = |image: &str| image.rsplit_once(':').map_or(image, |(name, _)| name).to_owned();
    let mut ports: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    for (image, own) in &images {
        ports.entry(of_name(image)).or_default().extend(own);
    }
    for (image, own) in &mut images {
        own.extend(ports.get(&of_name(image)).into_iter().flatten());
    }
    images
}

/// The images of all containers anywhere in an object, with their ports.
fn collect(value: &Value, images: &mut BTreeMap<String, BTreeSet<u16>>) {
    match value {
        Value::Object(fields) => {
            if let (Some(image), true) = (fields.get("image").and_then(Value::as_str), fields.contains_key("name")) {
                let ports = images.entry(image.to_owned()).or_default();
                let named = fields.get("ports").and_then(Value::as_array).into_iter().flatten();
                let named = named.map(|port| &port["containerPort"]);
                let probed = ["startupProbe", "readinessProbe", "livenessProbe"]
                    .into_iter()
                    .filter_map(|probe| fields.get(probe));
                let probed = probed.flat_map(|probe| [&probe["httpGet"]["port"], &probe["tcpSocket"]["port"]]);
                let all = named
                    .chain(probed)
                    .filter_map(|port| u16::try_from(port.as_u64()?).ok());
                ports.extend(all);
            }
            fields.values().for_each(|value| collect(value, images));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, images)),
        _ => {}
    }
}

/// Makes stand-ins for the images of `scenario` that Docker does not have; their names.
pub async fn make(docker: &DockerRuntime, scenario: &Scenario) -> Result<Vec<String>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure(format!("stand-ins for images: {error}"));
    let mut made = Vec::new();
    let mut files = None;
    for (image, ports) in used(scenario) {
        if docker.image(&image).await.map_err(|error| failed(&error))?.is_some() {
            continue;
        }
        let files = match &mut files {
            Some(files) => files,
            none => none.insert(program().map_err(|error| failed(&error))?),
        };
        let ports: Vec<u16> = ports.into_iter().collect();
        let script = scenario.images.get(&image).cloned().unwrap_or_default();
        let script = serde_json::to_string(&Script::of(&script, &ports)).map_err(|error| failed(&error))?;
        let content: Vec<(&str, &[u8], u32)> = files
            .files
            .iter()
            .map(|(path, bytes)| (path.as_str(), bytes.as_slice(), MODE))
            .collect();
        let mut entrypoint = files.entrypoint.clone();
        entrypoint.extend(["stand-in".to_owned(), script]);
        let imported = docker.import_image(&image, &content, &entrypoint).await;
        imported.map_err(|error| failed(&error))?;
        made.push(image);
    }
    Ok(made)
}

/// Removes stand-ins.
pub async fn remove(docker: &DockerRuntime, images: &[String]) -> Result<(), Failure> {
    for image in images {
        let removed = docker.remove_image(image).await;
        removed.map_err(|error| Failure(format!("the stand-in {image}: {error}")))?;
    }
    Ok(())
}

/// A program with all that it needs, as files of an image.
struct Program {
    files: Vec<(String, Vec<u8>)>,
    /// How it is started.
    entrypoint: Vec<String>,
}

/// This program.
fn program() -> std::io::Result<Program> {
    let own = std::env::current_exe()?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let mut files = vec![(PROGRAM.to_owned(), std::fs::read(own)?)];
    let libraries = libraries(&maps);
    for path in &libraries {
        files.push((format!("{LIBRARIES}/{}", file_name(path)), std::fs::read(path)?));
    }
    let loader = libraries
        .iter()
        .map(|path| file_name(path))
        .find(|name| is_loader(name));
    let program = format!("/{PROGRAM}");
    let entrypoint = match loader {
        // Named, so that the places do not matter where this system has its libraries.
        Some(loader) => vec![
            format!("/{LIBRARIES}/{loader}"),
            "--library-path".to_owned(),
            format!("/{LIBRARIES}"),
            program,
        ],
        None => vec![program],
    };
    Ok(Program { files, entrypoint })
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_loader(name: &str) -> bool {
    name.starts_with("ld-") || name.starts_with("ld.so")
}

/// The shared libraries in a process' map of its memory (proc(5)), the loader among them.
fn libraries(maps: &str) -> BTreeSet<String> {
    let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let is_library = |path: &&str| path.starts_with('/') && file_name(path).contains(".so");
    paths.filter(is_library).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use orrery_play::scenario::read;

    use super::*;

    #[test]
    fn all_images_of_a_scenario_are_found_with_the_ports_they_are_asked_on() {
        let scenario = read(
            "a.yaml",
            "name: a\nduration: 1m\nimages: { web:bad: { exit: 1 } }\nworkload:\n  - at: 0s\n    apply: { apiVersion: apps/v1, kind: Deployment, \
             metadata: { name: web }, spec: { selector: { matchLabels: { a: b } }, template: { metadata: { labels: { a: b } }, \
             spec: { containers: [{ name: c, image: web:1, ports: [{ containerPort: 8080 }], readinessProbe: { httpGet: { port: 9000 } } }] } } } }\n  \
             - at: 9s\n    set-image: { deployment: web, container: c, image: web:2 }\n",
            |_| Err(String::new()),
        )
        .expect("a scenario");
        let used = used(&scenario);
        assert_eq!(
            used.keys().map(String::as_str).collect::<Vec<_>>(),
            ["web:1", "web:2", "web:bad"]
        );
        for (image, ports) in used {
            assert_eq!(ports.into_iter().collect::<Vec<_>>(), [8080, 9000], "{image}");
        }
    }

    #[test]
    fn the_libraries_of_a_process_are_in_the_map_of_its_memory() {
        let maps = "\
55e0-55e1 r--p 00000000 08:01 12 /usr/bin/orrery
7f00-7f01 r-xp 00000000 08:01 13 /usr/lib/x86_64-linux-gnu/libc.so.6
7f01-7f02 r--p 00000000 08:01 13 /usr/lib/x86_64-linux-gnu/libc.so.6
7f02-7f03 r-xp 00000000 08:01 14 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
7ffc-7ffd rw-p 00000000 00:00 0 [stack]
7ffd-7ffe rw-p 00000000 00:00 0
";
        let found = libraries(maps);
        assert_eq!(found.len(), 2);
        assert!(found.iter().any(|path| is_loader(file_name(path))));
    }

    #[test]
    fn this_program_is_found_with_its_loader_if_it_has_one() {
        let program = program().expect("readable");
        assert_eq!(program.files[0].0, PROGRAM);
        assert_eq!(program.entrypoint.last().map(String::as_str), Some("/orrery"));
        assert_eq!(program.entrypoint.len() > 1, program.files.len() > 1);
    }
}
