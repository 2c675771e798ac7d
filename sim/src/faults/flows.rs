//! Flows: what a node's connection tracking remembers lingers, and the next requests to forget some of it fail.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::swarm::Lot;
use super::{Striking, machine, trace};
use crate::scenario::{FaultAction, FlowsSpec, NodeTarget};
use crate::world::World;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> FlowsSpec {
    FlowsSpec {
        node: NodeTarget::Any,
        times: lot.random.between(1, 5) as u32,
        lasts: lot.lasts(),
    }
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &FlowsSpec, random: &Random, striking: Striking<'_>) {
    let Some(name) = machine(world, &spec.node, random) else {
        return;
    };
    let Some(worker) = world.machine(&name).and_then(|machine| machine.worker.as_ref()) else {
        return;
    };
    let lasts = spec.lasts.draw(random);
    let victims = striking.begins(FaultAction::Flows(FlowsSpec {
        node: NodeTarget::Named(name.clone()),
        times: spec.times,
        lasts: lasts.into(),
    }));
    trace(
        world,
        format_args!(
            "the flows of {name} linger for {lasts:?}, and {} requests to forget some fail",
            spec.times
        ),
    );
    let failing = worker.filter.fail_flushes(spec.times, victims.clone());
    let number = worker.filter.linger(victims);
    sleep(lasts).await;
    worker.filter.end_linger(number);
    worker.filter.end_failing_flushes(&failing);
}
