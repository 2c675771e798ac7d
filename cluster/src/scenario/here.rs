//! The one node of a scenario is this machine, whatever the scenario calls it.

use orrery_play::scenario::{Attempt, Manifest, NodeTarget, RefusedSpec, StepAction};
use orrery_play::workload::{named, plural};
use serde_json::Value;

use super::walk;
use crate::place;

/// The node as steps and expectations name it.
pub fn node() -> String {
    format!("Node/{}", place::NAME)
}

/// Whether steps and expectations name a node so.
pub fn is_node(object: &str) -> bool {
    named(object).is_some_and(|(kind, ..)| plural(kind) == "nodes")
}

/// Makes a step about this machine that is about a node.
pub fn step(action: &mut StepAction) {
    let own = || NodeTarget::Named(place::NAME.to_owned());
    match action {
        StepAction::Cordon(spec) | StepAction::Uncordon(spec) => spec.node = own(),
        StepAction::Drain(spec) => spec.node = own(),
        StepAction::Taint(spec) | StepAction::Untaint(spec) => spec.node = own(),
        StepAction::Edit(spec) => object(&mut spec.object),
        StepAction::SetCondition(spec) => object(&mut spec.object),
        StepAction::Delete(spec) => object(&mut spec.object),
        StepAction::AddFinalizer(spec) | StepAction::RemoveFinalizer(spec) => object(&mut spec.object),
        StepAction::Apply(Manifest::Inline(objects)) => objects.iter_mut().for_each(pods),
        StepAction::Replace(spec) => pods(&mut spec.object),
        StepAction::Refused(spec) => refused(spec),
        _ => {}
    }
}

fn refused(spec: &mut RefusedSpec) {
    if let Some(node) = spec.who.as_mut().and_then(|who| who.instance.as_mut()) {
        place::NAME.clone_into(node);
    }
    match &mut spec.request {
        Attempt::Create(object) => pods(object),
        Attempt::Edit(edit) => object(&mut edit.object),
        Attempt::Delete(delete) => object(&mut delete.object),
        Attempt::Get(name) => object(name),
    }
}

fn object(name: &mut String) {
    if is_node(name) {
        *name = node();
    }
}

/// Pods that name their node are of this machine.
fn pods(object: &mut Value) {
    walk::maps(object, &mut |fields| {
        if fields.contains_key("containers")
            && let Some(node) = fields.get_mut("nodeName")
        {
            *node = Value::from(place::NAME);
        }
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_that_name_their_node_are_of_this_machine() {
        let mut objects = json!([
            {"kind": "Pod", "spec": {"nodeName": "node-1", "containers": []}},
            {"kind": "ConfigMap", "data": {"nodeName": "node-1"}},
        ]);
        pods(&mut objects);
        assert_eq!(objects[0]["spec"]["nodeName"], place::NAME);
        assert_eq!(objects[1]["data"]["nodeName"], "node-1");
    }
}
