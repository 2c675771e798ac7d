//! What the cluster adds to new objects on its own: the service account, default tolerations, the priority.
//!
//! (NamespaceLifecycle is part of the write itself, since only the transaction can tell whether a namespace is open.)

use k8s_openapi::api::core::v1::Pod;
use orrery_api::status::ApiError;

use crate::resource::{AnyObject, AnyResource};
use crate::resources::pods::admission;

/// Completes a new object; 403 when it names something that is not there.
pub fn on_create(resource: &dyn AnyResource, object: &mut dyn AnyObject) -> Result<(), ApiError> {
    let Some(pod) = object.as_any_mut().downcast_mut::<Pod>() else {
        return Ok(());
    };
    admission::default_service_account(pod);
    admission::add_default_tolerations(pod);
    admission::set_priority(pod).map_err(|class| {
        let why = format!("no PriorityClass with name {class} was found");
        ApiError::forbidden(
            &resource.info().qualified(),
            pod.metadata.name.as_deref().unwrap_or_default(),
            &why,
        )
    })
}
