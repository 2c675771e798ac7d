//! What the world knows to be true: the store's history, decoded, and who is stalled by a fault.
//!
//! Nothing here is read from a component's memory or a status's claim: the history comes from the store's own watch.

mod cluster;
mod disturbance;
mod endpoints;
mod holdups;
mod item;
pub mod noise;
mod seen;
#[cfg(test)]
mod tests;

pub use cluster::{Cluster, History, Made};
pub use disturbance::Reach;
pub use endpoints::EndpointState;
pub use item::{Item, ObjectId, Typed, resource_of, sidecars};
pub use seen::{Answered, Asked, Call, Caller, Change, Entry, Path, Seen, Selection, WatchEventKind, selects};
