//! Lost answers: writes that took effect, but whose senders never hear so.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::swarm::Lot;
use super::{Striking, listed, trace};
use crate::scenario::{ClientTarget, FaultAction, LostAnswersSpec, WhichAnswers, whose};
use crate::world::World;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> LostAnswersSpec {
    let client = lot.random.chance(0.6).then(|| lot.any_component());
    LostAnswersSpec {
        client: client.map(ClientTarget::Component),
        which: WhichAnswers::Share {
            probability: 0.1 + 0.8 * lot.random.fraction(),
            lasts: lot.lasts(),
        },
    }
}

/// See the module. Of answers that are drawn, those that were lost are noted one by one.
pub async fn strike(world: &Arc<World>, spec: &LostAnswersSpec, random: &Random, striking: Striking<'_>) {
    let pinned = FaultAction::LostAnswers(spec.clone());
    let whose = whose(spec.client.as_ref());
    let began = world.choices.elapsed();
    match &spec.which {
        WhichAnswers::Share { probability, lasts } => {
            let lasts = lasts.draw(random);
            let victims = striking.begins(pinned);
            trace(
                world,
                format_args!("answers to writes of {whose} are lost, {probability} of them, for {lasts:?}"),
            );
            let until = Some(world.now() + lasts);
            world.network.lose_answers(spec, began, until, victims);
            sleep(lasts).await;
        }
        WhichAnswers::These { write, requests, .. } => {
            let told = format!(
                "the answers to {write} of {whose} are lost: number {}",
                listed(requests)
            );
            let victims = striking.begins_with_first(pinned, move |world| trace(world, format_args!("{told}")));
            let done = world.network.lose_answers(spec, began, None, victims);
            done.notified().await;
        }
    }
}
