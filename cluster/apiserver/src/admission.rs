//! What the cluster adds to new objects on its own: the service account, default tolerations, the priority.
//!
//! (NamespaceLifecycle is part of the write itself, since only the transaction can tell whether a namespace is open.)

use crate::resource::{AnyObject, AnyResource};

/// Completes a new object.
pub fn on_create(_resource: &dyn AnyResource, _object: &mut dyn AnyObject) {}
