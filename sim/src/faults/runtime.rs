//! A sick container runtime: it hangs, is away, tells late or not at all what happens, or leaves things behind.

use std::sync::Arc;
use std::time::Duration;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::containers::runtime;
use super::swarm::Lot;
use super::{machine, trace};
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
pub async fn strike(world: &Arc<World>, spec: &RuntimeSpec, random: &Random, struck: impl FnOnce(FaultAction)) {
    let Some(name) = machine(world, &spec.node, random) else {
        return;
    };
    let Some(runtime) = runtime(world, &name) else { return };
    let lasts = spec.lasts.draw(random);
    let node = NodeTarget::Named(name.clone());
    struck(FaultAction::Runtime(RuntimeSpec::new(node, spec.trouble, lasts.into())));
    let trouble = match spec.trouble {
        RuntimeTrouble::Hang => Trouble::Hang,
        RuntimeTrouble::Deadlock => Trouble::Deadlock,
        RuntimeTrouble::Stuck => Trouble::Stuck,
        RuntimeTrouble::Restart => Trouble::Away,
        RuntimeTrouble::LateEvents => Trouble::LateEvents,
        RuntimeTrouble::LostEvents => Trouble::LostEvents,
        RuntimeTrouble::Leak => Trouble::Leak,
        RuntimeTrouble::Stray => return runtime.add_stray(),
    };
    trace(world, format_args!("the runtime of {name}: {trouble:?}, for {lasts:?}"));
    // Its kubelet waits with it, and for calls that never return a while longer.
    let held = match trouble {
        Trouble::Stuck => lasts + CALL_LIMIT,
        _ => lasts,
    };
    world.stall(Role::Kubelet, held);
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
