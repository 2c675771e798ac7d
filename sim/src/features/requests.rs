//! What was asked of the API, by whom, and how it ended.

use http::Method;

use super::Found;
use crate::model::{Answered, Asked};

/// Notes an answer: caller, verb, resource, outcome.
pub fn answered(asked: &Asked, answered: &Answered, found: &mut Found) {
    let Some(path) = &asked.path else { return };
    let (slash, subresource) = match path.subresource.as_str() {
        "" => ("", ""),
        subresource => ("/", subresource),
    };
    found.add(format_args!(
        "api: {} {} {}{slash}{subresource} {}",
        caller(asked),
        verb(asked),
        path.resource,
        answered.status
    ));
}

/// Who asks: the component, whichever instance of it.
pub fn caller(asked: &Asked) -> &str {
    asked.client.split('/').next().unwrap_or_default()
}

/// The verb, in Kubernetes' words.
pub fn verb(asked: &Asked) -> &'static str {
    let one = asked.path.as_ref().is_some_and(|path| !path.name.is_empty());
    match &asked.method {
        method if *method == Method::POST => "create",
        method if *method == Method::PUT => "update",
        method if *method == Method::PATCH => "patch",
        method if *method == Method::DELETE && one => "delete",
        method if *method == Method::DELETE => "deletecollection",
        _ if one => "get",
        _ => "list",
    }
}
