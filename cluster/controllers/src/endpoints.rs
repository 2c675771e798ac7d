//! Keeps each service's Endpoints.

use crate::Context;
use crate::informers::Informers;

/// Keeps each service's Endpoints.
pub(crate) struct EndpointsController;

impl EndpointsController {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(_context: &Context, _informers: &mut Informers) -> Self {
        EndpointsController
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        std::future::pending().await
    }
}
