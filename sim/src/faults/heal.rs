//! The end of the chaos: what is healed, and what stays broken for ever.
//!
//! The control plane is healed, unless the scenario says that a machine of a further API server stays as it is. Of the
//! broken workers a part stays as it is, never so many that fewer than two thirds of all are well: the healed core must
//! have room for the pods.

use super::trace;
use crate::scenario::Heal;
use crate::world::World;

/// Heals the core, or everything; the machines that stay broken.
pub fn heal(world: &World) -> Vec<String> {
    let random = world.random.stream("heal");
    world.set_healed();
    world.network.calm();
    world.network.fates.release_all();
    world.lags.end_all();
    world.clocks.end_all();
    if let Some(disk) = world.disk() {
        disk.end_all();
    }
    world.holds.end_all();
    let total = world.workers().count();
    let mut machines = world.scenario.topology.control_planes();
    machines.extend(world.workers().map(|machine| machine.name.clone()));
    let is_named = |name: &String| matches!(&world.scenario.heal, Heal::AllBut(machines) if machines.contains(name));
    // Who is lost is judged by the servers there will be.
    for name in machines
        .iter()
        .filter(|name| world.is_control_plane(name) && !is_named(name))
    {
        world.boot_machine(name);
    }
    let mut broken = world.broken_machines();
    // A machine that is cut off from some others only works on, and stays so only if the scenario says it.
    broken.extend(machines.iter().filter(|name| world.network.is_cut(name)).cloned());
    let mut broken: Vec<String> = broken.into_iter().collect();
    // Each machine draws its own lot: one more broken one changes nothing for the others.
    broken.sort_by_key(|name| random.stream(name).bits());
    let mut left = Vec::new();
    for name in broken {
        let room = (left.len() + 1) * 3 <= total;
        let needed = !world.own_components_on(std::slice::from_ref(&name)).is_empty();
        let stays = match &world.scenario.heal {
            Heal::All => false,
            Heal::AllBut(_) => is_named(&name),
            Heal::Core if world.is_control_plane(&name) => false,
            Heal::Core => room && world.is_lost(&name) && !needed && random.stream(&name).stream("stays").chance(0.5),
        };
        if stays {
            left.push(name);
        }
    }
    left.sort();
    world.choices.left(&left);
    let processes = world.process_names(|process| !left.contains(&process.machine));
    for name in machines.iter().filter(|name| !left.contains(name)) {
        world.network.mend_all(name);
        if let Some(worker) = world.machine(name).and_then(|machine| machine.worker.as_ref()) {
            worker.runtime.heal();
            worker.filter.heal();
        }
        world.boot_machine(name);
    }
    for process in &processes {
        world.resume_fully(process);
        world.start(process);
    }
    let disturbs = left.iter().any(|name| world.is_control_plane(name));
    world.witness.change(world, |cluster| cluster.heal(disturbs));
    let rest = if left.is_empty() {
        "everything".to_owned()
    } else {
        format!("all but {}", left.join(", "))
    };
    trace(world, format_args!("the chaos is over; healed is {rest}"));
    left
}
