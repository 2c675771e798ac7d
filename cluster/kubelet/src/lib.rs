//! Makes a node's containers match its pods.

pub mod runtime;
