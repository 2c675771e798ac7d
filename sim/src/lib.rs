//! Worlds, scenarios, faults, invariants: the whole cluster in one deterministic process.
//!
//! A run is a function of (build, scenario, seed): [`run::run`]. The components are those of the real cluster; what they
//! touch of the world is simulated: time and tasks by madsim, calls by [`link`], the disk by [`disk`], containers by
//! [`runtime`], packets by [`netfilter`]. [`invariants`] must hold always, [`convergence`] in the end.
#[cfg(not(madsim))]
compile_error!(
    "orrery-sim is simulation only: use `cargo sim …`, which passes `--cfg madsim` (a RUSTFLAGS variable in your environment overrides it)"
);

pub mod campaign;
pub mod choices;
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
pub mod link;
pub mod model;
pub mod mutants;
pub mod netfilter;
mod observing;
pub mod recording;
pub mod report;
pub mod run;
pub mod runtime;
pub mod scenario;
pub mod shrink;
mod simulator;
pub mod timeline;
pub mod trace;
pub mod traffic;
pub mod variation;
pub mod workload;
pub mod world;

pub use invariants::{Invariant, Report};
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
