//! The swarm: each seed draws which kinds of faults strike, how often, and for how long.
//!
//! A seed that leaves kinds out finds what is hidden when everything happens at once (swarm testing).

use std::sync::Arc;
use std::time::Duration;

use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use tokio::time::{Instant, sleep_until};

use super::strike;
use crate::scenario::{
    ApiLagSpec, ClientTarget, ComponentTarget, CrashSpec, Direction, FaultAction, FaultKind, LagScope, LostAnswersSpec,
    Moment, NodeTarget, PartitionSpec, PauseSpec, Role, Span, WhichAnswers,
};
use crate::world::World;

/// Lets faults of `kinds` strike until `end`; `note` is told of each.
pub async fn run(
    world: &Arc<World>,
    kinds: &[FaultKind],
    end: Instant,
    random: &Random,
    note: impl Fn(Moment, FaultAction) + Clone + Send + Sync + 'static,
) {
    let several = world.api_servers().len() > 1;
    let mut kinds = kinds.to_vec();
    kinds.retain(|kind| several || *kind != FaultKind::ApiLag);
    let mut drawn: Vec<FaultKind> = kinds.iter().copied().filter(|_| random.chance(0.6)).collect();
    if drawn.is_empty() {
        drawn.extend(random.choose(&kinds));
    }
    let mean = random.duration(Duration::from_secs(3), Duration::from_secs(40));
    let longest = random.between(2, 90);
    world.trace.event(
        world.now(),
        "fault",
        format_args!("the swarm draws {drawn:?}, one each {mean:?}"),
    );
    let tasks = TaskGroup::new();
    let mut number = 0u32;
    let mut next = Instant::now();
    loop {
        next += random.duration(mean / 4, mean * 2);
        if next >= end {
            break;
        }
        sleep_until(next).await;
        let Some(kind) = random.choose(&drawn) else { break };
        let own = random.stream(&number.to_string());
        let action = draw(world, *kind, longest, &own);
        let (world, note) = (world.clone(), note.clone());
        tasks.spawn(async move {
            let moment = Moment::At(world.choices.elapsed());
            strike(&world, &action, &own, move |pinned| note(moment, pinned)).await;
        });
        number += 1;
    }
    // The tasks end with this future, when the chaos does.
    std::future::pending::<()>().await;
}

fn draw(world: &World, kind: FaultKind, longest: u64, random: &Random) -> FaultAction {
    let lasts = Span::seconds(1, longest);
    let roles: Vec<Role> = Role::ALL
        .into_iter()
        .filter(|role| *role != Role::Store || world.api_servers().len() > 1)
        .collect();
    let any_component = || ComponentTarget {
        role: *random.choose(&roles).unwrap_or(&Role::Kubelet),
        instance: None,
    };
    match kind {
        FaultKind::Crash if random.chance(0.5) => FaultAction::Crash(CrashSpec {
            node: None,
            component: Some(any_component()),
            lasts,
        }),
        FaultKind::Crash => {
            let node = any_machine(world, random, 0.2);
            FaultAction::Crash(CrashSpec {
                node: Some(node),
                component: None,
                lasts,
            })
        }
        FaultKind::Restart => FaultAction::Restart(any_component()),
        FaultKind::Pause if random.chance(0.7) => FaultAction::Pause(PauseSpec {
            node: None,
            component: Some(any_component()),
            lasts,
        }),
        FaultKind::Pause => FaultAction::Pause(PauseSpec {
            node: Some(NodeTarget::Any),
            component: None,
            lasts,
        }),
        FaultKind::Partition => {
            let directions = [Direction::Both, Direction::Both, Direction::In, Direction::Out];
            let direction = *random.choose(&directions).unwrap_or(&Direction::Both);
            let several = world.api_servers().len() > 1;
            FaultAction::Partition(PartitionSpec {
                node: any_machine(world, random, if several { 0.3 } else { 0.0 }),
                direction,
                lasts,
            })
        }
        FaultKind::LostAnswers => {
            let client = random.chance(0.6).then(any_component);
            FaultAction::LostAnswers(LostAnswersSpec {
                client: client.map(ClientTarget::Component),
                which: WhichAnswers::Share {
                    probability: 0.1 + 0.8 * random.fraction(),
                    lasts,
                },
            })
        }
        FaultKind::ApiLag => {
            let resource = random.choose(&LAGGARDS).copied().flatten();
            FaultAction::ApiLag(ApiLagSpec {
                server: ComponentTarget {
                    role: Role::ApiServer,
                    instance: None,
                },
                scope: resource.map_or(LagScope::Everything, |plural| LagScope::Resource(plural.to_owned())),
                by: random.chance(0.5).then(|| Span::millis(200, 10_000)),
                lasts,
            })
        }
    }
}

/// A machine of the control plane with `probability`, else any worker. Certainty draws nothing.
fn any_machine(world: &World, random: &Random, probability: f64) -> NodeTarget {
    if probability == 0.0 || !random.chance(probability) {
        return NodeTarget::Any;
    }
    let machines = world.scenario.topology.control_planes();
    let chosen = match machines.as_slice() {
        [only] => Some(only),
        several => random.choose(several),
    };
    chosen.map_or(NodeTarget::Any, |name| NodeTarget::Named(name.clone()))
}

/// What lags when a watch cache does: all of it, or one resource.
const LAGGARDS: [Option<&str>; 8] = [
    None,
    None,
    Some("pods"),
    Some("pods"),
    Some("nodes"),
    Some("replicasets"),
    Some("deployments"),
    Some("endpointslices"),
];
