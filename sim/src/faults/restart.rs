//! A restart: a component is killed and started again at once. A kubelet's containers go on meanwhile.

use std::sync::Arc;
use std::time::Duration;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::crash::stall_clients;
use super::swarm::Lot;
use super::{Striking, only, process, trace};
use crate::scenario::{CrashSpec, FaultAction, RestartSpec, Role};
use crate::world::World;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> RestartSpec {
    RestartSpec(lot.any_component())
}

/// See the module.
pub async fn strike(world: &Arc<World>, RestartSpec(target): &RestartSpec, random: &Random, striking: Striking<'_>) {
    let Some(name) = process(world, target, random) else {
        return;
    };
    let pause = random.duration(Duration::from_millis(50), Duration::from_secs(2));
    // A restart is a crash that is short.
    striking.strikes(FaultAction::Crash(CrashSpec {
        node: None,
        component: only(&name),
        after_writes: None,
        lasts: pause.into(),
    }));
    trace(world, format_args!("{name} restarts"));
    if matches!(target.role, Role::ApiServer | Role::Store) {
        stall_clients(world, pause);
    }
    world.kill(&name);
    sleep(pause).await;
    world.start(&name);
}
