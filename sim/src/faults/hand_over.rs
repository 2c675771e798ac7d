//! A hand-over: a leader loses its lease to a twin, because it stands still or because what it sends arrives too late.

use std::sync::Arc;
use std::time::Duration;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::swarm::Lot;
use super::{Striking, only, trace};
use crate::scenario::{ComponentTarget, FaultAction, HandOverSpec, OldLeader, Role, Span, Topology};
use crate::simulator;
use crate::world::World;

/// How often to look whether another leads.
const LOOK: Duration = Duration::from_millis(100);
/// So long the fault waits for another leader: four terms.
const LIMIT: Duration = Duration::from_secs(60);

/// The components of which there are several, so that they elect a leader.
pub fn electing(topology: &Topology) -> Vec<Role> {
    let mut twins = vec![
        (Role::Scheduler, topology.schedulers),
        (Role::ControllerManager, topology.controller_managers),
    ];
    let own = simulator::parts().components.iter().filter(|own| own.elects());
    twins.extend(own.map(|own| (Role::Custom(own.name()), topology.replicas(&own.words()))));
    twins
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .map(|(role, _)| role)
        .collect()
}

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> HandOverSpec {
    let roles = electing(&lot.world.scenario.topology);
    let leaders = [OldLeader::StandsStill, OldLeader::SpeaksLate];
    HandOverSpec {
        component: ComponentTarget {
            role: *lot.random.choose(&roles).unwrap_or(&Role::ControllerManager),
            instance: None,
        },
        leader: *lot.random.choose(&leaders).unwrap_or(&OldLeader::StandsStill),
        lasts: Span::millis(10, 3000),
    }
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &HandOverSpec, random: &Random, striking: Striking<'_>) {
    let role = spec.component.role;
    let Some(leader) = leader(world, role).filter(|name| {
        !world
            .process_names(|process| process.name == *name && process.is_well() && spec.component.means(name))
            .is_empty()
    }) else {
        return;
    };
    let lasts = spec.lasts.draw(random);
    let late = spec.leader == OldLeader::SpeaksLate;
    if late {
        world.network.fates.hold(&leader);
    } else if !world.pause(&leader) {
        return;
    }
    striking.strikes(FaultAction::HandOver(HandOverSpec {
        component: only(&leader).unwrap_or_else(|| spec.component.clone()),
        leader: spec.leader,
        lasts: lasts.into(),
    }));
    let what = if late { "is held up" } else { "stands still" };
    trace(
        world,
        format_args!("{leader}, which leads, {what} until another leads, and for {lasts:?}"),
    );
    let paused = (!late).then_some(leader.as_str());
    let mut left = LIMIT;
    while another_leads(world, role, &leader) == Some(false) && !left.is_zero() {
        // Told bit by bit: nobody knows how long it takes.
        stall(world, role, LOOK, paused);
        sleep(LOOK).await;
        left -= LOOK;
    }
    stall(world, role, lasts, paused);
    sleep(lasts).await;
    if late {
        world.network.fates.release(&leader);
    } else {
        world.resume(&leader);
    }
}

/// Processes of `role` are held up for so long from now on; `paused` is the one that stands still.
fn stall(world: &World, role: Role, lasts: Duration, paused: Option<&str>) {
    world.stall(role, lasts);
    if let Some(process) = paused {
        let until = world.now() + lasts;
        world.witness.change(world, |cluster| cluster.pause(process, until));
    }
}

/// Whether another than `leader` leads; nothing if nobody does.
fn another_leads(world: &World, role: Role, old: &str) -> Option<bool> {
    leader(world, role).map(|leader| leader != old)
}

/// The process that holds the lease of its role.
fn leader(world: &World, role: Role) -> Option<String> {
    let name = role.lease()?;
    world.witness.look(world, |cluster| {
        let lease = cluster.find("leases.coordination.k8s.io", "kube-system", name)?;
        // An identity is the process' name and the number of its start.
        Some(lease.lease_holder()?.rsplit_once('_')?.0.to_owned())
    })
}
