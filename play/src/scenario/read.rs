//! Reads scenarios from files, and checks what their types alone cannot.

use std::path::Path;

use serde_json::Value;

use super::call::object_pattern;
use super::error::Error;
use super::lingering;
use super::manifests;
use super::nearest;
use super::served;
use super::vain::{self, Vain};
use super::workload::{Manifest, StepAction, documents};
use super::{Heal, Moment, NodeTarget, Role, Scenario, Trigger, Whom};
use crate::vocabulary::vocabulary;

/// Reads the scenario in the file at `path`, and the manifests it names.
///
/// # Errors
/// It is not understood, or asks for something that can never be.
pub fn read_file(path: &str) -> Result<Scenario, Error> {
    examine_file(path).map(|(scenario, _)| scenario)
}

/// Reads the scenario in the file at `path` as [`read_file`] does; with it what may not be meant so.
///
/// # Errors
/// As of [`read_file`].
pub fn examine_file(path: &str) -> Result<(Scenario, Vec<Error>), Error> {
    let source = load(path)?;
    let folder = Path::new(path).parent().unwrap_or(Path::new("."));
    examine(path, &source, |name| {
        let file = folder.join(name);
        text(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))
    })
}

#[allow(clippy::disallowed_methods, reason = "scenarios are read before any world begins")]
fn text(file: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(file)
}

/// Reads a scenario from its text, as [`examine_file`] does.
///
/// # Errors
/// As of [`read_file`].
pub fn examine(
    file: &str,
    source: &str,
    load: impl Fn(&str) -> Result<String, String>,
) -> Result<(Scenario, Vec<Error>), Error> {
    let scenario = read(file, source, load)?;
    let mut doubts = Vec::new();
    for Vain {
        entry,
        word,
        why,
        certain,
    } in vain::find(&scenario)
        .into_iter()
        .chain(manifests::find(&scenario))
        .chain(lingering::find(&scenario))
    {
        let error = Error::about_entry(file, source, entry, &word, why);
        if certain {
            return Err(error);
        }
        doubts.push(error);
    }
    Ok((scenario, doubts))
}

fn load(path: &str) -> Result<String, Error> {
    text(Path::new(path)).map_err(|error| Error::of(path, format!("cannot read the scenario: {error}")))
}

/// Reads a scenario from its text; `load` finds the manifests it names. What it asks for may be nonsense.
pub fn read(file: &str, source: &str, load: impl Fn(&str) -> Result<String, String>) -> Result<Scenario, Error> {
    let mut scenario: Scenario = serde_yaml::from_str(source).map_err(|error| Error::of_yaml(file, source, &error))?;
    for step in &mut scenario.workload {
        let StepAction::Apply(manifest) = &mut step.action else {
            continue;
        };
        match manifest {
            Manifest::File(name) => {
                let wrong = |message: String| Error::about(file, source, name, message);
                let inside = |message: String| wrong(format!("in {name}: {message}"));
                let objects = documents(&load(name).map_err(wrong)?).map_err(inside)?;
                for object in &objects {
                    check_object(object).map_err(|(_, message)| inside(message))?;
                }
                *manifest = Manifest::Inline(objects);
            }
            Manifest::Inline(objects) => {
                for object in objects {
                    check_object(object).map_err(|(word, message)| Error::about(file, source, &word, message))?;
                }
            }
        }
    }
    check(&scenario).map_err(|(word, message)| Error::about(file, source, &word, message))?;
    Ok(scenario)
}

/// What is wrong with an object to apply: the word it is about, and why.
fn check_object(object: &Value) -> Result<(), (String, String)> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    for path in ["/apiVersion", "/kind", "/metadata/name"] {
        if text(path).is_empty() {
            let why = format!("an object to apply has no {}", path[1..].replace('/', "."));
            return Err(("apply".to_owned(), why));
        }
    }
    let kind = text("/kind");
    served::check_object(text("/apiVersion"), kind).map_err(|why| (kind.to_owned(), why))
}

