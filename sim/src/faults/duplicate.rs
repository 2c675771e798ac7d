//! Doubled writes: a write is carried out twice, and its client hears one answer.
//!
//! TCP doubles nothing. What does is whatever tries again on its own between a client and a server: a proxy or a load
//! balancer that sent a request, did not hear of it in time, and sends it over a fresh connection. The client hears the second
//! answer: that the name is taken, that somebody else has changed the object, that it is gone, by its own doing.

use std::sync::Arc;

use http::Method;
use orrery_api::random::Random;

use super::mishaps::{befall, one};
use super::swarm::Lot;
use crate::link::{Doubling, Mishap, Whose};
use crate::model::Asked;
use crate::scenario::{ClientTarget, DuplicateSpec, FaultAction, Heard, Span, WhichRequests, whose};
use crate::world::World;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> DuplicateSpec {
    let client = lot.random.chance(0.7).then(|| lot.any_client());
    DuplicateSpec {
        client: client.map(ClientTarget::Component),
        after: Span::millis(1, 1000),
        answer: Heard::Second,
        which: WhichRequests::Share {
            probability: 0.05 + 0.6 * lot.random.fraction(),
            lasts: lot.lasts(),
        },
    }
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &DuplicateSpec, random: &Random, struck: impl FnOnce(FaultAction)) {
    struck(FaultAction::Duplicate(spec.clone()));
    let whose = whose(spec.client.as_ref());
    let after = spec.after.draw(&random.stream("after"));
    let what = format!("writes of {whose} are carried out again after {after:?}");
    let second = spec.answer == Heard::Second;
    let draw = move |asked: &Asked, _: &Random| {
        (asked.method != Method::GET).then_some(Mishap::Doubled(Doubling { after, second }))
    };
    let pin = |client, request: &str, number, mishap: &Mishap| {
        let (after, second) = match mishap {
            Mishap::Doubled(doubling) => (doubling.after, doubling.second),
            Mishap::RequestLost(_) | Mishap::AnswerLost(_) | Mishap::Refused(_) => Default::default(),
        };
        FaultAction::Duplicate(DuplicateSpec {
            client: Some(client),
            after: after.into(),
            answer: if second { Heard::Second } else { Heard::First },
            which: one(request, number),
        })
    };
    let whose = Whose::Client(spec.client.clone());
    befall(
        world,
        (whose, &spec.which),
        random,
        &what,
        (Box::new(draw), Box::new(pin)),
    )
    .await;
}
