//! Faults: one file each, all of one shape, and the campaign that lets them strike when the scenario says so.
//!
//! A fault is an `async fn strike(world, spec, random, striking)`: it does its harm, waits, and takes it back. When it
//! has found somebody to strike, or is in force for whoever comes, it tells `striking` so, with the fault that would do
//! the same without drawing anything. It may be dropped at any moment; what it left broken is healed (or not) by
//! [`heal()`].

mod api_errors;
mod api_lag;
mod clock;
mod compact;
mod containers;
mod crash;
mod delay_call;
mod disk;
mod drop_watches;
mod duplicate;
mod flows;
mod hand_over;
mod heal;
mod lag;
mod loss;
mod lost_answers;
mod mishaps;
mod nodes;
mod packets;
mod partition;
mod pause;
mod reconnect;
mod reset;
mod restart;
mod runtime;
mod slow_link;
mod slow_reader;
mod striking;
mod swarm;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use orrery_play::{Stage, Waiting};
use tokio::time::Instant;

use crate::choices::Occurrences;
use crate::link::Links;
use crate::scenario::{ComponentTarget, FaultAction, LinksTarget, Moment, NodeTarget};
use crate::world::World;
use striking::{Force, Striking};

pub use heal::heal;
pub use nodes::uncordon;
pub use striking::Victims;

/// The faults of a run.
pub struct Faults {
    tasks: TaskGroup,
    /// What was planned, and whether it has befallen anybody.
    plans: Vec<(String, Arc<AtomicBool>)>,
}

impl Faults {
    /// Lets the scenario's faults strike when they are due.
    pub fn begin(world: &Arc<World>, start: Instant) -> Self {
        let stage: Arc<dyn Stage> = world.clone();
        let tasks = TaskGroup::new();
        let mut plans = Vec::new();
        let mut names = Occurrences::default();
        for (index, plan) in world.scenario.faults.iter().enumerate() {
            let name = format!("fault/{}", names.next(plan.action.to_line()));
            let random = world.random.stream_known_as(&name, &format!("fault/{index}"));
            let waiting = Waiting::new(&stage, &plan.moment, &random);
            let struck = Arc::new(AtomicBool::new(false));
            plans.push((plan.action.describe(), struck.clone()));
            let (world, action) = (world.clone(), plan.action.clone());
            tasks.spawn(async move {
                if let FaultAction::Swarm(spec) = &action {
                    let end = waiting.wait_for_range(start).await;
                    swarm::run(&world, &spec.kinds, end, &random, &struck).await;
                } else {
                    let moment = waiting.pinned();
                    waiting.wait(start).await;
                    strike(&world, moment, &action, &random, &struck).await;
                }
            });
        }
        Faults { tasks, plans }
    }

    /// No more faults.
    pub fn end(&self) {
        self.tasks.abort_all();
    }

