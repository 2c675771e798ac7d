//! Makes a node's containers match its pods.
//!
//! [`Kubelet`] watches the pods bound to its node and drives a [`runtime::ContainerRuntime`] towards them: sandboxes,
//! containers, probes, volumes, graceful ends; what comes of it goes back up as statuses and events. For each pod a
//! worker looks at what is there, asks the pure functions of [`plan`] what to do, does the first thing, and looks
//! again.
//!
//! The runtime is the seam between the worlds: Docker for real ([`docker`]), scripted in the simulator. Not here: what
//! packets do (the proxy), and where pods go (the scheduler).

mod act;
pub mod admission;
pub mod backoff;
mod config;
mod context;
#[cfg(not(madsim))]
pub mod docker;
mod downward;
mod env;
mod handler;
mod heartbeat;
mod images;
mod kubelet;
#[cfg(test)]
mod model_tests;
mod node;
mod observer;
mod options;
pub mod plan;
mod pods;
mod probe;
mod report;
pub mod resources;
pub mod runtime;
mod service;
mod sources;
pub mod status;
mod turns;
pub mod view;
mod volumes;
mod worker;

pub use kubelet::Kubelet;
pub use options::Options;
