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

/// So many changes of the rules of a node fail, the first of them half-way.
fn failing(name: &str, times: u32, half: HalfApplied) -> String {
    let fail = match times {
        1 => format!("the next change of the rules of {name} fails"),
        _ => format!("the next {times} changes of the rules of {name} fail"),
    };
    let first = if times == 1 { "and" } else { "and of the first" };
    match half {
        HalfApplied::None => fail,
        HalfApplied::Nat => format!("{fail}, {first} only the table nat is applied"),
        HalfApplied::Filter => format!("{fail}, {first} only the table filter is applied"),
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
            trace(world, format_args!("{}", failing(&name, times, half)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_fail_are_told_in_plain_words() {
        let told = [
            failing("node-1", 3, HalfApplied::None),
            failing("node-1", 3, HalfApplied::Nat),
            failing("node-1", 1, HalfApplied::Filter),
        ];
        insta::assert_snapshot!(told.join("\n"), @r"
        the next 3 changes of the rules of node-1 fail
        the next 3 changes of the rules of node-1 fail, and of the first only the table nat is applied
        the next change of the rules of node-1 fails, and only the table filter is applied
        ");
    }
}
