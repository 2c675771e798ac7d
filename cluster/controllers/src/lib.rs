//! The reconcile loops, one module a controller.
