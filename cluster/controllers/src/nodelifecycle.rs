//! Marks silent nodes and evicts their pods.

use crate::Context;
use crate::informers::Informers;

/// Marks silent nodes and evicts their pods.
pub(crate) struct NodeLifecycleController;

impl NodeLifecycleController {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(_context: &Context, _informers: &mut Informers) -> Self {
        NodeLifecycleController
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        std::future::pending().await
    }
}
