//! A partition: a machine is cut off from all others for a while, both ways or one.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::crash::stall_clients;
use super::machine;
use super::swarm::Lot;
use crate::link::Cut;
use crate::scenario::{Direction, FaultAction, NodeTarget, PartitionSpec};
use crate::world::World;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> PartitionSpec {
    let directions = [Direction::Both, Direction::Both, Direction::In, Direction::Out];
    let direction = *lot.random.choose(&directions).unwrap_or(&Direction::Both);
    PartitionSpec {
        node: lot.any_machine(if lot.has_several_servers() { 0.3 } else { 0.0 }),
        direction,
        lasts: lot.lasts(),
    }
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &PartitionSpec, random: &Random, struck: impl FnOnce(FaultAction)) {
    let Some(name) = machine(world, &spec.node, random) else {
        return;
    };
    let lasts = spec.lasts.draw(random);
    let out = matches!(spec.direction, Direction::Both | Direction::Out);
    let inward = matches!(spec.direction, Direction::Both | Direction::In);
    struck(FaultAction::Partition(PartitionSpec {
        node: NodeTarget::Named(name.clone()),
        direction: spec.direction,
        lasts: lasts.into(),
    }));
    world.coverage.saw("a partition opened");
    world.trace.event(
        world.now(),
        "fault",
        format_args!("{name} is cut off ({:?}) for {lasts:?}", spec.direction),
    );
    if world.is_control_plane(&name) && world.api_servers().len() > 1 {
        // Its server's clients elsewhere wait for it, and it waits for the store.
        stall_clients(world, lasts);
    }
    let number = world.network.cut(Cut {
        off: vec![name.clone()],
        from: None,
        out,
        inward,
    });
    sleep(lasts).await;
    world.network.mend(number);
    world
        .trace
        .event(world.now(), "fault", format_args!("{name} is connected again"));
}
