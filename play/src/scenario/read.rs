//! Reads scenarios from files, and checks what their types alone cannot.

use std::path::Path;

use serde_json::Value;

use super::applied;
use super::call::object_pattern;
use super::error::Error;
use super::lingering;
use super::manifests;
use super::nearest;
use super::place::{Part, Wrong, inside};
use super::served;
use super::vain::{self, Vain};
use super::values;
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
    let (scenario, doubts) = examine(path, &source, |name| {
        let file = folder.join(name);
        text(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))
    })?;
    applied::check(&scenario).map_err(|wrong| Error::about(path, &source, wrong))?;
    Ok((scenario, doubts))
}

#[allow(clippy::disallowed_methods, reason = "scenarios are read before any world begins")]
fn text(file: &Path) -> std::io::Result<String> {
    let text = std::fs::read_to_string(file)?;
    // Some editors begin a file with a mark of its encoding, which is none of its text.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Reads a scenario from its text, as [`examine_file`] does, but passes no judgement on the objects that are applied.
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
    let about = |wrong: Wrong| Error::about(file, source, wrong);
    for (index, step) in scenario.workload.iter_mut().enumerate() {
        let entry = [Part::Key("workload"), Part::Index(index)];
        let StepAction::Apply(manifest) = &mut step.action else {
            if let Some((keys, object)) = step.action.sent() {
                let place = [entry.as_slice(), keys].concat();
                check_object(object).map_err(inside(&place)).map_err(about)?;
            }
            continue;
        };
        match manifest {
            Manifest::File(name) => {
                let wrong = |message: String| about(inside(&entry)((name.clone(), message)));
                let within = |message: String| wrong(format!("in {name}: {message}"));
                let objects = documents(&load(name).map_err(wrong)?).map_err(within)?;
                for object in &objects {
                    check_object(object).map_err(|(_, message)| within(message))?;
                }
                *manifest = Manifest::Inline(objects);
            }
            Manifest::Inline(objects) => {
                for (number, object) in objects.iter().enumerate() {
                    let place = [entry.as_slice(), &[Part::Key("apply"), Part::Index(number)]].concat();
                    check_object(object).map_err(inside(&place)).map_err(about)?;
                }
            }
        }
    }
    check(&scenario).map_err(about)?;
    Ok(scenario)
}

/// What is wrong with an object to apply: the word it is about, and why.
fn check_object(object: &Value) -> Result<(), (String, String)> {
    if let Some(file) = object.as_str() {
        let why = format!("{file:?} is no object to apply: a file is applied by a step of its own (`apply: {file}`)");
        return Err((file.to_owned(), why));
    }
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    for path in ["/apiVersion", "/kind", "/metadata/name"] {
        if text(path).is_empty() {
            let field = path[1..].replace('/', ".");
            let why = format!("an object to apply has no {field}");
            return Err((field.split('.').next().unwrap_or_default().to_owned(), why));
        }
    }
    let kind = text("/kind");
    served::check_object(text("/apiVersion"), kind).map_err(|why| (kind.to_owned(), why))
}

