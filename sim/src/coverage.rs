//! What a run *sometimes* saw: a campaign that never saw a thing has not tested it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Everything worth seeing, so that a campaign can name what it never saw.
pub const THINGS: &[&str] = &[
    "a request was lost",
    "an answer was lost",
    "watches lagged",
    "a link was slow",
    "connections were reset",
    "a connection was half-open",
    "a client read slowly",
    "a request was carried out twice",
    "a write outlived its sender's patience",
    "an API server erred",
    "watches were dropped",
    "a watch broke",
    "an API server lagged",
    "a server died over a write",
    "a client moved to another API server",
    "a component was moved to another API server",
    "a call was delayed",
    "a relist after 410",
    "a page was too old to go on from",
    "a write conflicted",
    "a create found the name taken",
    "a component restarted",
    "a component was paused",
    "a machine crashed",
    "a machine came back",
    "a partition opened",
    "a disk was in trouble",
    "a clock was wrong",
    "the history was compacted",
    "a process ended by itself",
    "a store refused to open",
    "the API server restarted",
    "an unsynced write was lost",
    "a leader changed",
    "a pod moved after node loss",
    "a pod was replaced",
    "a name was used again",
    "a container crashed",
    "a container was restarted",
    "a container was killed for its memory",
    "a pull failed",
    "a runtime did not answer",
    "a sandbox could not be removed",
    "a node was deleted",
    "a machine was replaced",
    "a node was drained",
    "a rollout finished",
    "a finalizer was removed",
    "an object was collected after its owner",
];

/// Counters of what was seen.
#[derive(Default)]
pub struct Coverage {
    seen: Mutex<BTreeMap<&'static str, u64>>,
}

impl Coverage {
    /// Counts one sight of `thing`.
    pub fn saw(&self, thing: &'static str) {
        debug_assert!(
            THINGS.contains(&thing),
            "{thing:?} is not in the list of things worth seeing"
        );
        *self
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(thing)
            .or_default() += 1;
    }

    /// The counts.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
