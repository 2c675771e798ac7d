//! Campaigns: many runs, each in a process of its own. What is run, by whom, what came of it, and what that means.
//!
//! All of this is outside of simulated worlds: it knows threads, files and real time. What a run *is* stands in
//! [`crate::run`].

mod corpus;
mod folder;
mod input;
mod merged;
mod plan;
mod progress;
mod record;
mod runner;
pub(crate) mod signature;
mod streams;
mod summary;
mod tally;
#[cfg(test)]
pub(crate) mod testing;

pub use corpus::Guide;
pub use folder::{Contents, Folder, Head};
pub use input::Input;
pub use merged::{Merged, merge};
pub use plan::{Explorers, Plan, Shard};
pub use progress::Progress;
pub use record::Record;
pub use runner::{Limits, Listed, Source, in_process, in_process_of, run_all, run_all_prepared};
pub(crate) use streams::Streams;
pub use summary::Summary;
pub use tally::Tally;
