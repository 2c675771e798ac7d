//! The cards, in two tables.

mod kubernetes;
mod own;

use super::Card;

/// Every mutant: the bugs of Kubernetes first.
pub fn cards() -> impl Iterator<Item = &'static Card> {
    kubernetes::CARDS.iter().chain(own::CARDS)
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
