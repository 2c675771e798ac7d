//! Doubled writes: a write is carried out twice, and its client hears one answer.
//!
//! TCP doubles nothing. What does is whatever tries again on its own between a client and a server: a proxy or a load
//! balancer that sent a request, did not hear of it in time, and sends it over a fresh connection. The client hears the
//! second answer: that the name is taken, that somebody else has changed the object, that it is gone, by its own doing.

use std::sync::Arc;

use http::Method;
use orrery_api::random::Random;

use super::Striking;
use super::mishaps::{befall, one};
use super::swarm::Lot;
use crate::link::{Doubling, Draw, Mishap, Pin, Whose};
use crate::scenario::{DuplicateSpec, FaultAction, Heard, Span, whose};
use crate::world::World;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> DuplicateSpec {
    DuplicateSpec {
        client: lot.client_or_everybody(),
        after: Span::millis(1, 1000),
        answer: Heard::Second,
        which: lot.any_requests(),
    }
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &DuplicateSpec, random: &Random, striking: Striking<'_>) {
    let whose = whose(spec.client.as_ref());
    let after = spec.after.draw(&random.stream("after"));
    let what = format!("writes of {whose} are carried out again after {after:?}");
    let second = spec.answer == Heard::Second;
    let draw: Draw =
        Box::new(move |asked, _| (asked.method != Method::GET).then_some(Mishap::Doubled(Doubling { after, second })));
    let pin: Pin = Box::new(|client, request, number, mishap| {
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
    });
    let whose = Whose::Client(spec.client.clone());
    let striking = (striking, FaultAction::Duplicate(spec.clone()));
    befall(world, (whose, &spec.which), random, what, (draw, pin), striking).await;
}
