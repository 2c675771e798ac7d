//! Lost answers: writes that took effect, but whose senders never hear so.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use crate::link::LostAnswers;
use crate::scenario::LostAnswersSpec;
use crate::world::World;

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &LostAnswersSpec, random: &Random, struck: impl FnOnce()) {
    let lasts = spec.lasts.draw(random);
    struck();
    let whose = spec.client.as_ref().map_or("everybody".to_owned(), ToString::to_string);
    world.trace.event(
        world.now(),
        "fault",
        format_args!(
            "answers to writes of {whose} are lost, {} of them, for {lasts:?}",
            spec.probability
        ),
    );
    world.network.lose_answers(LostAnswers {
        client: spec.client.clone(),
        probability: spec.probability,
        until: world.now() + lasts,
    });
    sleep(lasts).await;
}
