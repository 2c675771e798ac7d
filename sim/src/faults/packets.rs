//! Packets: the next changes of a node's rules fail, the first of them half-way; or they take long; or somebody else
//! removes all rules.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::swarm::Lot;
use super::{Striking, machine, trace};
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
        1 => format!("a change of the rules of {name} fails"),
        _ => format!("{times} changes of the rules of {name} fail"),
    };
    let first = if times == 1 { "and" } else { "and of the first" };
    match half {
        HalfApplied::None => fail,
        HalfApplied::Nat => format!("{fail}, {first} only the table nat is applied"),
        HalfApplied::Filter => format!("{fail}, {first} only the table filter is applied"),
    }
}

/// See the module. Changes that are to fail are in trouble as soon as the first one is tried.
pub async fn strike(world: &Arc<World>, spec: &PacketsSpec, random: &Random, striking: Striking<'_>) {
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
            let pinned = noted(PacketsTrouble::Fails {
                times,
                half: Some(half),
            });
            let told = failing(&name, times, half);
            let victims = striking.begins_with_first(pinned, move |world| trace(world, format_args!("{told}")));
            filter.fail_applies(times, half, victims).notified().await;
        }
        PacketsTrouble::Slow { by, lasts } => {
            let lasts = lasts.draw(random);
            let victims = striking.begins(noted(PacketsTrouble::Slow {
                by,
                lasts: lasts.into(),
            }));
            trace(
                world,
                format_args!("changes of the rules of {name} take {by} more, for {lasts:?}"),
            );
            let number = filter.slow(by, victims);
            sleep(lasts).await;
            filter.hasten(number);
        }
        PacketsTrouble::Flushed => {
            striking.strikes(noted(PacketsTrouble::Flushed));
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
        3 changes of the rules of node-1 fail
        3 changes of the rules of node-1 fail, and of the first only the table nat is applied
        a change of the rules of node-1 fails, and only the table filter is applied
        ");
    }
}
