//! A pause: a component, or all of a machine, stands still for a while and then goes on as if nothing had happened.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::crash::stall_clients;
use super::swarm::Lot;
use super::{Striking, machine, only, process, trace};
use crate::scenario::{FaultAction, NodeTarget, PauseSpec, Role};
use crate::world::World;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> PauseSpec {
    let component = lot.random.chance(0.7);
    PauseSpec {
        node: (!component).then_some(NodeTarget::Any),
        component: component.then(|| lot.any_component()),
        lasts: lot.lasts(),
        until: None,
    }
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &PauseSpec, random: &Random, striking: Striking<'_>) {
    let drawn = spec.lasts.draw(random);
    let lasts = if spec.until.is_some() {
        world.rest_of_chaos()
    } else {
        drawn
    };
    let (mut node, mut component) = (None, None);
    let paused: Vec<String> = if let Some(target) = &spec.node {
        let Some(name) = machine(world, target, random) else {
            return;
        };
        node = Some(NodeTarget::Named(name.clone()));
        world.process_names(|process| process.machine == name && process.is_running())
    } else if let Some(target) = &spec.component {
        let name = process(world, target, random);
        component = name.as_deref().and_then(only);
        name.into_iter().collect()
    } else {
        Vec::new()
    };
    let paused: Vec<String> = paused.into_iter().filter(|name| world.pause(name)).collect();
    if paused.is_empty() {
        return;
    }
    striking.strikes(FaultAction::Pause(PauseSpec {
        node,
        component,
        lasts: if spec.until.is_some() { spec.lasts } else { drawn.into() },
        until: spec.until.clone(),
    }));
    let began = world.now();
    trace(world, format_args!("{} for {lasts:?}", stands_still(&paused)));
    for role in Role::all() {
        if paused.iter().any(|name| Role::of(name) == Some(role)) {
            world.stall(role, lasts);
            if matches!(role, Role::ApiServer | Role::Store) {
                stall_clients(world, lasts);
            }
        }
    }
    world.witness.change(world, |cluster| {
        paused.iter().for_each(|name| cluster.pause(name, began + lasts));
    });
    match &spec.until {
        Some(trigger) => {
            world.arm(trigger).wait().await;
            Role::all().for_each(|role| world.stall_ends(role, began));
            world.witness.change(world, |cluster| {
                paused.iter().for_each(|name| cluster.pause_ends(name, began));
            });
        }
        None => sleep(lasts).await,
    }
    for name in &paused {
        world.resume(name);
    }
}

/// Who stands still.
fn stands_still(paused: &[String]) -> String {
    let verb = if paused.len() == 1 { "stands" } else { "stand" };
    format!("{} {verb} still", paused.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stands_still_and_several_stand() {
        let names = ["kubelet/node-1".to_owned(), "kube-proxy/node-1".to_owned()];
        assert_eq!(stands_still(&names[..1]), "kubelet/node-1 stands still");
        assert_eq!(stands_still(&names), "kubelet/node-1, kube-proxy/node-1 stand still");
    }
}
