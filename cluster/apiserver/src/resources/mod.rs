//! The kinds that are served, one module a kind.
//!
//! Each declares its names and the rules of its own; what is common to several stands in `check` (validation),
//! `templates` (pod templates and selectors) and `cells` (tables).

use crate::resource::AnyResource;

pub(crate) mod cells;
mod check;
pub mod configmaps;
pub mod deployments;
pub mod endpoints;
pub mod endpointslices;
pub mod events;
pub mod leases;
pub mod namespaces;
pub mod nodes;
pub mod pods;
pub mod replicasets;
pub mod secrets;
pub mod serviceaccounts;
pub mod services;
mod templates;
#[cfg(test)]
mod testing;

/// Every kind that is served, in the order of discovery: by group, then by plural name.
pub static RESOURCES: &[&dyn AnyResource] = &[
    &configmaps::ConfigMaps,
    &endpoints::Endpoints,
    &events::Events,
    &namespaces::Namespaces,
    &nodes::Nodes,
    &pods::Pods,
    &secrets::Secrets,
    &serviceaccounts::ServiceAccounts,
    &services::Services,
    &deployments::Deployments,
    &replicasets::ReplicaSets,
    &leases::Leases,
    &endpointslices::EndpointSlices,
];
