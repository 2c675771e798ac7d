//! A slow link: messages between machines take longer for a while.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::swarm::Lot;
use super::{Striking, links, trace};
use crate::link::Delay;
use crate::scenario::{FaultAction, Role, SlowLinkSpec, Span};
use crate::world::World;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> SlowLinkSpec {
    SlowLinkSpec {
        links: lot.any_links(),
        by: Span::millis(50, 3000),
        lasts: lot.lasts(),
    }
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &SlowLinkSpec, random: &Random, striking: Striking<'_>) {
    let Some((target, links)) = links(world, &spec.links, random) else {
        return;
    };
    let (by, lasts) = (spec.by.draw(random), spec.lasts.draw(random));
    striking.strikes(FaultAction::SlowLink(SlowLinkSpec {
        links: target.clone(),
        by: by.into(),
        lasts: lasts.into(),
    }));
    world.coverage.saw("a link was slow");
    trace(
        world,
        format_args!("messages on {} take {by:?} longer, for {lasts:?}", target.describe()),
    );
    for role in Role::all() {
        world.stall(role, lasts);
    }
    world.network.slow_links(Delay {
        of: links,
        by,
        until: world.now() + lasts,
    });
    sleep(lasts).await;
}