/// What is wrong beyond the types: the word it is about, and why.
fn check(scenario: &Scenario) -> Result<(), (String, String)> {
    let topology = &scenario.topology;
    for (key, count) in [
        ("apiservers", topology.apiservers),
        ("schedulers", topology.schedulers),
        ("controllerManagers", topology.controller_managers),
    ] {
        if !(1..=5).contains(&count) {
            return Err((key.to_owned(), format!("{key}: {count}: there must be 1 to 5")));
        }
    }
    for (name, count) in &topology.components {
        known_component(name)?;
        if *count > 5 {
            return Err((name.clone(), format!("{name}: {count}: there must be 0 to 5")));
        }
    }
    topology.check()?;
    let control_planes = topology.control_planes();
    let mut names: Vec<&str> = control_planes.iter().map(String::as_str).collect();
    for node in &topology.nodes {
        if names.contains(&node.name.as_str()) {
            return Err((node.name.clone(), format!("two machines are called {:?}", node.name)));
        }
        names.push(&node.name);
    }
    let workers = &names[control_planes.len()..];
    let mut all: Vec<Whom<'_>> = scenario.faults.iter().map(|fault| fault.action.whom()).collect();
    all.extend(scenario.triggers().map(Trigger::whom));
    for whom in all {
        for node in whom.nodes {
            if let NodeTarget::Named(name) = node {
                known(name, &names)?;
            }
        }
        for component in whom.components {
            if let Some(instance) = &component.instance
                && matches!(component.role, Role::Kubelet | Role::Proxy)
            {
                known(instance, workers)?;
            }
        }
    }
    for step in &scenario.workload {
        for node in step.action.whom().nodes {
            if let NodeTarget::Named(name) = node {
                known(name, workers)?;
            }
        }
    }
    if let Heal::AllBut(machines) = &scenario.heal {
        for name in machines {
            if *name == control_planes[0] {
                let why = format!("{name} has the store: it is always healed");
                return Err((name.clone(), why));
            }
            known(name, &names[1..])?;
        }
    }
    for entry in &scenario.expect.state {
        for object in entry.keys() {
            object_pattern(object).map_err(|why| (object.clone(), why))?;
        }
    }
    if scenario.expect.compares_ends() {
        check_ends(scenario)?;
    }
    Ok(())
}

/// What a cluster holds in the end has to be a function of the scenario, for its runs to be compared.
fn check_ends(scenario: &Scenario) -> Result<(), (String, String)> {
    let refuse = |word: &str, why: &str| {
        let why = format!("the end is compared with that of runs without faults, so {why}");
        Err((word.to_owned(), why))
    };
    if scenario.heal != Heal::All {
        return refuse("expect", "everything has to be healed: `heal: all`");
    }
    drawn_step(scenario).map_or(Ok(()), |step| {
        refuse(step, "what users do, and when, may not be drawn by the seed")
    })
}

/// A step of which the seed draws what it is, or when; if there is none, users ask for the same in each run.
pub fn drawn_step(scenario: &Scenario) -> Option<&'static str> {
    let drawn = scenario.workload.iter().find(|step| {
        let draws = match &step.action {
            StepAction::Churn(_) => true,
            StepAction::DeletePod(pod) => pod.nth.is_none(),
            StepAction::LabelPod(pod) => pod.nth.is_none(),
            action => action.whom().nodes.contains(&&NodeTarget::Any),
        };
        draws || matches!(step.moment, Moment::Between(_))
    });
    drawn.map(|step| step.action.key())
}

/// A component of a user's own has to be in the program that reads the scenario.
fn known_component(name: &str) -> Result<(), (String, String)> {
    let known: Vec<&str> = vocabulary().components.iter().map(|own| own.name).collect();
    if known.contains(&name) {
        return Ok(());
    }
    let hint = match known.as_slice() {
        [] => ": it has none of a user's own".to_owned(),
        known => nearest::hint(name, known),
    };
    Err((name.to_owned(), format!("this program has no component {name:?}{hint}")))
}

fn known(name: &str, names: &[&str]) -> Result<(), (String, String)> {
    if names.contains(&name) {
        return Ok(());
    }
    Err((
        name.to_owned(),
        format!("no machine {name:?}{}", nearest::hint(name, names)),
    ))
}
