//! Packets: the next changes of a node's rules fail, the first of them half-way.

use std::sync::Arc;

use orrery_api::random::Random;

use super::swarm::Lot;
use super::{machine, trace};
use crate::netfilter::Half;
use crate::scenario::{FaultAction, HalfApplied, NodeTarget, PacketsSpec};
use crate::world::World;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> PacketsSpec {
    PacketsSpec {
        node: NodeTarget::Any,
        times: lot.random.between(1, 5) as u32,
        half: None,
    }
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &PacketsSpec, random: &Random, struck: impl FnOnce(FaultAction)) {
    let Some(name) = machine(world, &spec.node, random) else {
        return;
    };
    let Some(worker) = world.machine(&name).and_then(|machine| machine.worker.as_ref()) else {
        return;
    };
    let choices = [HalfApplied::None, HalfApplied::Nat, HalfApplied::Filter];
    let half = spec
        .half
        .or(random.choose(&choices).copied())
        .unwrap_or(HalfApplied::None);
    struck(FaultAction::Packets(PacketsSpec {
        node: NodeTarget::Named(name.clone()),
        times: spec.times,
        half: Some(half),
    }));
    trace(
        world,
        format_args!(
            "the next {} changes of the rules of {name} fail, and one by half: {half:?}",
            spec.times
        ),
    );
    worker.filter.fail_applies(spec.times);
    match half {
        HalfApplied::None => {}
        HalfApplied::Nat => worker.filter.half_apply_next(Half::Nat),
        HalfApplied::Filter => worker.filter.half_apply_next(Half::Filter),
    }
}
