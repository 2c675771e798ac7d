//! A clock that is wrong: a machine's wall clock steps away, drifts, and steps back.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::swarm::Lot;
use super::{Striking, machine, trace};
use crate::clocks;
use crate::model::Cluster;
use crate::scenario::{Between, ClockSpec, FaultAction, NodeTarget, Offset, Rate};
use crate::world::World;

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &ClockSpec, random: &Random, striking: Striking<'_>) {
    let Some(name) = machine(world, &spec.node, random) else {
        return;
    };
    let (offset, drift, lasts) = (
        spec.offset.draw(random),
        spec.drift.draw(random),
        spec.lasts.draw(random),
    );
    striking.strikes(FaultAction::Clock(ClockSpec {
        node: NodeTarget::Named(name.clone()),
        offset: offset.into(),
        drift: drift.into(),
        lasts: lasts.into(),
    }));
    world.coverage.saw("a clock was wrong");
    trace(
        world,
        format_args!("the clock of {name} {} for {lasts:?}", error(offset, drift)),
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

/// What is wrong with a clock.
fn error(offset: Offset, drift: Rate) -> String {
    let size = Offset(offset.0.saturating_abs());
    let steps = match offset.0 {
        0 => None,
        1.. => Some(format!("is {size} ahead")),
        _ => Some(format!("is {size} behind")),
    };
    let drifts = (drift != Rate(1.0)).then(|| format!("goes {drift} times as fast as it should"));
    match (steps, drifts) {
        (Some(steps), Some(drifts)) => format!("{steps} and {drifts}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "is wrong by nothing".to_owned(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_told_in_plain_words() {
        let told = [
            error(Offset(5000), Rate(1.0)),
            error(Offset(-5000), Rate(1.0)),
            error(Offset(0), Rate(0.8)),
            error(Offset(-500), Rate(1.25)),
        ];
        insta::assert_snapshot!(told.join("\n"), @r"
        is 5s ahead
        is 5s behind
        goes 0.8 times as fast as it should
        is 500ms behind and goes 1.25 times as fast as it should
        ");
    }
}
