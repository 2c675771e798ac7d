//! The object model: kinds, metadata, selectors, quantities, patches, validation, and the messages components exchange.
//!
//! Everything here is pure but for [`clock`], [`task`] and [`random`], the three ways by which code that also runs
//! simulated reaches time, tasks and chance, and [`shared`], which remembers what it decoded. No I/O, no server, no
//! storage.

pub mod clock;
pub mod field;
pub mod fields;
pub mod labels;
pub mod log;
pub mod message;
pub mod meta;
pub mod mutant;
pub mod names;
pub mod patch;
pub mod placement;
pub mod protobuf;
pub mod quantity;
pub mod random;
pub mod schema;
pub mod shared;
pub mod status;
pub mod strict;
pub mod task;
pub mod yaml;
