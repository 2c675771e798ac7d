//! A reconnection: a component goes on at another API server than its own, which may lag behind what it has seen.

use std::sync::Arc;
use std::time::Duration;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::{Striking, only, process, trace};
use crate::scenario::{FaultAction, ReconnectSpec};
use crate::world::World;

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &ReconnectSpec, random: &Random, striking: Striking<'_>) {
    let to = spec.to.to_string();
    let Some(server) = world.api_servers().iter().position(|place| place.name == to) else {
        return;
    };
    let Some(name) = process(world, &spec.component, random) else {
        return;
    };
    if !spec.restart && !world.connections.move_to(&name, server) {
        return;
    }
    striking.strikes(FaultAction::Reconnect(ReconnectSpec {
        component: only(&name).unwrap_or_else(|| spec.component.clone()),
        ..spec.clone()
    }));
    world.coverage.saw("a component was moved to another API server");
    trace(world, format_args!("{name} is connected to {to}"));
    if spec.restart {
        let pause = random.duration(Duration::from_millis(50), Duration::from_secs(2));
        world.connections.steer(&name, server);
        world.kill(&name);
        sleep(pause).await;
        world.start(&name);
    }
}
