//! Switches that put a known bug back into a component, to measure whether the simulator finds it.
//!
//! Only a build with the feature `mutants` has switches, and no release is such a build: without it every question here
//! is answered by a constant `false`, and the compiler leaves out what hangs on it. One mutant is switched on for the
//! life of a process, before anything runs. What each one is about stands with the simulator, in `sim/src/mutants`.

#[cfg(feature = "mutants")]
mod switch {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    // The one place where state is global: a switch is a property of the build that runs, not of any component.
    static CHOSEN: OnceLock<String> = OnceLock::new();
    static REACHED: AtomicU64 = AtomicU64::new(0);

    /// Switches the mutant `id` on, for the life of the process. False if another one is on.
    pub fn switch_on(id: &str) -> bool {
        CHOSEN.get_or_init(|| id.to_owned()) == id
    }

    /// How often the mutant's branch was taken.
    pub fn reached() -> u64 {
        REACHED.load(Ordering::Relaxed)
    }

    /// Whether the mutant `id` is on.
    pub fn is_on(id: &str) -> bool {
        CHOSEN.get().is_some_and(|chosen| chosen == id)
    }

    /// Whether the mutant `id` is on; if so, its branch counts as taken. The last part of a condition, therefore.
    pub fn active(id: &str) -> bool {
        let on = is_on(id);
        REACHED.fetch_add(u64::from(on), Ordering::Relaxed);
        on
    }
}

#[cfg(not(feature = "mutants"))]
mod switch {
    /// No: this build has no mutants.
    pub const fn is_on(_id: &str) -> bool {
        false
    }

    /// No: this build has no mutants.
    pub const fn active(_id: &str) -> bool {
        false
    }
}

pub use switch::*;
