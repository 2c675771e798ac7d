//! Scenarios, and all of playing them that does not depend on the world: the format ([`scenario`]), the users
//! ([`workload`]), what is known of a cluster by what its store holds ([`model`]), and what must be so in the end
//! ([`convergence`], [`end_state`]).
//!
//! What steps and faults wait for is told to [`triggers`]; what a run has drawn is noted in [`choices`].
//!
//! The same file is played in both worlds. What a world has to lend to the users is [`Stage`]; the simulator's worlds
//! are stages, and so is the cluster of `orrery scenario run`. Faults are each world's own.

pub mod choices;
pub mod convergence;
pub mod end_state;
pub mod exit;
pub mod fields;
pub mod model;
pub mod scenario;
mod stage;
pub mod triggers;
mod vocabulary;
mod waiting;
pub mod workload;

pub use stage::Stage;
pub use vocabulary::{ComponentWords, INVARIANTS, Vocabulary, vocabulary};
pub use waiting::Waiting;
