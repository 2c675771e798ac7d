//! A crash: a machine loses power, or a component is killed, and is back after a while. A component may be left to
//! carry on until so many of its writes have been carried out: then it dies between two of them.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::swarm::Lot;
use super::{Striking, machine, only, process, trace};
use crate::scenario::{CrashSpec, FaultAction, NodeTarget, Role};
use crate::world::World;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> CrashSpec {
    let component = lot.random.chance(0.5);
    let node = (!component).then(|| lot.any_machine(0.2));
    let component = component.then(|| lot.any_component());
    let writes = lot.random.stream("after-writes");
    let writer = component
        .as_ref()
        .is_some_and(|target| !matches!(target.role, Role::ApiServer | Role::Store));
    CrashSpec {
        node,
        component,
        after_writes: (writer && writes.chance(0.4)).then(|| writes.between(1, 10) as u32),
        lasts: lot.lasts(),
    }
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &CrashSpec, random: &Random, striking: Striking<'_>) {
    let lasts = spec.lasts.draw(random);
    if let Some(target) = &spec.node {
        let Some(name) = machine(world, target, random).filter(|name| world.is_up(name)) else {
            return;
        };
        striking.strikes(FaultAction::Crash(CrashSpec {
            node: Some(NodeTarget::Named(name.clone())),
            component: None,
            after_writes: None,
            lasts: lasts.into(),
        }));
        trace(world, format_args!("{name} crashes for {lasts:?}"));
        if world.is_control_plane(&name) {
            stall_clients(world, lasts);
        }
        for role in world.own_components_on(std::slice::from_ref(&name)) {
            world.stall(role, lasts);
        }
        world.crash_machine(&name);
        sleep(lasts).await;
        world.boot_machine(&name);
    } else if let Some(target) = &spec.component {
        let Some(name) = process(world, target, random) else {
            return;
        };
        if let Some(writes) = spec.after_writes {
            world.network.fates.doom(&name, writes).notified().await;
        }
        striking.strikes(FaultAction::Crash(CrashSpec {
            node: None,
            component: only(&name),
            after_writes: spec.after_writes,
            lasts: lasts.into(),
        }));
        trace(world, format_args!("{name} crashes for {lasts:?}"));
        if matches!(target.role, Role::ApiServer | Role::Store) {
            stall_clients(world, lasts);
        }
        world.kill(&name);
        world.network.fates.spare(&name);
        sleep(lasts).await;
        world.start(&name);
    }
}

/// Without an API server nobody learns anything.
pub fn stall_clients(world: &World, lasts: std::time::Duration) {
    for role in Role::all() {
        world.stall(role, lasts);
    }
}
