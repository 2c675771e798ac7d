//! Empties namespaces that are being deleted.

use crate::Context;
use crate::informers::Informers;

/// Empties namespaces that are being deleted.
pub(crate) struct NamespaceController;

impl NamespaceController {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(_context: &Context, _informers: &mut Informers) -> Self {
        NamespaceController
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        std::future::pending().await
    }
}
