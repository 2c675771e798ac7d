//! Patches: which kind the client sent, applied to the object as it is.

use orrery_api::message::Request;
use orrery_api::patch;
use orrery_api::status::ApiError;
use orrery_api::strict;
use serde_json::Value;

use crate::body::{BODY_LIMIT, content_type};

const MEDIA_TYPES: &str =
    "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json";

/// 415 unless the request's body is a patch of a kind that we know.
pub fn check_media_type(request: &Request) -> Result<(), ApiError> {
    let known = ["json-patch", "merge-patch", "strategic-merge-patch"];
    let kind = content_type(request).strip_prefix("application/");
    let kind = kind.and_then(|kind| kind.strip_suffix("+json"));
    if kind.is_some_and(|kind| known.contains(&kind)) {
        return Ok(());
    }
    Err(ApiError::unsupported_media_type(MEDIA_TYPES))
}

/// Applies the patch in `request` to `original`, an object of `kind`.
pub fn apply(request: &Request, original: Value, api_version: &str, kind: &str) -> Result<Value, ApiError> {
    if request.body().len() > BODY_LIMIT {
        return Err(ApiError::too_large(BODY_LIMIT));
    }
    let read = || strict::parse_json(request.body()).map_err(|error| ApiError::bad_request(error.to_string()));
    match content_type(request) {
        "application/json-patch+json" => patch::json::apply(original, &read()?.value).map_err(|error| refused(&error)),
        "application/merge-patch+json" => Ok(patch::merge::apply(original, object(read()?.value)?)),
        "application/strategic-merge-patch+json" => {
            patch::strategic::apply(original, object(read()?.value)?, api_version, kind)
                .map_err(|error| refused(&error))
        }
        _ => Err(ApiError::unsupported_media_type(MEDIA_TYPES)),
    }
}

fn object(value: Value) -> Result<Value, ApiError> {
    if value.is_object() {
        return Ok(value);
    }
    Err(ApiError::bad_request(format!("the patch is not an object but {value}")))
}

fn refused(error: &patch::PatchError) -> ApiError {
    match error.http_status() {
        400 => ApiError::bad_request(error.to_string()),
        413 => ApiError::new(413, "RequestEntityTooLarge", error.to_string()),
        415 => ApiError::new(415, "UnsupportedMediaType", error.to_string()),
        code => ApiError::new(code, "Invalid", error.to_string()),
    }
}
