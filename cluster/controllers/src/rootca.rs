//! Publishes the cluster's certificate authority in every namespace.

use crate::Context;
use crate::informers::Informers;

/// Publishes the cluster's certificate authority in every namespace.
pub(crate) struct RootCaController;

impl RootCaController {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(_context: &Context, _informers: &mut Informers) -> Self {
        RootCaController
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        std::future::pending().await
    }
}
