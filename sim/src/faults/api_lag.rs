//! A watch cache that lags: what an API server's watches and old lists show is late, while it reads and writes the
//! store.

use std::sync::Arc;
use std::time::Duration;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::crash::stall_clients;
use super::swarm::Lot;
use super::{Striking, only, process, trace};
use crate::feed::ApiLag;
use crate::scenario::{ApiLagSpec, ComponentTarget, FaultAction, LagScope, Role, Span};
use crate::world::World;

/// What lags when a watch cache does: all of it, or one resource.
const LAGGARDS: [Option<&str>; 8] = [
    None,
    None,
    Some("pods"),
    Some("pods"),
    Some("nodes"),
    Some("replicasets"),
    Some("deployments"),
    Some("endpointslices"),
];

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> ApiLagSpec {
    let resource = lot.random.choose(&LAGGARDS).copied().flatten();
    ApiLagSpec {
        server: ComponentTarget {
            role: Role::ApiServer,
            instance: None,
        },
        scope: resource.map_or(LagScope::Everything, |plural| LagScope::Resource(plural.to_owned())),
        by: lot.random.chance(0.5).then(|| Span::millis(200, 10_000)),
        lasts: lot.lasts(),
        until: None,
    }
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &ApiLagSpec, random: &Random, striking: Striking<'_>) {
    let Some(server) = process(world, &spec.server, random) else {
        return;
    };
    let drawn = spec.lasts.draw(random);
    let lasts = if spec.until.is_some() {
        world.rest_of_chaos()
    } else {
        drawn
    };
    let by = spec.by.as_ref().map(|by| by.draw(random));
    striking.strikes(FaultAction::ApiLag(ApiLagSpec {
        server: only(&server).unwrap_or_else(|| spec.server.clone()),
        scope: spec.scope.clone(),
        by: by.map(Span::from),
        lasts: if spec.until.is_some() { spec.lasts } else { drawn.into() },
        until: spec.until.clone(),
    }));
    let began = world.now();
    world.coverage.saw("an API server lagged");
    let what = match &spec.scope {
        LagScope::Everything => "what",
        LagScope::Resource(what) | LagScope::Object(what) => what,
    };
    match by {
        Some(by) => trace(
            world,
            format_args!("{what} {server} watches is {by:?} late, for {lasts:?}"),
        ),
        None => trace(
            world,
            format_args!("{what} {server} watches stands still for {lasts:?}"),
        ),
    }
    stall_clients(world, lasts + by.unwrap_or(Duration::ZERO));
    let number = world.lags.begin(ApiLag {
        server,
        scope: spec.scope.clone(),
        by,
        until: world.now() + lasts,
    });
    match &spec.until {
        Some(trigger) => {
            world.arm(trigger).wait().await;
            world.lags.end(number);
            world.network.notify();
            Role::all().for_each(|role| world.stall_ends(role, began));
        }
        None => sleep(lasts).await,
    }
}
