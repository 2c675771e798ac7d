//! A churning user: random but seeded operations until the end of his time. He leaves no node cordoned.
//!
//! Each operation is a step as the scenario could say it; drawing it is all that happens here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use orrery_api::random::Random;
use tokio::time::{Instant, sleep};

use super::next;
use super::steps::{User, perform};
use crate::choices::Occurrences;
use crate::scenario::{
    ChurnKind, ChurnSpec, CordonSpec, DeploymentChoice, Moment, NodeTarget, PodChoice, ScaleSpec, StepAction,
};
use crate::world::World;

/// A deployment that lives: its namespace, its name, and how many replicas are asked for.
type Living = (String, String, i32);

/// Does operations of the spec's kinds until `end`. `names` tells equal steps apart.
pub async fn run(world: &Arc<World>, spec: &ChurnSpec, end: Instant, random: &Random, names: &Arc<Mutex<Occurrences>>) {
    let act = |action: StepAction| async move {
        let user = User::new(world, &next(names, &action));
        perform(&user, Moment::At(world.choices.elapsed()), &action).await;
    };
    let mut cordoned: Option<NodeTarget> = None;
    let mut first: BTreeMap<(String, String), i32> = BTreeMap::new();
    for turn in 0u64.. {
        let random = random.stream(&turn.to_string());
        let pause = spec.every.draw(&random);
        if Instant::now() + pause >= end {
            break;
        }
        sleep(pause).await;
        if let Some(node) = cordoned.take() {
            act(StepAction::Uncordon(CordonSpec { node })).await;
        }
        let Some(kind) = random.choose(&spec.ops) else {
            break;
        };
        let Some(action) = draw(world, *kind, &random, &mut first) else {
            continue;
        };
        if let StepAction::Cordon(spec) = &action {
            cordoned = Some(spec.node.clone());
        }
        act(action).await;
    }
    if let Some(node) = cordoned {
        act(StepAction::Uncordon(CordonSpec { node })).await;
    }
    // What was scaled goes back to what it was, so that the end does not depend on the last roll of the dice.
    for ((namespace, deployment), replicas) in first {
        act(StepAction::Scale(ScaleSpec {
            deployment,
            namespace,
            replicas,
        }))
        .await;
    }
}

/// An operation; none if there is nothing to do it to. `first` remembers how many replicas there were at first.
fn draw(
    world: &World,
    kind: ChurnKind,
    random: &Random,
    first: &mut BTreeMap<(String, String), i32>,
) -> Option<StepAction> {
    if kind == ChurnKind::Cordon {
        let names: Vec<String> = world.workers().map(|machine| machine.name.clone()).collect();
        let node = NodeTarget::Named(random.choose(&names)?.clone());
        return Some(StepAction::Cordon(CordonSpec { node }));
    }
    let living = living(world);
    let (namespace, deployment, replicas) = pick(&living, random)?.clone();
    let choice = DeploymentChoice {
        deployment: deployment.clone(),
        namespace: namespace.clone(),
    };
    Some(match kind {
        ChurnKind::Scale => {
            let base = *first.entry((namespace.clone(), deployment.clone())).or_insert(replicas);
            StepAction::Scale(ScaleSpec {
                deployment,
                namespace,
                replicas: random.between(0, 2 * base.max(1) as u64) as i32,
            })
        }
        ChurnKind::DeletePod => StepAction::DeletePod(PodChoice {
            labels: None,
            namespace,
            count: 1,
            nth: None,
        }),
        ChurnKind::Restart => StepAction::Restart(choice),
        ChurnKind::CreateDeleteSameName => StepAction::CreateDeleteSameName(choice),
        ChurnKind::DeleteForeground => StepAction::DeleteForeground(choice),
        ChurnKind::Cordon => return None,
    })
}

fn living(world: &World) -> Vec<Living> {
    world.witness.look(world, |cluster| {
        let all = cluster.all("deployments.apps").filter(|item| !item.is_terminating());
        all.filter_map(|item| {
            let replicas = item.deployment()?.spec.as_ref()?.replicas.unwrap_or(1);
            Some((item.id.namespace.clone(), item.id.name.clone(), replicas))
        })
        .collect()
    })
}

/// One of the deployments. Each draws its own lot, so that one more or one less changes nothing between the others.
fn pick<'a>(living: &'a [Living], random: &Random) -> Option<&'a Living> {
    living
        .iter()
        .max_by_key(|(namespace, name, _)| random.stream(&format!("{namespace}/{name}")).bits())
}
