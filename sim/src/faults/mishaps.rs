//! What befalls single requests, whatever it is: for a while, or until all that are named have come.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::{Striking, listed, trace};
use crate::link::{Draw, Meddler, Pin, Which, Whose};
use crate::scenario::{FaultAction, WhichRequests};
use crate::world::World;

/// Lets what `draw` says befall requests; `what` is it in the words of the trace. A share of all is in force for its
/// time, whoever comes; those that are numbered are when the first of them has come.
pub async fn befall(
    world: &Arc<World>,
    (whose, which): (Whose, &WhichRequests),
    random: &Random,
    what: String,
    (draw, pin): (Draw, Pin),
    (striking, pinned): (Striking<'_>, FaultAction),
) {
    let began = world.choices.elapsed();
    let meddler = |which, victims| Meddler {
        whose,
        which,
        draw,
        pin,
        began,
        random: random.stream("requests"),
        victims,
    };
    match which {
        WhichRequests::Share { probability, lasts } => {
            let lasts = lasts.draw(random);
            let victims = striking.begins(pinned);
            trace(
                world,
                format_args!("{what}, {probability:.2} of all requests, for {lasts:?}"),
            );
            let which = Which::Chance {
                probability: *probability,
                until: world.now() + lasts,
            };
            world.network.mishaps(|mishaps| mishaps.begin(meddler(which, victims)));
            sleep(lasts).await;
        }
        WhichRequests::These { request, nth } => {
            let told = format!("{what}: number {} of {request}", listed(nth));
            let victims = striking.begins_with_first(pinned, move |world| trace(world, format_args!("{told}")));
            let which = Which::These {
                request: request.clone(),
                nth: nth.clone(),
            };
            let done = world.network.mishaps(|mishaps| mishaps.begin(meddler(which, victims)));
            done.notified().await;
        }
    }
}

/// Just one of all requests.
pub fn one(request: &str, number: u32) -> WhichRequests {
    WhichRequests::These {
        request: request.to_owned(),
        nth: vec![number],
    }
}
