//! What the cluster adds to new objects on its own: the service account, default tolerations, the priority. And what it
//! refuses them for.
//!
//! (NamespaceLifecycle is part of the write itself, since only the transaction can tell whether a namespace is open.)

use k8s_openapi::api::core::v1::Pod;
use orrery_api::status::ApiError;

use crate::resource::{AnyObject, AnyResource};
use crate::resources::pods::admission;

/// Completes a new object; 403 when it names something that is not there, or says itself what its priority class says.
/// `has_account` tells whether a service account of the object's namespace is there.
pub fn on_create(
    resource: &dyn AnyResource,
    object: &mut dyn AnyObject,
    has_account: impl FnOnce(&str) -> bool,
) -> Result<(), ApiError> {
    let Some(pod) = object.as_any_mut().downcast_mut::<Pod>() else {
        return Ok(());
    };
    admission::default_service_account(pod);
    admission::add_default_tolerations(pod);
    let judged = admission::set_priority(pod).and_then(|()| admission::check_runtime_class(pod));
    let why = match (admission::named_service_account(pod), judged) {
        (Some(account), _) if !has_account(&account) => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            format!("error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found")
        }
        (_, Err(why)) => why,
        _ => return Ok(()),
    };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    Err(ApiError::forbidden(&resource.info().qualified(), name, &why))
}