/// What is wrong beyond the types.
fn check(scenario: &Scenario) -> Result<(), Wrong> {
    let topology = &scenario.topology;
    let in_topology = [Part::Key("topology")];
    for (key, count) in [
        ("apiservers", topology.apiservers),
        ("schedulers", topology.schedulers),
        ("controllerManagers", topology.controller_managers),
    ] {
        if !(1..=5).contains(&count) {
            let why = format!("{key}: {count}: there must be 1 to 5");
            return Err(inside(&in_topology)((key.to_owned(), why)));
        }
    }
    for (name, count) in &topology.components {
        let place = [Part::Key("topology"), Part::Key("components")];
        known_component(name).map_err(inside(&place))?;
        if *count > 5 {
            let why = format!("{name}: {count}: there must be 0 to 5");
            return Err(inside(&place)((name.clone(), why)));
        }
    }
    values::check(scenario)?;
    let control_planes = topology.control_planes();
    let mut names: Vec<&str> = control_planes.iter().map(String::as_str).collect();
    for (index, node) in topology.nodes.iter().enumerate() {
        if names.contains(&node.name.as_str()) {
            let place = [Part::Key("topology"), Part::Key("nodes"), Part::Index(index)];
            let why = format!("two machines are called {:?}", node.name);
            return Err(inside(&place)((node.name.clone(), why)));
        }
        names.push(&node.name);
    }
    let workers = &names[control_planes.len()..];
    let mut all: Vec<(Part, usize, Whom<'_>)> = Vec::new();
    for (index, fault) in scenario.faults.iter().enumerate() {
        let until = fault.action.until();
        let triggers = fault.moment.trigger().into_iter().chain(until).map(Trigger::whom);
        let whom = std::iter::once(fault.action.whom()).chain(triggers);
        all.extend(whom.map(|whom| (Part::Key("faults"), index, whom)));
    }
    for (index, step) in scenario.workload.iter().enumerate() {
        let trigger = step.moment.trigger().map(Trigger::whom);
        // Its nodes are workers, which is looked at below.
        let own = Whom {
            components: step.action.whom().components,
            ..Whom::default()
        };
        let whom = trigger.into_iter().chain([own]);
        all.extend(whom.map(|whom| (Part::Key("workload"), index, whom)));
    }
    for (list, index, whom) in all {
        let place = [list, Part::Index(index)];
        for node in whom.nodes {
            if let NodeTarget::Named(name) = node {
                known(name, &names).map_err(inside(&place))?;
            }
        }
        for component in whom.components {
            if let Some(instance) = &component.instance
                && matches!(component.role, Role::Kubelet | Role::Proxy)
            {
                known(instance, workers).map_err(inside(&place))?;
            }
        }
    }
    for (index, step) in scenario.workload.iter().enumerate() {
        for node in step.action.whom().nodes {
            if let NodeTarget::Named(name) = node {
                known(name, workers).map_err(inside(&[Part::Key("workload"), Part::Index(index)]))?;
            }
        }
    }
    if let Heal::AllBut(machines) = &scenario.heal {
        let place = [Part::Key("heal")];
        for name in machines {
            if *name == control_planes[0] {
                let why = format!("{name} has the store: it is always healed");
                return Err(inside(&place)((name.clone(), why)));
            }
            known(name, &names[1..]).map_err(inside(&place))?;
        }
    }
    for (index, entry) in scenario.expect.state.iter().enumerate() {
        let place = [Part::Key("expect"), Part::Key("state"), Part::Index(index)];
        for object in entry.keys() {
            let wrong = object_pattern(object).map_err(|why| (object.clone(), why));
            wrong.map_err(inside(&place))?;
        }
    }
    if scenario.expect.compares_ends() {
        check_ends(scenario)?;
    }
    Ok(())
}

/// What a cluster holds in the end has to be a function of the scenario, for its runs to be compared.
fn check_ends(scenario: &Scenario) -> Result<(), Wrong> {
    let refuse = |path: &[Part], word: &str, why: &str| {
        let why = format!("the end is compared with that of runs without faults, so {why}");
        Err(inside(path)((word.to_owned(), why)))
    };
    if scenario.heal != Heal::All {
        let why = "everything has to be healed: `heal: all`";
        return refuse(&[Part::Word("expect")], "expect", why);
    }
    drawn(scenario).map_or(Ok(()), |(index, key)| {
        let why = "what users do, and when, may not be drawn by the seed";
        refuse(&[Part::Key("workload"), Part::Index(index)], key, why)
    })
}

/// A step of which the seed draws what it is, or when; if there is none, users ask for the same in each run.
pub fn drawn_step(scenario: &Scenario) -> Option<&'static str> {
    drawn(scenario).map(|(_, key)| key)
}

/// Such a step's number, and its key.
fn drawn(scenario: &Scenario) -> Option<(usize, &'static str)> {
    let mut steps = scenario.workload.iter().enumerate();
    let drawn = steps.find(|(_, step)| {
        let draws = match &step.action {
            StepAction::Churn(_) => true,
            StepAction::DeletePod(pod) => pod.nth.is_none(),
            StepAction::LabelPod(pod) => pod.nth.is_none(),
            action => action.whom().nodes.contains(&&NodeTarget::Any),
        };
        draws || matches!(step.moment, Moment::Between(_))
    });
    drawn.map(|(index, step)| (index, step.action.key()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "no world is there yet")]
    fn a_mark_at_the_beginning_of_a_file_is_none_of_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        let text = "\u{feff}name: a\nduration: 1s\nworkload: [{ at: 1s, apply: b.yaml }]\n";
        std::fs::write(&path, text).unwrap();
        let manifest = "\u{feff}apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\n";
        std::fs::write(folder.path().join("b.yaml"), manifest).unwrap();
        assert_eq!(read_file(path.to_str().unwrap()).unwrap().name, "a");
    }
}
