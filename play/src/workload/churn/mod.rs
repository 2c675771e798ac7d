//! A churning user: random but seeded operations until the end of his time. What he has begun he ends: no node stays
//! cordoned or tainted, no rollout paused or bad, nothing held or missing.
//!
//! Each operation is one step or a few, as the scenario could say them; what they are is drawn in [`draw`].

mod draw;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use orrery_api::random::Random;
use tokio::time::{Instant, sleep};

use super::next;
use super::requests::Resource;
use super::steps::perform;
use super::user::User;
use crate::choices::Occurrences;
use crate::scenario::{ChurnKind, ChurnSpec, Moment, Ops, StepAction};
use crate::stage::Stage;
use draw::Memory;

/// Steps that are done at once, and steps that follow a few turns later.
#[derive(Debug, Default)]
pub struct Operation {
    now: Vec<StepAction>,
    later: Vec<Later>,
}

/// A step that follows.
#[derive(Debug)]
struct Later {
    /// In how many turns.
    turns: u64,
    /// What must be gone before.
    after: Option<Gone>,
    action: StepAction,
}

/// An object that is on its way out.
#[derive(Debug, Clone)]
struct Gone {
    resource: Resource,
    namespace: String,
    name: String,
    uid: String,
}

/// Does operations of the spec's kinds until `end`. `names` tells equal steps apart.
pub async fn run(
    stage: &Arc<dyn Stage>,
    spec: &ChurnSpec,
    end: Instant,
    random: &Random,
    names: &Arc<Mutex<Occurrences>>,
) {
    let mut churn = Churn {
        stage,
        names,
        turn: 0,
        follow: VecDeque::new(),
        memory: Memory::default(),
    };
    let odds = Odds::of(&spec.ops, &random.stream("ops"));
    if let Odds::Weights(weights) = &odds {
        let drawn: Vec<String> = weights
            .iter()
            .map(|(kind, weight)| format!("{} {weight}", kind.as_str()))
            .collect();
        stage.say(format_args!("will now and then do {}", drawn.join(", ")));
    }
    for turn in 0u64.. {
        churn.turn = turn;
        let random = random.stream(&turn.to_string());
        let pause = spec.every.draw(&random);
        if Instant::now() + pause >= end {
            break;
        }
        sleep(pause).await;
        churn.follow_up().await;
        let Some(kind) = odds.choose(&random) else { break };
        if kind == ChurnKind::Namespace {
            // Nobody would wait for a namespace that he holds himself.
            churn.finish().await;
        }
        if let Some(operation) = draw::draw(&**stage, kind, &random, &mut churn.memory) {
            churn.begin(operation).await;
        }
    }
    churn.finish().await;
    for action in churn.memory.restore(&**stage) {
        churn.act(action).await;
    }
}

struct Churn<'a> {
    stage: &'a Arc<dyn Stage>,
    names: &'a Arc<Mutex<Occurrences>>,
    turn: u64,
    /// What follows, with the turn in which it is due.
    follow: VecDeque<(u64, Later)>,
    memory: Memory,
}

