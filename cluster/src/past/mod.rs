//! Looking into the past: the API of a recorded cluster, frozen at a moment, for the ordinary kubectl.
//!
//! The simulator writes what its store held and when (`history`); `frozen` builds the state of a moment from it and
//! refuses every change; `serve` puts that on a port of this machine, with a kubeconfig, and moves the moment when
//! told. There are no nodes behind it: logs cannot be read.

mod frozen;
mod history;
mod serve;

pub use serve::serve;
