//! The real cluster: `orrery start`, `status`, `stop`, `delete`, and the background process that runs the components.
//!
//! This package only assembles. What a cluster does is in the component packages; here is what it means to run one on
//! this machine: files, certificates, kubeconfig, sockets, signals.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this package runs in the real world only"
)]

#[cfg(madsim)]
compile_error!("the real cluster is not built with `--cfg madsim`: use `cargo sim …` for the simulator");

pub mod command;
pub mod daemon;
pub mod host;
pub mod kubeconfig;
pub mod lock;
pub mod past;
pub mod pki;
pub mod place;
pub mod progress;
pub mod room;
pub mod scenario;
