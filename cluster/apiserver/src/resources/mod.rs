//! The kinds that are served, one module a kind.

use crate::resource::AnyResource;

/// Every kind that is served, in the order of discovery.
pub static RESOURCES: &[&dyn AnyResource] = &[];
