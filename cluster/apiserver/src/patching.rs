//! Patches: which kind the client sent, applied to the object as it is.

use http::header;
use orrery_api::message::Request;
use orrery_api::patch;
use orrery_api::status::ApiError;
use orrery_api::strict;
use serde_json::Value;

use crate::body::{BODY_LIMIT, content_type};

const MEDIA_TYPES: &str =
    "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json";

/// Applies the patch in `request` to `original`, an object of `kind`.
pub fn apply(request: &Request, original: &Value, api_version: &str, kind: &str) -> Result<Value, ApiError> {
    if request.body().len() > BODY_LIMIT {
        return Err(ApiError::too_large(BODY_LIMIT));
    }
    let read = || strict::parse_json(request.body()).map_err(|error| ApiError::bad_request(error.to_string()));
    match content_type(request) {
        "application/json-patch+json" => patch::json::apply(original, &read()?.value).map_err(|error| refused(&error)),
        "application/merge-patch+json" => Ok(patch::merge::apply(original, &object(read()?.value)?)),
        "application/strategic-merge-patch+json" => {
            patch::strategic::apply(original, &object(read()?.value)?, api_version, kind)
                .map_err(|error| refused(&error))
        }
        _ => {
            let mut error = ApiError::unsupported_media_type(MEDIA_TYPES);
            if request.headers().get(header::CONTENT_TYPE).is_none() {
                error = ApiError::bad_request(format!("a patch needs a content type: {MEDIA_TYPES}"));
            }
            Err(error)
        }
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
