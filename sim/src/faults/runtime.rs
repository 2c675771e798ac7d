//! A sick container runtime: it hangs, is away, tells late or not at all what happens, or leaves things behind.

use std::sync::Arc;
use std::time::Duration;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::containers::runtime;
use super::swarm::Lot;
use super::{Striking, machine, trace};
use crate::runtime::Trouble;
use crate::scenario::{FaultAction, NodeTarget, Role, RuntimeSpec, RuntimeTrouble};
use crate::world::World;

/// So long a kubelet waits for a call that does not return.
const CALL_LIMIT: Duration = Duration::from_secs(120);

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> RuntimeSpec {
    let trouble = *lot.random.choose(&RuntimeTrouble::ALL).unwrap_or(&RuntimeTrouble::Hang);
    RuntimeSpec::new(NodeTarget::Any, trouble, lot.lasts())
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &RuntimeSpec, random: &Random, striking: Striking<'_>) {
    let Some(name) = machine(world, &spec.node, random) else {
        return;
    };
    let Some(runtime) = runtime(world, &name) else { return };
    let lasts = spec.lasts.draw(random);
    let node = NodeTarget::Named(name.clone());
    striking.strikes(FaultAction::Runtime(RuntimeSpec::new(node, spec.trouble, lasts.into())));
    let (trouble, what) = match spec.trouble {
        RuntimeTrouble::Hang => (Trouble::Hang, "hangs"),
        RuntimeTrouble::Deadlock => (Trouble::Deadlock, "hangs, and only says who it is,"),
        RuntimeTrouble::Stuck => (Trouble::Stuck, "never returns from calls made"),
        RuntimeTrouble::Restart => (Trouble::Away, "is away"),
        RuntimeTrouble::LateEvents => (Trouble::LateEvents, "tells late what happens"),
        RuntimeTrouble::LostEvents => (Trouble::LostEvents, "tells nothing of what happens"),
        RuntimeTrouble::Leak => (Trouble::Leak, "removes no sandboxes"),
        RuntimeTrouble::Stray => return runtime.add_stray(),
    };
    trace(world, format_args!("the runtime of {name} {what} for {lasts:?}"));
    // Its kubelet waits with it, and for calls that never return a while longer.
    let now = world.now();
    if trouble == Trouble::Stuck {
        world.witness.change(world, |cluster| {
            cluster.stall_with_patience(Role::Kubelet, now, now + lasts + CALL_LIMIT, CALL_LIMIT);
        });
    } else {
        world.stall(Role::Kubelet, lasts);
    }
    if trouble == Trouble::Away {
        runtime.go_away();
    } else {
        runtime.troubles.begin(trouble);
    }
    if runtime.troubles.is_silent() {
        world.coverage.saw("a runtime did not answer");
    }
    sleep(lasts).await;
    runtime.troubles.end(trouble);
}
