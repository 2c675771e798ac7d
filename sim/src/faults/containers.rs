//! Containers: one of a machine's crashes, is killed, ends or falls silent; or images cannot be pulled or started
//! there.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::swarm::Lot;
use super::{Striking, machine, pick, trace};
use crate::runtime::{RunningContainer, SimRuntime, Trouble};
use crate::scenario::{ContainerTrouble, ContainersSpec, FaultAction, NodeTarget};
use crate::world::World;

/// So often a container may have been restarted that is drawn to end once more: who crashes on and on waits for minutes
/// between two lives, and would keep the cluster from converging for as long.
const PATIENCE: u32 = 3;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> ContainersSpec {
    let trouble = *lot
        .random
        .choose(&ContainerTrouble::ALL)
        .unwrap_or(&ContainerTrouble::Crash);
    ContainersSpec::new(NodeTarget::Any, trouble, None, lot.lasts())
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &ContainersSpec, random: &Random, striking: Striking<'_>) {
    let lasts = spec.lasts.draw(random);
    if spec.trouble.is_of_one() {
        let Some((name, nth, container)) = choose(world, spec, random) else {
            return;
        };
        let Some(runtime) = runtime(world, &name) else { return };
        let node = NodeTarget::Named(name.clone());
        let pinned = ContainersSpec::new(node, spec.trouble, Some(nth), lasts.into());
        striking.strikes(FaultAction::Containers(pinned));
        let whose = format!("container {} of {} on {name}", container.name, container.pod);
        match spec.trouble {
            ContainerTrouble::Crash => {
                trace(world, format_args!("{whose} crashes"));
                world.coverage.saw("a container crashed");
                runtime.end_container(&container, 1, "Error");
            }
            ContainerTrouble::OomKill => {
                trace(world, format_args!("{whose} needs too much memory"));
                world.coverage.saw("a container was killed for its memory");
                runtime.end_container(&container, 137, "OOMKilled");
            }
            ContainerTrouble::Exit => {
                trace(world, format_args!("{whose} ends"));
                runtime.end_container(&container, 0, "Completed");
            }
            _ => {
                trace(world, format_args!("{whose} answers nobody for {lasts:?}"));
                runtime.silence(&container);
                sleep(lasts).await;
                runtime.end_silence(&container);
            }
        }
        return;
    }
    let Some(name) = machine(world, &spec.node, random) else {
        return;
    };
    let Some(runtime) = runtime(world, &name) else { return };
    let node = NodeTarget::Named(name.clone());
    let pinned = ContainersSpec::new(node, spec.trouble, None, lasts.into());
    striking.strikes(FaultAction::Containers(pinned));
    let (trouble, what) = match spec.trouble {
        ContainerTrouble::PullFails => (Trouble::PullFails, "images cannot be pulled"),
        ContainerTrouble::PullSlow => (Trouble::PullSlow, "no pull of an image ends"),
        _ => (Trouble::StartFails, "containers cannot be started"),
    };
    trace(world, format_args!("on {name} {what} for {lasts:?}"));
    runtime.troubles.begin(trouble);
    sleep(lasts).await;
    runtime.troubles.end(trouble);
}

pub(super) fn runtime(world: &World, machine: &str) -> Option<Arc<SimRuntime>> {
    let machine = world.machine(machine)?;
    Some(machine.worker.as_ref()?.runtime.clone())
}

/// The container that is struck, its machine, and the how manieth there it is.
fn choose(world: &World, spec: &ContainersSpec, random: &Random) -> Option<(String, u32, RunningContainer)> {
    let all = |name: &str| runtime(world, name).map(|own| own.containers()).unwrap_or_default();
    let name = match &spec.node {
        NodeTarget::Named(name) => name.clone(),
        NodeTarget::Any => {
            let workers = world.workers().map(|machine| machine.name.clone());
            let busy: Vec<String> = workers
                .filter(|name| all(name).iter().any(|container| container.attempt < PATIENCE))
                .collect();
            pick(&busy, random)?.clone()
        }
    };
    let mut all: Vec<(u32, RunningContainer)> = (1..).zip(all(&name)).collect();
    match spec.nth {
        Some(nth) => all.retain(|(number, _)| *number == nth),
        None => all.retain(|(_, container)| container.attempt < PATIENCE),
    }
    let lot = |container: &RunningContainer| random.stream(&container.id).bits();
    let (nth, container) = all.into_iter().max_by_key(|(_, container)| lot(container))?;
    Some((name, nth, container))
}
