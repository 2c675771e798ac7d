//! Makes a node's packet filter match the cluster's services.

mod filter;
pub mod ruleset;

pub use filter::{FilterError, PacketFilter, StaleFlows};
pub use ruleset::Ruleset;
