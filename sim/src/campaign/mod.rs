//! Campaigns: many runs, each in a process of its own. What is run, by whom, what came of it, and what that means.
//!
//! All of this is outside of simulated worlds: it knows threads, files and real time. What a run *is* stands in
//! [`crate::run`].

mod input;
mod plan;

pub use input::Input;
pub use plan::{Explorers, Plan, Shard};
