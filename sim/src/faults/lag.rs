//! Lag: what a component's watches say arrives late, while its requests are answered at once.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::swarm::Lot;
use super::{Striking, trace};
use crate::link::Delay;
use crate::scenario::{FaultAction, LagSpec, Span};
use crate::world::World;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> LagSpec {
    LagSpec {
        client: lot.any_client(),
        by: Span::millis(200, 30_000),
        lasts: lot.lasts(),
    }
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &LagSpec, random: &Random, striking: Striking<'_>) {
    let (by, lasts) = (spec.by.draw(random), spec.lasts.draw(random));
    striking.strikes(FaultAction::Lag(LagSpec {
        client: spec.client.clone(),
        by: by.into(),
        lasts: lasts.into(),
    }));
    world.coverage.saw("watches lagged");
    trace(
        world,
        format_args!("what {} watches is {by:?} late, for {lasts:?}", spec.client),
    );
    world.stall(spec.client.role, lasts + by);
    world.network.lag(Delay {
        of: spec.client.clone(),
        by,
        until: world.now() + lasts,
    });
    sleep(lasts).await;
}
