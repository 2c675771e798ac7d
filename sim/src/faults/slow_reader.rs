//! A slow reader: what a client watches waits for it, until its server gives it up.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::swarm::Lot;
use super::{Striking, only, process, trace};
use crate::link::Delay;
use crate::scenario::{FaultAction, SlowReaderSpec, Span};
use crate::world::World;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> SlowReaderSpec {
    SlowReaderSpec {
        client: lot.any_client(),
        by: Span::millis(100, 20_000),
        lasts: lot.lasts(),
    }
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &SlowReaderSpec, random: &Random, striking: Striking<'_>) {
    let Some(name) = process(world, &spec.client, random) else {
        return;
    };
    let Some(client) = only(&name) else { return };
    let (by, lasts) = (spec.by.draw(random), spec.lasts.draw(random));
    striking.strikes(FaultAction::SlowReader(SlowReaderSpec {
        client: client.clone(),
        by: by.into(),
        lasts: lasts.into(),
    }));
    world.coverage.saw("a client read slowly");
    trace(
        world,
        format_args!("{name} takes {by:?} to read each message of a watch, for {lasts:?}"),
    );
    world.stall(spec.client.role, lasts + by);
    world.network.slow_reader(Delay {
        of: client,
        by,
        until: world.now() + lasts,
    });
    sleep(lasts).await;
}
