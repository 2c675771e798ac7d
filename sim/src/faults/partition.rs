//! A partition: a machine is cut off from all others for a while, or a group from another, both ways or one.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::crash::stall_clients;
use super::swarm::Lot;
use super::{Striking, are, machine, trace};
use crate::link::Cut;
use crate::scenario::{Direction, FaultAction, NodeTarget, PartitionSpec, Parts};
use crate::world::World;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> PartitionSpec {
    let directions = [Direction::Both, Direction::Both, Direction::In, Direction::Out];
    let direction = *lot.random.choose(&directions).unwrap_or(&Direction::Both);
    let node = lot.any_machine(if lot.has_several_servers() { 0.3 } else { 0.0 });
    PartitionSpec {
        parts: if lot.random.stream("shape").chance(0.3) {
            Parts::Any
        } else {
            Parts::Node(node)
        },
        direction,
        lasts: lot.lasts(),
    }
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &PartitionSpec, random: &Random, striking: Striking<'_>) {
    let Some((parts, off, from)) = parted(world, &spec.parts, random) else {
        return;
    };
    let lasts = spec.lasts.draw(random);
    striking.strikes(FaultAction::Partition(PartitionSpec {
        parts: parts.clone(),
        direction: spec.direction,
        lasts: lasts.into(),
    }));
    world.coverage.saw("a partition opened");
    let (out, inward) = ways(&parts, spec.direction, &off);
    trace(
        world,
        format_args!("{} for {lasts:?}", describe(&off, from.as_deref(), out, inward)),
    );
    if world.api_servers().len() > 1 && off.iter().any(|name| world.is_control_plane(name)) {
        // Its server's clients elsewhere wait for it, and it waits for the store.
        stall_clients(world, lasts);
    }
    for role in world.own_components_on(&off) {
        world.stall(role, lasts);
    }
    let again = format!("{} {} connected again", off.join(", "), are(&off));
    let number = world.network.cut(Cut { off, from, out, inward });
    sleep(lasts).await;
    world.network.mend(number);
    trace(world, format_args!("{again}"));
}

/// Whether what those who are cut off send is lost, and what is sent to them. The direction is told as the first group
/// sees it.
fn ways(parts: &Parts, direction: Direction, off: &[String]) -> (bool, bool) {
    let turned = matches!(parts, Parts::Groups(one, _) if !names_all(one, off));
    match (direction, turned) {
        (Direction::Both, _) => (true, true),
        (Direction::Out, false) | (Direction::In, true) => (true, false),
        (Direction::In, false) | (Direction::Out, true) => (false, true),
    }
}

/// Who is cut off from whom, and which way.
fn describe(off: &[String], from: Option<&[String]>, out: bool, inward: bool) -> String {
    let rest = from.map_or(String::new(), |from| format!(" from {}", from.join(", ")));
    let way = match (out, inward, off.len()) {
        (true, true, _) => "",
        (true, false, 1) => ", only in what it sends,",
        (true, false, _) => ", only in what they send,",
        (false, _, 1) => ", only in what it is sent,",
        (false, _, _) => ", only in what they are sent,",
    };
    format!("{} {} cut off{rest}{way}", off.join(", "), are(off))
}

fn names_all(group: &[NodeTarget], names: &[String]) -> bool {
    group
        .iter()
        .all(|node| matches!(node, NodeTarget::Named(name) if names.contains(name)))
}

/// Who is cut off, in concrete words; which machines these are, and from which, if not from all others.
fn parted(world: &World, parts: &Parts, random: &Random) -> Option<(Parts, Vec<String>, Option<Vec<String>>)> {
    match parts {
        Parts::Node(target) => {
            let name = machine(world, target, random)?;
            Some((Parts::Node(NodeTarget::Named(name.clone())), vec![name], None))
        }
        Parts::Groups(one, other) => {
            let [one, other] = [one, other].map(|group| {
                let names = group.iter().filter_map(|node| machine(world, node, random));
                names.collect::<Vec<String>>()
            });
            // Whoever is not with the store is cut off; if neither is, whoever is with no server.
            let with_store = |group: &[String]| group.iter().any(|name| name == world.control_plane());
            let with_server = |group: &[String]| group.iter().any(|name| world.is_control_plane(name));
            let first_is_well = with_store(&one) || (!with_store(&other) && with_server(&one));
            let (off, from) = if first_is_well { (other, one) } else { (one, other) };
            Some((parts.clone(), off, Some(from)))
        }
        Parts::Any => {
            let (off, from) = draw_groups(world, random)?;
            let [one, other] = [&off, &from].map(|group| group.iter().cloned().map(NodeTarget::Named).collect());
            Some((Parts::Groups(one, other), off, Some(from)))
        }
    }
}

/// Some of the machines, and the rest, with which the store is. Each machine draws its own lot.
fn draw_groups(world: &World, random: &Random) -> Option<(Vec<String>, Vec<String>)> {
    let mut workers: Vec<String> = world.workers().map(|machine| machine.name.clone()).collect();
    let share = 0.2 + 0.6 * random.fraction();
    let lot = |name: &String| random.stream(name).fraction();
    let first = workers
        .iter()
        .min_by(|one, other| lot(one).total_cmp(&lot(other)))?
        .clone();
    let servers = world.scenario.topology.control_planes();
    workers.extend(servers.into_iter().filter(|name| name != world.control_plane()));
    let (off, mut from): (Vec<String>, Vec<String>) = workers
        .into_iter()
        .partition(|name| *name == first || lot(name) < share);
    from.push(world.control_plane().to_owned());
    Some((off, from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_cut_off_is_told_in_plain_words() {
        let names = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        let (one, two, rest) = (
            names(&["node-1"]),
            names(&["node-1", "node-2"]),
            names(&["control-plane"]),
        );
        let told = [
            describe(&one, None, true, true),
            describe(&one, None, true, false),
            describe(&two, Some(&rest), true, false),
            describe(&two, Some(&rest), false, true),
        ];
        insta::assert_snapshot!(told.join("\n"), @r"
        node-1 is cut off
        node-1 is cut off, only in what it sends,
        node-1, node-2 are cut off from control-plane, only in what they send,
        node-1, node-2 are cut off from control-plane, only in what they are sent,
        ");
    }
}
