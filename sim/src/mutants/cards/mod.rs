//! The cards: the bugs of Kubernetes, and sabotages of our own by where they are.

mod api;
mod control_plane;
mod hooks;
mod kubernetes;
mod machines;
mod refusals;
mod scheduler;
mod services;
mod workloads;

use super::Card;

/// Every mutant: the bugs of Kubernetes first.
pub fn cards() -> impl Iterator<Item = &'static Card> {
    kubernetes::CARDS
        .iter()
        .chain(control_plane::CARDS)
        .chain(api::CARDS)
        .chain(scheduler::CARDS)
        .chain(refusals::CARDS)
        .chain(services::CARDS)
        .chain(workloads::CARDS)
        .chain(machines::CARDS)
        .chain(hooks::CARDS)
}

const fn card(
    id: &'static str,
    source: &'static str,
    component: &'static str,
    mechanism: &'static str,
    schedule: &'static str,
    invariants: &'static [&'static str],
) -> Card {
    Card {
        id,
        source,
        component: Some(component),
        mechanism,
        schedule,
        invariants,
    }
}

/// A bug of a component that this cluster does not have yet.
const fn missing(id: &'static str, source: &'static str, mechanism: &'static str) -> Card {
    Card {
        id,
        source,
        component: None,
        mechanism,
        schedule: "",
        invariants: &[],
    }
}
