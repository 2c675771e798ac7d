//! What befalls single requests, whatever it is: for a while, or until all that are named have come.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::{listed, trace};
use crate::link::{Draw, Meddler, Pin, Which, Whose};
use crate::scenario::WhichRequests;
use crate::world::World;

/// Lets what `draw` says befall requests; `what` is it in the words of the trace.
pub async fn befall(
    world: &Arc<World>,
    (whose, which): (Whose, &WhichRequests),
    random: &Random,
    what: &str,
    (draw, pin): (Draw, Pin),
) {
    let (which, lasts) = match which {
        WhichRequests::Share { probability, lasts } => {
            let lasts = lasts.draw(random);
            trace(
                world,
                format_args!("{what}, {probability:.2} of all requests, for {lasts:?}"),
            );
            let which = Which::Chance {
                probability: *probability,
                until: world.now() + lasts,
            };
            (which, Some(lasts))
        }
        WhichRequests::These { request, nth } => {
            trace(
                world,
                format_args!("{what}, from now on number {} of {request}", listed(nth)),
            );
            let which = Which::These {
                request: request.clone(),
                nth: nth.clone(),
            };
            (which, None)
        }
    };
    let meddler = Meddler {
        whose,
        which,
        draw,
        pin,
        began: world.choices.elapsed(),
        random: random.stream("requests"),
    };
    let done = world.network.mishaps(|mishaps| mishaps.begin(meddler));
    match lasts {
        Some(lasts) => sleep(lasts).await,
        None => done.notified().await,
    }
}

/// Just one of all requests.
pub fn one(request: &str, number: u32) -> WhichRequests {
    WhichRequests::These {
        request: request.to_owned(),
        nth: vec![number],
    }
}
