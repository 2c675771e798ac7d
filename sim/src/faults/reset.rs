//! A reset: all connections of a machine or a process break now, with their requests and watches; new ones can be made
//! at once.

use std::sync::Arc;

use orrery_api::random::Random;

use super::swarm::Lot;
use super::{Striking, machine, only, process, trace};
use crate::scenario::{FaultAction, NodeTarget, ResetSpec};
use crate::world::World;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> ResetSpec {
    let component = lot.random.chance(0.5).then(|| lot.any_component());
    ResetSpec {
        node: component.is_none().then(|| lot.any_machine(0.3)),
        component,
    }
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &ResetSpec, random: &Random, striking: Striking<'_>) {
    let (mut node, mut component) = (None, None);
    let name = if let Some(target) = &spec.node {
        let name = machine(world, target, random);
        node = name.clone().map(NodeTarget::Named);
        name
    } else if let Some(target) = &spec.component {
        let name = process(world, target, random);
        component = name.as_deref().and_then(only);
        name
    } else {
        None
    };
    let Some(name) = name else { return };
    striking.strikes(FaultAction::Reset(ResetSpec { node, component }));
    world.coverage.saw("connections were reset");
    let count = world.network.reset(|connection| connection.ends_at(&name));
    trace(world, format_args!("the {count} connections of {name} are reset"));
}
