//! Worlds, faults, invariants: the whole cluster in one deterministic process. Scenarios are `orrery_play`'s.
//!
//! A run is a function of (build, scenario, seed): [`run::run`]. The components are those of the real cluster; what
//! they touch of the world is simulated: time and tasks by madsim, calls by [`link`], the disk by [`disk`], containers
//! by [`runtime`], packets by [`netfilter`]. [`invariants`] must hold always, [`convergence`] in the end.
//!
//! # One's own controllers
//!
//! A program of one's own is a simulator, too, with its controllers beside the house's. Its `main` says what it adds,
//! and is then every command (`run`, `fuzz`, `verify`, `shrink`, `explain` …), for scenarios in the same format:
//!
//! ```ignore
//! use orrery_sim::{Component, Kind, Simulator};
//!
//! fn main() -> std::process::ExitCode {
//!     Simulator::new()
//!         .command("cargo website-sim")
//!         .kind(Kind::<Website>::of().short_names(&["site"]))
//!         .component(Component::new("website-controller", website_controller::run).leader_election())
//!         .invariant(DomainKept::default)
//!         .main()
//! }
//! ```
//!
//! * [`Component`]: an `async fn run(client: orrery_client::Client, random: orrery_api::random::Random)`, a process of
//!   its own on the control plane or on nodes. Faults name it (`restart: website-controller`), scenarios say how many
//!   there are (`topology: { components: { website-controller: 2 } }`).
//! * [`Kind`]: a custom resource, whose type `orrery_client::custom_resource!` declares. The API servers serve it as
//!   all others: discovery, get, list, watch, create, update, patch, delete, and the subresource `status`.
//! * [`Invariant`]: told of everything that is [`Seen`], beside the [`Cluster`] as the store's history has it; it
//!   writes to a [`Report`] what is wrong at once, and says what is `missing` in the end, when all is healed. All
//!   invariants of the house are judged as well.
//!
//! The package `website-controller` (`examples/own-controller`) has all of it, with scenarios, tests for continuous
//! integration, and a mistake that they find. Builds need `--cfg madsim` as a whole; see its README.
#[cfg(not(madsim))]
compile_error!(
    "orrery-sim is simulation only: use `cargo sim …`, which passes `--cfg madsim` (a RUSTFLAGS variable in your environment overrides it)"
);

// First, since its macros are seen by what comes after it.
#[macro_use]
mod output;

pub mod campaign;
mod child;
mod clocks;
pub mod command;
pub mod convergence;
pub mod coverage;
pub mod disk;
pub mod explain;
pub mod faults;
pub mod features;
mod feed;
pub mod fingerprint;
mod history;
pub mod invariants;
pub mod json;
pub mod link;
pub mod mutants;
pub mod netfilter;
mod observing;
mod onlooker;
pub mod recording;
pub mod report;
pub mod run;
pub mod runtime;
pub mod shrink;
mod simulator;
mod stage;
mod sweep;
pub mod timeline;
pub mod trace;
pub mod traffic;
pub mod variation;
pub mod world;

pub use orrery_play::{choices, end_state, exit, model, scenario, triggers, workload};

pub use invariants::{Invariant, Missing, Report};
pub use model::{Change, Cluster, Item, ObjectId, Seen};
pub use scenario::Role;
pub use simulator::{Component, Kind, Simulator};

/// Runs a future in a simulation of its own, in a fresh thread; for tests.
#[cfg(test)]
pub(crate) fn in_simulation<T, F>(seed: u64, make: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let run = move || madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default()).block_on(make());
    std::thread::spawn(run)
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
