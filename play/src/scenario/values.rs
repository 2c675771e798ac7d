//! Values that can be read and that no world can do anything with: less than nothing, none at all, names that no server
//! takes.

use orrery_api::names;
use orrery_api::quantity::Quantity;

use super::place::{Part, Wrong, inside};
use super::topology::check_effect;
use super::{ImageScript, NodeSpec, Scenario, Topology};

/// The first of them. What faults and steps say is judged when they are read.
pub fn check(scenario: &Scenario) -> Result<(), Wrong> {
    if scenario.name.is_empty() {
        let why = "the name is empty: reports call the scenario by it";
        return Err(inside(&[Part::Key("name")])((String::new(), why.to_owned())));
    }
    if scenario.duration.is_zero() {
        let why = "`duration` is how long the chaos lasts: more than nothing";
        return Err(inside(&[Part::Key("duration")])((String::new(), why.to_owned())));
    }
    for (name, script) in &scenario.images {
        check_image(script).map_err(|(word, why)| Wrong {
            path: vec![Part::Key("images")],
            words: vec![name.clone(), word.to_owned()],
            why: format!("{name}: {why}"),
        })?;
    }
    check_topology(&scenario.topology)
}

fn check_image(script: &ImageScript) -> Result<(), (&'static str, String)> {
    if let Some(code) = script.exit.filter(|code| !(0..=255).contains(code)) {
        return Err((
            "exit",
            format!("a container ends with a code from 0 to 255, not {code}"),
        ));
    }
    if script.listen.contains(&0) {
        return Err(("listen", "nothing listens on port 0".to_owned()));
    }
    Ok(())
}

fn check_topology(topology: &Topology) -> Result<(), Wrong> {
    let here = Part::Key("topology");
    let nothing = |key: &str| {
        let why = format!("{key}: 0: there must be at least 1");
        Err(inside(&[here])((key.to_owned(), why)))
    };
    if topology.zones == 0 {
        return nothing("zones");
    }
    if topology.store.segment == Some(0) {
        return nothing("segment");
    }
    if topology.store.snapshot == Some(0) {
        return nothing("snapshot");
    }
    check_amounts(&topology.node).map_err(inside(&[here, Part::Key("node")]))?;
    for (index, node) in topology.nodes.iter().enumerate() {
        check_node(node).map_err(inside(&[here, Part::Key("nodes"), Part::Index(index)]))?;
    }
    Ok(())
}

/// A kubelet whose node is refused would try for ever to register it.
fn check_node(node: &NodeSpec) -> Result<(), (String, String)> {
    if let Some(wrong) = names::dns1123_subdomain(&node.name).first() {
        return Err((node.name.clone(), format!("the node {:?}: {wrong}", node.name)));
    }
    check_amounts(&node.capacity)?;
    if let Some(zone) = &node.zone
        && let Some(wrong) = names::label_value(zone).first()
    {
        return Err((zone.clone(), format!("the zone {zone:?}: {wrong}")));
    }
    for (key, value) in &node.labels {
        check_label(key, Some(value))?;
    }
    let mut taints = node.taints.iter();
    taints.try_for_each(|taint| check_taint(&taint.key, taint.value.as_deref(), &taint.effect))
}

/// Whether objects can have this label: the word that is wrong, and why.
pub fn check_label(key: &str, value: Option<&str>) -> Result<(), (String, String)> {
    if let Some(wrong) = names::qualified_name(key).first() {
        return Err((key.to_owned(), format!("the key {key:?}: {wrong}")));
    }
    match value.map(|value| (value, names::label_value(value))) {
        Some((value, wrong)) if !wrong.is_empty() => {
            Err((value.to_owned(), format!("the value {value:?}: {}", wrong[0])))
        }
        _ => Ok(()),
    }
}

/// Whether a node can have this taint: the word that is wrong, and why.
pub fn check_taint(key: &str, value: Option<&str>, effect: &str) -> Result<(), (String, String)> {
    check_label(key, value)?;
    check_effect(effect).map_err(|why| (effect.to_owned(), why))
}

/// Whether a machine can have so much.
fn check_amounts(amounts: &std::collections::BTreeMap<String, String>) -> Result<(), (String, String)> {
    for (resource, amount) in amounts {
        let why = match Quantity::parse(amount).map(Quantity::nanos) {
            Err(_) => "is no quantity: write it like \"4\", 500m or 8Gi",
            Ok(nanos) if nanos < 0 => "is less than nothing",
            // Only processors can be had by parts.
            Ok(nanos) if resource != "cpu" && nanos % 1_000_000_000 != 0 => "is no whole number",
            Ok(_) => continue,
        };
        return Err((amount.clone(), format!("{resource}: {amount:?} {why}")));
    }
    Ok(())
}
