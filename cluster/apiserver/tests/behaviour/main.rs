//! Kubernetes' contract, driven through the service as clients do, over a disk in memory. A module a behaviour.

mod allocation;
mod custom;
mod deleting;
mod fuzz;
mod lagging;
mod listing;
mod refusals;
mod rights;
mod subresources;
mod watching;
mod world;
mod writing;