impl Churn<'_> {
    async fn act(&self, action: StepAction) {
        let user = User::new(self.stage, &next(self.names, &action));
        perform(&user, Moment::At(self.stage.elapsed()), &action).await;
    }

    async fn begin(&mut self, operation: Operation) {
        for action in operation.now {
            self.act(action).await;
        }
        for later in operation.later {
            self.follow.push_back((self.turn + later.turns, later));
        }
        // What follows in no turn at all follows now.
        if self.follow.iter().any(|(due, _)| *due <= self.turn) {
            self.follow_up().await;
        }
    }

    /// Does what is due and can be done.
    async fn follow_up(&mut self) {
        for (due, later) in std::mem::take(&mut self.follow) {
            if due <= self.turn && !later.after.as_ref().is_some_and(|gone| self.is_there(gone)) {
                self.act(later.action).await;
            } else {
                self.follow.push_back((due, later));
            }
        }
    }

    /// Does all that follows, in its order, and waits where something must be gone before.
    async fn finish(&mut self) {
        let mut rest: Vec<(u64, Later)> = std::mem::take(&mut self.follow).into();
        rest.sort_by_key(|(due, later)| (later.after.is_some(), *due));
        for (_, later) in rest {
            while later.after.as_ref().is_some_and(|gone| self.is_there(gone)) {
                sleep(Duration::from_secs(1)).await;
            }
            self.act(later.action).await;
        }
    }

    fn is_there(&self, gone: &Gone) -> bool {
        self.stage.look(|cluster| {
            cluster
                .find(gone.resource.name, &gone.namespace, &gone.name)
                .is_some_and(|item| item.uid() == gone.uid)
        })
    }
}

/// How likely each operation is.
enum Odds {
    /// Each as the other.
    Even(Vec<ChurnKind>),
    /// By weight.
    Weights(Vec<(ChurnKind, u32)>),
}

impl Odds {
    /// Those of `ops`; a swarm's are drawn: which operations there are at all, and how often each comes.
    fn of(ops: &Ops, random: &Random) -> Self {
        match ops {
            Ops::Evenly(kinds) => Odds::Even(kinds.clone()),
            Ops::Weighted(weights) => Odds::Weights(weights.iter().map(|(kind, weight)| (*kind, *weight)).collect()),
            Ops::Swarm => {
                // Each draws its own lot, so that a new kind changes nothing for the others.
                let weight = |kind: &ChurnKind| {
                    let random = random.stream(kind.as_str());
                    let weight = random.between(1, 4) as u32;
                    random.chance(0.5).then_some((*kind, weight))
                };
                let mut weights: Vec<(ChurnKind, u32)> = ChurnKind::ALL.iter().filter_map(weight).collect();
                if weights.is_empty() {
                    weights.extend(random.choose(ChurnKind::ALL).map(|kind| (*kind, 1)));
                }
                Odds::Weights(weights)
            }
        }
    }

    fn choose(&self, random: &Random) -> Option<ChurnKind> {
        match self {
            Odds::Even(kinds) => random.choose(kinds).copied(),
            Odds::Weights(weights) => {
                let total: u64 = weights.iter().map(|(_, weight)| u64::from(*weight)).sum();
                let mut lot = random.below(total);
                weights.iter().find_map(|(kind, weight)| {
                    let weight = u64::from(*weight);
                    if lot < weight {
                        return Some(*kind);
                    }
                    lot -= weight;
                    None
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn weights_say_how_often_and_a_swarm_leaves_some_out() {
        let weights = BTreeMap::from([(ChurnKind::Scale, 3), (ChurnKind::Drain, 1), (ChurnKind::Undo, 0)]);
        let odds = Odds::of(&Ops::Weighted(weights), &Random::from_number(1));
        let random = Random::from_number(2);
        let mut counts: BTreeMap<ChurnKind, u32> = BTreeMap::new();
        for _ in 0..4000 {
            *counts.entry(odds.choose(&random).unwrap()).or_default() += 1;
        }
        assert_eq!(counts.len(), 2);
        assert!((2800..3200).contains(&counts[&ChurnKind::Scale]), "{counts:?}");

        let mut ever: BTreeMap<ChurnKind, u32> = BTreeMap::new();
        for seed in 0..50 {
            let Odds::Weights(weights) = Odds::of(&Ops::Swarm, &Random::from_number(seed)) else {
                panic!("a swarm has weights");
            };
            assert!((1..ChurnKind::ALL.len()).contains(&weights.len()));
            weights
                .iter()
                .for_each(|(kind, _)| *ever.entry(*kind).or_default() += 1);
        }
        assert_eq!(ever.len(), ChurnKind::ALL.len(), "each kind is in some swarm");
    }
}
