//! `orrery scenario run`: a scenario played on a real cluster.
//!
//! The same file that the simulator plays ([`orrery_play`]): the same users, over the API as everybody, and the faults
//! that a real machine can have ([`faults`]). The cluster is one of its own, made for it and deleted in the end, and
//! time is real time. One machine is all nodes, and one process all components; what that leaves out is said
//! ([`playable`]).
//!
//! Judged is convergence: that what was asked for is there in the end, that what runs in Docker is what should, that
//! services answer, and that the cluster is quiet. What the cluster holds then can be written down, for `cargo sim
//! compare` to compare with the simulated world's. Invariants on the way are the simulator's.

mod brief;
mod faults;
mod here;
mod images;
mod machine;
mod mirror;
mod playable;
mod program;
mod run;
mod services;
mod stage;
pub mod stand_in;
mod swarm;
mod walk;

pub use run::{Settings, run};
