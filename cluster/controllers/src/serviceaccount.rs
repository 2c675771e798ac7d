//! Gives every namespace its default service account.

use crate::Context;
use crate::informers::Informers;

/// Gives every namespace its default service account.
pub(crate) struct ServiceAccountController;

impl ServiceAccountController {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(_context: &Context, _informers: &mut Informers) -> Self {
        ServiceAccountController
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        std::future::pending().await
    }
}