    /// The faults that have befallen nobody, or whose moment never came.
    pub fn never_struck(&self) -> Vec<String> {
        let plans = self.plans.iter();
        plans
            .filter(|(_, struck)| !struck.load(Ordering::Relaxed))
            .map(|(what, _)| what.clone())
            .collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets one fault strike, to its end; `struck` says then whether it has befallen anybody.
async fn strike(world: &Arc<World>, moment: Moment, action: &FaultAction, random: &Random, struck: &Arc<AtomicBool>) {
    let force = Force::default();
    let striking = Striking::new(world, moment, action, struck, &force);
    dispatch(world, action, random, striking).await;
    force.end(world);
}

async fn dispatch(world: &Arc<World>, action: &FaultAction, random: &Random, striking: Striking<'_>) {
    match action {
        FaultAction::Crash(spec) => crash::strike(world, spec, random, striking).await,
        FaultAction::Restart(spec) => restart::strike(world, spec, random, striking).await,
        FaultAction::Pause(spec) => pause::strike(world, spec, random, striking).await,
        FaultAction::Partition(spec) => partition::strike(world, spec, random, striking).await,
        FaultAction::LostAnswers(spec) => lost_answers::strike(world, spec, random, striking).await,
        FaultAction::Packets(spec) => packets::strike(world, spec, random, striking).await,
        FaultAction::Lag(spec) => lag::strike(world, spec, random, striking).await,
        FaultAction::ApiLag(spec) => api_lag::strike(world, spec, random, striking).await,
        FaultAction::SlowLink(spec) => slow_link::strike(world, spec, random, striking).await,
        FaultAction::Loss(spec) => loss::strike(world, spec, random, striking).await,
        FaultAction::Reset(spec) => reset::strike(world, spec, random, striking).await,
        FaultAction::Duplicate(spec) => duplicate::strike(world, spec, random, striking).await,
        FaultAction::ApiErrors(spec) => api_errors::strike(world, spec, random, striking).await,
        FaultAction::DropWatches(spec) => drop_watches::strike(world, spec, random, striking).await,
        FaultAction::SlowReader(spec) => slow_reader::strike(world, spec, random, striking).await,
        FaultAction::Disk(spec) => disk::strike(world, spec, random, striking).await,
        FaultAction::Clock(spec) => clock::strike(world, spec, random, striking).await,
        FaultAction::Compact(spec) => compact::strike(world, spec, random, striking).await,
        FaultAction::Flows(spec) => flows::strike(world, spec, random, striking).await,
        FaultAction::HandOver(spec) => hand_over::strike(world, spec, random, striking).await,
        FaultAction::Containers(spec) => containers::strike(world, spec, random, striking).await,
        FaultAction::Runtime(spec) => runtime::strike(world, spec, random, striking).await,
        FaultAction::Nodes(spec) => nodes::strike(world, spec, random, striking).await,
        FaultAction::DelayCall(spec) => delay_call::strike(world, spec, random, striking).await,
        FaultAction::Reconnect(spec) => reconnect::strike(world, spec, random, striking).await,
        FaultAction::Swarm(_) => {}
    }
}

/// Writes down in the trace what a fault does.
fn trace(world: &World, what: fmt::Arguments<'_>) {
    world.trace.event(world.now(), "fault", what);
}

/// One of `names`. Each name draws its own lot, so that one more or one less changes nothing between the others.
fn pick<'a>(names: &'a [String], random: &Random) -> Option<&'a String> {
    names.iter().max_by_key(|name| random.stream(name).bits())
}

/// The verb for so many.
fn are(names: &[String]) -> &'static str {
    if names.len() == 1 { "is" } else { "are" }
}

/// Several things in one sentence.
fn listed<T: fmt::Display>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// The machine that a target means: of any, one that is well.
fn machine(world: &World, target: &NodeTarget, random: &Random) -> Option<String> {
    match target {
        NodeTarget::Named(name) => Some(name.clone()),
        NodeTarget::Any => {
            let broken = world.broken_machines();
            let workers = world.workers().map(|machine| machine.name.clone());
            let well: Vec<String> = workers.filter(|name| !broken.contains(name)).collect();
            pick(&well, random).cloned()
        }
    }
}

/// The links that a target means, in concrete words, too.
fn links(world: &World, target: &LinksTarget, random: &Random) -> Option<(LinksTarget, Links)> {
    let of = match &target.node {
        Some(node) => Some(machine(world, node, random)?),
        None => None,
    };
    let to = target.to.as_ref().map(ToString::to_string);
    let pinned = LinksTarget {
        node: of.clone().map(NodeTarget::Named),
        to: target.to.clone(),
    };
    Some((pinned, Links { of, to }))
}

/// The running process that a target means.
fn process(world: &World, target: &ComponentTarget, random: &Random) -> Option<String> {
    let running = world.process_names(|process| process.is_running() && target.means(&process.name));
    pick(&running, random).cloned()
}

/// The target that means this process alone.
fn only(process: &str) -> Option<ComponentTarget> {
    ComponentTarget::parse(process).ok()
}

#[cfg(test)]
mod outside_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_to_choose_from_changes_a_choice_only_to_itself() {
        let names: Vec<String> = (1..=5).map(|number| format!("node-{number}")).collect();
        let mut chosen = [0; 2];
        for seed in 0..200 {
            let random = Random::from_number(seed);
            let (few, many) = (pick(&names[..4], &random), pick(&names, &random));
            chosen[usize::from(few != many)] += 1;
            assert!(few == many || many == Some(&names[4]), "{few:?}, {many:?}");
        }
        assert!(chosen.iter().all(|count| *count > 20), "{chosen:?}");
    }
}
