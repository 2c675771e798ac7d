//! A controller of one's own: the kind [`Website`], served by a Deployment and a Service, and known by its domain.
//!
//! A domain belongs to one website at a time. Who holds it stands in a ConfigMap of its name in the namespace
//! [`DOMAINS`], which stands here for a registrar somewhere outside: nobody collects it, so that websites have a
//! finalizer. Whoever comes second waits until the domain is free.
//!
//! The controller is written as the house's are: observe (caches), plan (pure functions, in [`plan`]), act (with
//! preconditions), and holds nothing that it cannot lose. [`run_careless`] is the same with a mistake in it, for the
//! simulator to find: see `src/bin/website-sim` for its invariants, and `README.md` for how to run it.

mod controller;
mod kind;
pub mod plan;

pub use controller::{run, run_careless};
pub use kind::{DOMAINS, FINALIZER, HOLDER, Website, WebsiteSpec, WebsiteStatus};
