//! Nodes: deleted while they live, replaced by another machine of their name, wiped, flapping, drained, short of
//! something.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use orrery_api::random::Random;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::containers::runtime;
use super::swarm::Lot;
use super::{Striking, machine, trace};
use crate::model::Item;
use crate::runtime::Trouble;
use crate::scenario::{FaultAction, NodeTarget, NodeTrouble, NodesSpec, Role, Span};
use crate::workload::{self, User};
use crate::world::World;

/// So long a kubelet stands still that flaps: longer than its lease lasts, so that its node is taken for lost.
const DOWN: Duration = Duration::from_secs(50);
/// So long it runs in between.
const UP: Duration = Duration::from_secs(15);
/// How long one request to evict may take; `kubectl drain` asks again then.
const EVICTION: Duration = Duration::from_secs(5);

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> NodesSpec {
    let trouble = *lot.random.choose(&NodeTrouble::ALL).unwrap_or(&NodeTrouble::Delete);
    let lasts = match trouble {
        NodeTrouble::Flap => Span::seconds(50, 180),
        _ => lot.lasts(),
    };
    NodesSpec::new(NodeTarget::Any, trouble, lasts)
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &NodesSpec, random: &Random, striking: Striking<'_>) {
    let Some(name) = machine(world, &spec.node, random) else {
        return;
    };
    let lasts = spec.lasts.draw(random);
    let node = NodeTarget::Named(name.clone());
    striking.strikes(FaultAction::Nodes(NodesSpec::new(node, spec.trouble, lasts.into())));
    let operator = User::with(world.clone(), random.stream("operator"));
    match spec.trouble {
        NodeTrouble::Delete => delete(world, &operator, &name).await,
        NodeTrouble::Replace => {
            trace(world, format_args!("{name} is lost for good"));
            world.crash_machine(&name);
            sleep(lasts / 2).await;
            delete(world, &operator, &name).await;
            sleep(lasts / 2).await;
            world.replace_machine(&name);
        }
        NodeTrouble::Wipe => {
            trace(world, format_args!("{name} is lost for {lasts:?}"));
            world.crash_machine(&name);
            sleep(lasts).await;
            world.replace_machine(&name);
        }
        NodeTrouble::Flap => flap(world, &name, Instant::now() + lasts).await,
        NodeTrouble::Drain => drain(world, &operator, &name, Instant::now() + lasts).await,
        NodeTrouble::MemoryPressure => press(world, &name, Trouble::MemoryShort, lasts).await,
        NodeTrouble::DiskPressure => press(world, &name, Trouble::DiskShort, lasts).await,
    }
}

async fn delete(world: &World, operator: &User, name: &str) {
    trace(world, format_args!("an operator deletes node {name}"));
    world.coverage.saw("a node was deleted");
    // An operator who is never answered lets it be.
    let _ = operator
        .ask(Method::DELETE, &format!("/api/v1/nodes/{name}"), None)
        .await;
}

async fn flap(world: &World, name: &str, end: Instant) {
    let kubelet = format!("{}/{name}", Role::Kubelet);
    while Instant::now() < end {
        if world.pause(&kubelet) {
            world.stall(Role::Kubelet, DOWN);
            let until = world.now() + DOWN;
            world.witness.change(world, |cluster| cluster.pause(&kubelet, until));
            sleep(DOWN).await;
            world.resume(&kubelet);
        }
        sleep(UP).await;
    }
}

async fn press(world: &World, name: &str, trouble: Trouble, lasts: Duration) {
    let Some(runtime) = runtime(world, name) else { return };
    let what = match trouble {
        Trouble::MemoryShort => "memory",
        _ => "room on its disk",
    };
    trace(world, format_args!("{name} is short of {what} for {lasts:?}"));
    runtime.troubles.begin(trouble);
    sleep(lasts).await;
    runtime.troubles.end(trouble);
}

/// As `kubectl drain --ignore-daemonsets` and, in the end, `kubectl uncordon`. Unlike the step `drain`, the operator
/// evicts whatever comes to the node until his time is up, and a refusal is no fault of the scenario's.
async fn drain(world: &World, operator: &User, name: &str, end: Instant) {
    trace(world, format_args!("an operator drains {name}"));
    world.coverage.saw("a node was drained");
    world.note_drained(name, true);
    cordon(operator, name, true).await;
    while Instant::now() < end {
        let pods: Vec<(String, String)> = world.witness.look(world, |cluster| {
            let there = cluster.all("pods").filter(|pod| pod.node_name() == name);
            let wanted = there.filter(|pod| pod.is_live_pod() && is_evicted(pod));
            wanted
                .map(|pod| (pod.id.namespace.clone(), pod.id.name.clone()))
                .collect()
        });
        if pods.is_empty() {
            break;
        }
        for (namespace, pod) in pods {
            let (path, body) = workload::eviction(&namespace, &pod);
            let _ = timeout(EVICTION, operator.ask(Method::POST, &path, body)).await;
        }
        sleep(Duration::from_secs(1)).await;
    }
    sleep_until(end).await;
    cordon(operator, name, false).await;
    world.note_drained(name, false);
}

/// Whether a drain evicts the pod: it has somebody who makes it anew elsewhere.
fn is_evicted(pod: &Item) -> bool {
    let owners = pod.meta.owner_references.iter().flatten();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true));
    controllers.next().is_some_and(|owner| owner.kind != "DaemonSet")
}

async fn cordon(operator: &User, name: &str, is_forbidden: bool) {
    let (path, patch) = workload::cordon(name, is_forbidden);
    let _ = operator.ask(Method::PATCH, &path, patch).await;
}

/// Allows pods again on the nodes whose drain the end of the chaos cut short.
pub async fn uncordon(world: Arc<World>) {
    for name in world.drained() {
        let operator = User::with(world.clone(), world.random.stream(&format!("uncordon/{name}")));
        cordon(&operator, &name, false).await;
        world.note_drained(&name, false);
    }
}
