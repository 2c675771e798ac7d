//! The swarm on a real machine: the seed draws which kinds of faults strike, how often, and for how long, as the
//! simulator's does, of those that a real machine can have.

use std::time::Duration;

use orrery_api::random::Random;
use orrery_play::scenario::{FaultKind, Span, SwarmSpec};

use super::playable::Strike;

/// Those of a swarm's kinds that a real machine can have. (Packet rules that are removed come back after minutes: that
/// is nothing for a swarm, which the cluster has to survive within the scenario's bound.)
pub fn possible(spec: &SwarmSpec) -> Vec<FaultKind> {
    let is_possible = |kind: &FaultKind| {
        matches!(
            kind,
            FaultKind::Crash | FaultKind::Restart | FaultKind::Pause | FaultKind::Containers
        )
    };
    spec.kinds.iter().copied().filter(is_possible).collect()
}

/// What a seed has drawn of a swarm.
#[derive(Debug)]
pub struct Swarm {
    kinds: Vec<FaultKind>,
    /// How long it is from one fault to the next, about.
    mean: Duration,
    /// How many seconds a fault lasts at most.
    longest: u64,
}

impl Swarm {
    /// Draws it.
    pub fn draw(spec: &SwarmSpec, random: &Random) -> Self {
        let possible = possible(spec);
        let share = 0.3 + 0.5 * random.fraction();
        let is_drawn = |kind: &FaultKind| random.stream(kind.as_str()).chance(share);
        let mut kinds: Vec<FaultKind> = possible.iter().copied().filter(is_drawn).collect();
        if kinds.is_empty() {
            kinds.extend(random.choose(&possible));
        }
        Swarm {
            kinds,
            mean: random.duration(Duration::from_secs(3), Duration::from_secs(40)),
            longest: random.between(2, 40),
        }
    }

    /// How long it is until the next fault.
    pub fn pause(&self, random: &Random) -> Duration {
        random.duration(self.mean / 4, self.mean * 2)
    }

    /// The next fault.
    pub fn strike(&self, random: &Random) -> Option<Strike> {
        let lasts = Span::seconds(1, self.longest);
        Some(match random.choose(&self.kinds)? {
            FaultKind::Restart => Strike::Restart,
            FaultKind::Pause => Strike::Pause(lasts),
            FaultKind::Containers => Strike::KillContainer {
                nth: None,
                gently: random.chance(0.3),
            },
            _ if random.chance(0.3) => Strike::PowerLoss(lasts),
            _ => Strike::Crash(lasts),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_swarm_draws_only_what_a_machine_can_have_and_each_of_it_in_some_seed() {
        let all = SwarmSpec {
            kinds: FaultKind::ALL.to_vec(),
        };
        let possible = possible(&all);
        assert_eq!(possible.len(), 4);
        let mut drawn = BTreeSet::new();
        let mut struck = BTreeSet::new();
        for seed in 0..100 {
            let random = Random::from_number(seed);
            let swarm = Swarm::draw(&all, &random);
            assert!(swarm.kinds.iter().all(|kind| possible.contains(kind)));
            drawn.extend(swarm.kinds.iter().copied());
            for _ in 0..5 {
                assert!(swarm.pause(&random) > Duration::ZERO);
                struck.extend(
                    swarm
                        .strike(&random)
                        .map(|strike| format!("{strike:?}")[..5].to_owned()),
                );
            }
        }
        assert_eq!(drawn.len(), possible.len());
        assert_eq!(struck.len(), 5, "{struck:?}");
    }
}
