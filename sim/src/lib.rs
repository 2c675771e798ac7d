//! Worlds, scenarios, faults, invariants: the whole cluster in one deterministic process.
#[cfg(not(madsim))]
compile_error!("orrery-sim is simulation only: use `cargo sim …`, which passes `--cfg madsim` (a RUSTFLAGS variable in your environment overrides it)");
