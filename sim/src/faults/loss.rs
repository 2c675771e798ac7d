//! Loss: requests, or their answers, do not arrive. What is lost breaks its request, and no watch that is open.

use std::sync::Arc;

use orrery_api::random::Random;

use super::mishaps::{befall, one};
use super::swarm::Lot;
use super::{Striking, links};
use crate::link::{Draw, Mishap, Whose, draw_loss};
use crate::model::Asked;
use crate::scenario::{FaultAction, LossSpec, Lost, WhichRequests};
use crate::world::World;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> LossSpec {
    LossSpec::Links {
        links: lot.any_links(),
        which: WhichRequests::Share {
            probability: 0.02 + 0.4 * lot.random.fraction(),
            lasts: lot.lasts(),
        },
    }
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &LossSpec, random: &Random, striking: Striking<'_>) {
    let mishap = |lost, then| match lost {
        Lost::Request => Mishap::RequestLost(then),
        Lost::Answer => Mishap::AnswerLost(then),
    };
    let (whose, which, what, draw): (_, _, _, Draw) = match spec {
        LossSpec::Links { links: target, which } => {
            let Some((target, links)) = links(world, target, random) else {
                return;
            };
            let what = format!("messages on {} are lost", target.describe());
            let draw = move |_: &Asked, random: &Random| {
                let lost = if random.chance(0.5) {
                    Lost::Request
                } else {
                    Lost::Answer
                };
                Some(mishap(lost, draw_loss(random)))
            };
            (Whose::Links(links), which, what, Box::new(draw))
        }
        LossSpec::These {
            client,
            which,
            lost,
            then,
        } => {
            let befalls = mishap(*lost, *then);
            let draw = move |_: &Asked, _: &Random| Some(befalls.clone());
            let what = format!("messages of {client} are lost");
            (Whose::Client(Some(client.clone())), which, what, Box::new(draw))
        }
    };
    let pin = |client, request: &str, number, mishap: &Mishap| {
        let (lost, then) = match mishap {
            Mishap::AnswerLost(then) => (Lost::Answer, *then),
            Mishap::RequestLost(then) => (Lost::Request, *then),
            Mishap::Refused(_) | Mishap::Doubled(_) => Default::default(),
        };
        FaultAction::Loss(LossSpec::These {
            client,
            which: one(request, number),
            lost,
            then,
        })
    };
    let striking = (striking, FaultAction::Loss(spec.clone()));
    befall(world, (whose, which), random, what, (draw, Box::new(pin)), striking).await;
}
