//! Packets: the next changes of a node's rules fail, the first of them half-way.

use std::sync::Arc;

use orrery_api::random::Random;

use super::machine;
use crate::netfilter::Half;
use crate::scenario::PacketsSpec;
use crate::world::World;

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &PacketsSpec, random: &Random, struck: impl FnOnce()) {
    let Some(name) = machine(world, &spec.node, random) else {
        return;
    };
    let Some(worker) = world.machine(&name).and_then(|machine| machine.worker.as_ref()) else {
        return;
    };
    struck();
    let half = random
        .choose(&[None, Some(Half::Nat), Some(Half::Filter)])
        .copied()
        .flatten();
    world.trace.event(
        world.now(),
        "fault",
        format_args!(
            "the next {} changes of the rules of {name} fail, and one by half: {half:?}",
            spec.times
        ),
    );
    worker.filter.fail_applies(spec.times);
    if let Some(half) = half {
        worker.filter.half_apply_next(half);
    }
}
