//! Makes a node's packet filter match the cluster's services.
//!
//! * [`plan`](plan::plan) is the whole truth: services and endpoint slices in, a typed [`Ruleset`] out.
//! * [`run`] watches the API and hands the rules to a [`PacketFilter`].
//! * The real filter is `iptables`; the simulator has one that evaluates packets against the very same rules.
//!
//! Not here: pods' addresses and routes (the kubelet's), names of services (DNS), IPv6.

mod conntrack;
mod filter;
#[cfg(not(madsim))]
pub mod iptables;
mod options;
pub mod plan;
pub mod ruleset;
mod sync;

pub use conntrack::Frontends;
pub use filter::{FilterError, PacketFilter, StaleFlows};
pub use options::Options;
pub use ruleset::Ruleset;
pub use sync::run;
