//! Watches that break, stay away for a while, and perhaps cannot be resumed but by a new list, which hides single
//! events.

use std::sync::Arc;
use std::time::Duration;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::swarm::Lot;
use super::{Striking, only, process, trace};
use crate::link::Gate;
use crate::scenario::{DropWatchesSpec, FaultAction};
use crate::world::World;

/// What the swarm drops: all watches, or those of one resource.
const RESOURCES: [Option<&str>; 6] = [
    None,
    Some("pods"),
    Some("nodes"),
    Some("replicasets"),
    Some("endpointslices"),
    Some("services"),
];

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> DropWatchesSpec {
    DropWatchesSpec {
        client: lot.any_client(),
        resource: lot.random.choose(&RESOURCES).copied().flatten().map(str::to_owned),
        relist: lot.random.chance(0.7),
        lasts: lot.random.chance(0.7).then(|| lot.lasts()),
    }
}

/// See the module. It befalls the watches that break, and those that are refused afterwards.
pub async fn strike(world: &Arc<World>, spec: &DropWatchesSpec, random: &Random, striking: Striking<'_>) {
    let Some(name) = process(world, &spec.client, random) else {
        return;
    };
    let Some(client) = only(&name) else { return };
    let lasts = spec.lasts.as_ref().map(|lasts| lasts.draw(random));
    let pinned = FaultAction::DropWatches(DropWatchesSpec {
        client: client.clone(),
        lasts: lasts.map(Into::into),
        ..spec.clone()
    });
    let victims = match lasts {
        Some(_) => striking.begins(pinned),
        None => striking.begins_with_first(pinned, |_| {}),
    };
    let gate = Gate {
        client,
        resource: spec.resource.clone(),
        until: world.now() + lasts.unwrap_or_default(),
        relist: spec.relist,
        victims,
    };
    let count = world.network.close_gate(gate, world.now());
    if count > 0 {
        world.coverage.saw("watches were dropped");
    } else if lasts.is_none() {
        return;
    }
    let lasts = lasts.unwrap_or_default();
    // Who is refused tries again after a pause.
    world.stall(spec.client.role, lasts + Duration::from_secs(10));
    let what = spec.resource.as_deref().unwrap_or("anything");
    let forgotten = if spec.relist {
        ", and what they had seen is forgotten"
    } else {
        ""
    };
    trace(
        world,
        format_args!("{count} watches of {what} by {name} break for {lasts:?}{forgotten}"),
    );
    sleep(lasts).await;
}
