//! What the end-to-end tests stand on: a real cluster on this machine, the real `kubectl`, images made without any
//! registry, and waiting with limits.
//!
//! The tests themselves are in `tests/real`. They need Docker, root (for iptables) and a `kubectl`; where one of these
//! is missing they say so and pass, unless `ORRERY_REQUIRE_DOCKER=1`. What runs in the simulator is tested in `sim`.

pub mod cluster;
pub mod harness;
pub mod http;
pub mod images;
pub mod kubectl;
pub mod machine;
pub mod process;
pub mod session;
pub mod wait;

pub use cluster::Cluster;
pub use session::Session;
