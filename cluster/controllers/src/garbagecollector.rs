//! Deletes objects whose owners are all gone.

use crate::Context;
use crate::informers::Informers;

/// Deletes objects whose owners are all gone.
pub(crate) struct GarbageCollector;

impl GarbageCollector {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(_context: &Context, _informers: &mut Informers) -> Self {
        GarbageCollector
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        std::future::pending().await
    }
}
