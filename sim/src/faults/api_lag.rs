//! A watch cache that lags: what an API server's watches and old lists show is late, while it reads and writes the store.

use std::sync::Arc;
use std::time::Duration;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::crash::stall_clients;
use super::process;
use crate::feed::ApiLag;
use crate::scenario::{ApiLagSpec, LagScope};
use crate::world::World;

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &ApiLagSpec, random: &Random, struck: impl FnOnce()) {
    let Some(server) = process(world, &spec.server, random) else {
        return;
    };
    let lasts = spec.lasts.draw(random);
    let by = spec.by.as_ref().map(|by| by.draw(random));
    struck();
    world.coverage.saw("an API server lagged");
    let what = match &spec.scope {
        LagScope::Everything => "what",
        LagScope::Resource(what) | LagScope::Object(what) => what,
    };
    match by {
        Some(by) => world.trace.event(
            world.now(),
            "fault",
            format_args!("{what} {server} watches is {by:?} late, for {lasts:?}"),
        ),
        None => world.trace.event(
            world.now(),
            "fault",
            format_args!("{what} {server} watches stands still for {lasts:?}"),
        ),
    }
    stall_clients(world, lasts + by.unwrap_or(Duration::ZERO));
    world.lags.begin(ApiLag {
        server,
        scope: spec.scope.clone(),
        by,
        until: world.now() + lasts,
    });
    sleep(lasts).await;
}
