//! A clock that is wrong: a machine's wall clock steps away, drifts, and steps back.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::swarm::Lot;
use super::{machine, trace};
use crate::clocks;
use crate::model::Cluster;
use crate::scenario::{Between, ClockSpec, FaultAction, NodeTarget, Offset, Rate};
use crate::world::World;

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &ClockSpec, random: &Random, struck: impl FnOnce(FaultAction)) {
    let Some(name) = machine(world, &spec.node, random) else {
        return;
    };
    let (offset, drift, lasts) = (
        spec.offset.draw(random),
        spec.drift.draw(random),
        spec.lasts.draw(random),
    );
    struck(FaultAction::Clock(ClockSpec {
        node: NodeTarget::Named(name.clone()),
        offset: offset.into(),
        drift: drift.into(),
        lasts: lasts.into(),
    }));
    world.coverage.saw("a clock was wrong");
    trace(
        world,
        format_args!("the clock of {name} is {offset} ahead and goes at {drift} for {lasts:?}"),
    );
    let fault = clocks::Fault {
        since: world.now(),
        offset: offset.0,
        rate: drift.0,
    };
    world.witness.change(world, Cluster::clock_errs);
    let number = world.clocks.begin(&name, fault);
    sleep(lasts).await;
    world.clocks.end(number);
    world.witness.change(world, Cluster::clock_is_right);
    trace(world, format_args!("the clock of {name} is right again"));
}

/// Any machine's clock: a little wrong, very wrong, or too fast or slow.
pub fn draw(lot: &Lot<'_>) -> ClockSpec {
    let random = lot.random;
    let node = lot.any_machine(0.3);
    let farthest = *random.choose(&[2000, 30_000, 600_000]).unwrap_or(&2000);
    let far = Between {
        low: Offset(-farthest),
        high: Offset(farthest),
    };
    let fast = Between {
        low: Rate(0.8),
        high: Rate(1.25),
    };
    let (steps, drifts) = (random.chance(0.7), random.chance(0.4));
    ClockSpec {
        node,
        offset: if steps { far } else { Offset(0).into() },
        drift: if drifts || !steps { fast } else { Rate(1.0).into() },
        lasts: lot.lasts(),
    }
}
