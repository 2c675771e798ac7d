//! Somebody who only watches, by a field whose value changes: what ceases to match has to be shown as gone.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use orrery_api::message::Identity;
use orrery_api::task::TaskGroup;
use orrery_client::{Client, Informer};

use crate::link::SimTransport;
use crate::world::World;

/// Lets somebody look on until the tasks are dropped.
pub fn look_on(world: &Arc<World>, tasks: &TaskGroup) {
    let random = world.random.stream("onlooker");
    let identity = Identity::new("kubernetes-admin", &["system:masters"]);
    let link = SimTransport::new(world, "onlooker", None, "workstation", identity, random.stream("link"));
    let client = Client::new(link, "kubectl").with_limit(Duration::from_secs(10));
    tasks.spawn(
        Informer::<Pod>::new(&client, &random)
            .fields("status.phase=Pending")
            .run(),
    );
}
