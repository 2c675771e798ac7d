//! Being assembled.

use crate::Context;
use crate::informers::Informers;

/// Being assembled.
pub(crate) struct ReplicaSetController;

impl ReplicaSetController {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(_context: &Context, _informers: &mut Informers) -> Self {
        ReplicaSetController
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        std::future::pending().await
    }
}
