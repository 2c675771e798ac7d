//! Removes finished pods beyond a limit, and pods of nodes that are gone.

use crate::Context;
use crate::informers::Informers;

/// Removes finished pods beyond a limit, and pods of nodes that are gone.
pub(crate) struct PodGc;

impl PodGc {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(_context: &Context, _informers: &mut Informers) -> Self {
        PodGc
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        std::future::pending().await
    }
}
