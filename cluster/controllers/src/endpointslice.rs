//! Keeps each service's endpoint slices.

use crate::Context;
use crate::informers::Informers;

/// Keeps each service's endpoint slices.
pub(crate) struct EndpointSliceController;

impl EndpointSliceController {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(_context: &Context, _informers: &mut Informers) -> Self {
        EndpointSliceController
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        std::future::pending().await
    }
}
