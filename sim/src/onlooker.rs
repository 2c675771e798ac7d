//! Somebody who only watches, by a field whose value changes: what ceases to match has to be shown as gone.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use orrery_api::task::TaskGroup;
use orrery_client::Informer;

use crate::stage::administrator;
use crate::world::World;

/// Lets somebody look on until the tasks are dropped.
pub fn look_on(world: &Arc<World>, tasks: &TaskGroup) {
    let random = world.random.stream("onlooker");
    let client = administrator(world, "onlooker", &random);
    tasks.spawn(
        Informer::<Pod>::new(&client, &random)
            .fields("status.phase=Pending")
            .run(),
    );
}
