//! What a component needs to talk to the API: [`Api`], [`Informer`], [`WorkQueue`], [`Recorder`] and leader election.
//!
//! Everything goes over the [`Transport`](orrery_api::message::Transport) seam, so the same component runs over TLS, in
//! one process with the server, or over simulated links. No policy lives here: identity, admission and validation are
//! the server's.

mod api;
mod cache;
mod client;
mod custom;
mod error;
#[cfg(not(madsim))]
pub mod https;
mod informer;
mod leader;
mod recorder;
mod watch;
mod workqueue;

pub use api::{Api, DeleteParams, ListParams, ObjectList, Patch, Propagation, Resource, percent_encode};
pub use cache::{Cache, Change};
pub use client::Client;
pub use error::Error;
pub use informer::Informer;
pub use leader::{LeaderElection, lead};
pub use recorder::{EventKind, Recorder};
pub use watch::{WatchEvent, WatchStream};
pub use workqueue::{Next, WorkQueue, process, process_with};
