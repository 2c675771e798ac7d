//! Packets: the next changes of a node's rules fail, the first of them half-way; or they take long; or somebody else
//! removes all rules.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::swarm::Lot;
use super::{machine, trace};
use crate::netfilter::Half;
use crate::scenario::{FaultAction, HalfApplied, NodeTarget, PacketsSpec, PacketsTrouble, Span};
use crate::world::World;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> PacketsSpec {
    let trouble = if lot.random.stream("slow").chance(0.3) {
        PacketsTrouble::Slow {
            by: Span::millis(100, 2000),
            lasts: lot.lasts(),
        }
    } else {
        PacketsTrouble::Fails {
            times: lot.random.between(1, 5) as u32,
            half: None,
        }
    };
    PacketsSpec {
        node: NodeTarget::Any,
        trouble,
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
    let filter = &worker.filter;
    let node = NodeTarget::Named(name.clone());
    let noted = |trouble| FaultAction::Packets(PacketsSpec { node, trouble });
    match spec.trouble {
        PacketsTrouble::Fails { times, half } => {
            let choices = [HalfApplied::None, HalfApplied::Nat, HalfApplied::Filter];
            let half = half.or(random.choose(&choices).copied()).unwrap_or(HalfApplied::None);
            struck(noted(PacketsTrouble::Fails {
                times,
                half: Some(half),
            }));
            trace(
                world,
                format_args!("the next {times} changes of the rules of {name} fail, and one by half: {half:?}"),
            );
            filter.fail_applies(times);
            match half {
                HalfApplied::None => {}
                HalfApplied::Nat => filter.half_apply_next(Half::Nat),
                HalfApplied::Filter => filter.half_apply_next(Half::Filter),
            }
        }
        PacketsTrouble::Slow { by, lasts } => {
            let lasts = lasts.draw(random);
            struck(noted(PacketsTrouble::Slow {
                by,
                lasts: lasts.into(),
            }));
            trace(
                world,
                format_args!("changes of the rules of {name} take {by} more, for {lasts:?}"),
            );
            filter.slow(Some(by));
            sleep(lasts).await;
            filter.slow(None);
        }
        PacketsTrouble::Flushed => {
            struck(noted(PacketsTrouble::Flushed));
            trace(world, format_args!("somebody flushes the rules of {name}"));
            filter.flush();
        }
    }
}
