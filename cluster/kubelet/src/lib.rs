//! Makes a node's containers match its pods.
