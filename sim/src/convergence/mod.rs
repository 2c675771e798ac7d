//! Convergence: after the heal the cluster reaches what was asked for, and then is quiet.
//!
//! Judged over the store ([`orrery_play::convergence`]), the containers that really run, what they were given
//! ([`given`]), and the rules that really stand ([`shares`], [`ways`]).
//! Machines that stay broken are left out: their containers may run on unheard.

mod given;
mod shares;
mod ways;

use orrery_play::convergence::{Rest, containers};

use crate::model::Cluster;
use crate::world::{AUTHORITY, World};

/// What is still missing; nothing when the cluster has converged. `left` are the machines that stay broken.
pub fn missing(world: &World, left: &[String]) -> Vec<String> {
    let mut missing = at_rest(world, left);
    let mut places = left.to_vec();
    places.extend(world.process_names(|process| left.contains(&process.machine)));
    missing.extend(world.witness.missing().without(&places));
    missing
}

fn at_rest(world: &World, left: &[String]) -> Vec<String> {
    let well = world.workers().filter(|machine| !left.contains(&machine.name));
    let nodes: Vec<String> = well.map(|machine| machine.name.clone()).collect();
    let rest = Rest {
        nodes: &nodes,
        left,
        broken: &world.broken_machines(),
        authority: AUTHORITY,
        expect: &world.scenario.expect,
    };
    world.witness.look(world, |cluster| {
        let mut missing = orrery_play::convergence::missing(cluster, &rest);
        machines(world, cluster, left, &mut missing);
        rules(world, cluster, left, &mut missing);
        missing
    })
}

fn machines(world: &World, cluster: &Cluster, left: &[String], missing: &mut Vec<String>) {
    for machine in world.workers().filter(|machine| !left.contains(&machine.name)) {
        let Some(worker) = &machine.worker else { continue };
        let running = worker.runtime.running().into_iter();
        let running: Vec<(String, String)> = running.map(|(pod, container)| (pod.uid, container)).collect();
        containers(cluster, &machine.name, &running, missing);
        given::missing(&worker.runtime, cluster, &machine.name, missing);
        for pod in worker.runtime.pods() {
            if cluster.by_uid(&pod.uid).is_none() {
                missing.push(format!(
                    "a sandbox of {pod} is left on {}, which nobody has",
                    machine.name
                ));
            }
        }
    }
}

/// E4 at rest: the rules lead where the services say, with equal shares.
fn rules(world: &World, cluster: &Cluster, left: &[String], missing: &mut Vec<String>) {
    for machine in world.workers().filter(|machine| !left.contains(&machine.name)) {
        let Some(worker) = &machine.worker else { continue };
        shares::missing(&machine.name, &worker.filter.rules(), missing);
        ways::missing(
            (machine.name.as_str(), machine.address),
            &worker.filter,
            cluster,
            missing,
        );
    }
}
