//! Which processes a world has, as far as its scenario tells.

use super::nearest;
use super::target::{ComponentTarget, Role};
use super::topology::Topology;
use crate::vocabulary::vocabulary;

/// What tells the processes of a component apart: numbers of twins, names of nodes.
fn instances(topology: &Topology, role: Role) -> Vec<String> {
    let numbered = |count: u32| (1..=count).map(|number| number.to_string()).collect();
    match role {
        Role::ApiServer => numbered(topology.apiservers),
        Role::Scheduler => numbered(topology.schedulers),
        Role::ControllerManager => numbered(topology.controller_managers),
        Role::Kubelet | Role::Proxy => topology.nodes.iter().map(|node| node.name.clone()).collect(),
        // The only API server has it in its own process.
        Role::Store => numbered(u32::from(topology.apiservers > 1)),
        Role::Custom(name) => numbered(vocabulary().component(name).map_or(0, |own| topology.replicas(own))),
    }
}

/// Why no process is meant by a target, if there is none.
pub fn no_such_process(topology: &Topology, target: &ComponentTarget) -> Option<String> {
    let role = target.role;
    let instances = instances(topology, role);
    if instances.is_empty() {
        return Some(match role {
            Role::Store => {
                "the store has no process of its own with one API server: `topology: { apiservers: 2 }` gives it one"
                    .to_owned()
            }
            role => format!("there is no {role} in this topology"),
        });
    }
    let wanted = target.instance.as_ref()?;
    if instances.contains(wanted) {
        return None;
    }
    let known: Vec<String> = instances.iter().map(|own| format!("{role}/{own}")).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let wanted = target.to_string();
    Some(format!("no process {wanted:?}{}", nearest::hint(&wanted, &known)))
}

/// Why the leader of a component cannot lose its lease to a twin, if it has none.
pub fn nobody_to_hand_over_to(topology: &Topology, role: Role) -> Option<String> {
    if instances(topology, role).len() > 1 {
        return None;
    }
    let more = match role {
        Role::Scheduler => "schedulers: 2".to_owned(),
        Role::ControllerManager => "controllerManagers: 2".to_owned(),
        role => format!("components: {{ {role}: 2 }}"),
    };
    Some(format!(
        "the only {role} has no twin to hand over to: `topology: {{ {more} }}` makes one"
    ))
}
