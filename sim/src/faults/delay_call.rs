//! Delayed calls: requests that leave their client late, or answers that are long on their way.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::crash::stall_clients;
use super::{Striking, trace};
use crate::scenario::{ClientTarget, DelayCallSpec, FaultAction, Role, whose};
use crate::world::World;

/// See the module. It has struck when it holds the first call up.
pub async fn strike(world: &Arc<World>, spec: &DelayCallSpec, random: &Random, striking: Striking<'_>) {
    let by = spec.by.draw(random);
    let delay = spec.until.is_none().then_some(by);
    let hold = world.holds.begin(&spec.call, spec.times, delay);
    hold.caught().await;
    let pinned = DelayCallSpec {
        by: if spec.until.is_some() { spec.by } else { by.into() },
        ..spec.clone()
    };
    striking.strikes(FaultAction::DelayCall(pinned));
    world.coverage.saw("a call was delayed");
    let whose = whose(spec.call.client.as_ref());
    let until = match &spec.until {
        Some(_) => "until something happens".to_owned(),
        None => format!("for {by:?}"),
    };
    trace(
        world,
        format_args!("{} of the calls of {whose} are held up {until}", spec.times),
    );
    let began = world.now();
    let longest = delay.unwrap_or_else(|| world.rest_of_chaos());
    let role = spec
        .call
        .client
        .as_ref()
        .and_then(ClientTarget::component)
        .map(|client| client.role);
    match role {
        Some(role) => world.stall(role, longest),
        None => stall_clients(world, longest),
    }
    match &spec.until {
        Some(trigger) => {
            world.arm(trigger).wait().await;
            let roles: Vec<Role> = role.map_or_else(|| Role::all().collect(), |role| vec![role]);
            roles.iter().for_each(|role| world.stall_ends(*role, began));
        }
        None => {
            hold.all_caught().await;
            sleep(by).await;
        }
    }
    world.holds.end(&hold);
}
