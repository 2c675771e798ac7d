//! A restart: a component is killed and started again at once. A kubelet's containers go on meanwhile.

use std::sync::Arc;
use std::time::Duration;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::crash::stall_clients;
use super::process;
use crate::scenario::{ComponentTarget, Role};
use crate::world::World;

/// See the module.
pub async fn strike(world: &Arc<World>, target: &ComponentTarget, random: &Random, struck: impl FnOnce()) {
    let Some(name) = process(world, target, random) else {
        return;
    };
    struck();
    world.trace.event(world.now(), "fault", format_args!("{name} restarts"));
    let pause = random.duration(Duration::from_millis(50), Duration::from_secs(2));
    if matches!(target.role, Role::ApiServer | Role::Store) {
        stall_clients(world, pause);
    }
    world.kill(&name);
    sleep(pause).await;
    world.start(&name);
}
