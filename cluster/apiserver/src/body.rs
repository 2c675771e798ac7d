//! Bodies of requests: JSON, YAML and Kubernetes' protobuf in, one value out, with what strict decoding found.

use bytes::Bytes;
use http::header;
use orrery_api::message::Request;
use orrery_api::status::ApiError;
use orrery_api::{protobuf, strict, yaml};
use serde_json::Value;

use crate::request::Query;
use crate::resource::{AnyObject, AnyResource};

/// A body may not be longer (Kubernetes' limit).
pub const BODY_LIMIT: usize = 3 * 1024 * 1024;

const MEDIA_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// What to do with fields that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them.
    Ignore,
    /// Drop them and say so.
    Warn,
    /// Refuse the request.
    Strict,
}

impl FieldValidation {
    /// What the request asks for; Kubernetes' default is to warn.
    pub fn of(query: &Query) -> Result<Self, ApiError> {
        match query.get("fieldValidation") {
            None | Some("Warn") => Ok(FieldValidation::Warn),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some(other) => Err(ApiError::bad_request(format!(
                "invalid fieldValidation {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
            ))),
        }
    }
}

/// The media type of a request's body, without parameters.
pub fn content_type(request: &Request) -> &str {
    let value = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Reads a body into a value.
pub fn read_value(request: &Request) -> Result<Value, ApiError> {
    let body: &Bytes = request.body();
    if body.len() > BODY_LIMIT {
        return Err(ApiError::too_large(BODY_LIMIT));
    }
    match content_type(request) {
        "" | "application/json" => strict::parse_json(body)
            .map(|parsed| parsed.value)
            .map_err(|error| ApiError::bad_request(error.to_string())),
        "application/yaml" | "application/x-yaml" | "text/yaml" => {
            yaml::parse(body).map_err(|error| ApiError::bad_request(error.to_string()))
        }
        "application/vnd.kubernetes.protobuf" => {
            protobuf::decode(body).map_err(|error| ApiError::bad_request(error.to_string()))
        }
        _ => Err(ApiError::unsupported_media_type(MEDIA_TYPES)),
    }
}

/// Reads an object of `resource` out of a request; `warnings` gains what strict decoding found.
pub fn read_object(
    resource: &dyn AnyResource,
    request: &Request,
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<Box<dyn AnyObject>, ApiError> {
    if request.body().len() > BODY_LIMIT {
        return Err(ApiError::too_large(BODY_LIMIT));
    }
    let info = resource.info();
    // Our own components send what their types hold, mostly as Go would write it: then one decoding suffices. All else
    // is looked at as anybody's body is: for what is stored, and for the same words about what is wrong.
    if validation == FieldValidation::Ignore
        && content_type(request) == "application/json"
        && strict::is_normal(request.body(), &info.api_version(), info.kind)
        && let Ok(object) = resource.decode(request.body())
    {
        return Ok(object);
    }
    if matches!(content_type(request), "" | "application/json") {
        let parsed = strict::parse_json_as(request.body(), &info.api_version(), info.kind)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        return judge(resource, parsed.value, parsed.problems, validation, warnings);
    }
    read_checked(resource, read_value(request)?, validation, warnings)
}

/// Makes an object of `resource` of a value, checked as `validation` asks.
pub fn read_checked(
    resource: &dyn AnyResource,
    value: Value,
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<Box<dyn AnyObject>, ApiError> {
    let info = resource.info();
    let problems = match validation {
        FieldValidation::Ignore => {
            // As above: a patch by our own components of what the server holds.
            if strict::is_normal_value(&value, &info.api_version(), info.kind)
                && let Ok(object) = resource.decode_value(&value)
            {
                return Ok(object);
            }
            Vec::new()
        }
        _ => strict::unknown_fields(&value, &info.api_version(), info.kind),
    };
    judge(resource, value, problems, validation, warnings)
}

fn judge(
    resource: &dyn AnyResource,
    mut value: Value,
    problems: Vec<String>,
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<Box<dyn AnyObject>, ApiError> {
    let info = resource.info();
    let api_version = info.api_version();
    let said = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    if !value.is_object() {
        return Err(ApiError::bad_request(format!("the body is not an object but {value}")));
    }
    if (!said("apiVersion").is_empty() && said("apiVersion") != api_version)
        || (!said("kind").is_empty() && said("kind") != info.kind)
    {
        return Err(ApiError::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: the API version in the data ({}) does not match the expected API version ({api_version})",
            said("kind"),
            said("apiVersion").rsplit('/').next().unwrap_or_default(),
            info.kind,
            said("apiVersion"),
        )));
    }
    if !problems.is_empty() && validation == FieldValidation::Strict {
        return Err(ApiError::bad_request(strict::strict_error(
            &api_version,
            info.kind,
            &problems,
        )));
    }
    if validation == FieldValidation::Warn {
        warnings.extend(problems);
    }
    strict::check_types(&value, &api_version, info.kind).map_err(|error| cannot_be_handled(resource, &error))?;
    strict::normalize(&mut value, &api_version, info.kind);
    resource
        .decode_value(&value)
        .map_err(|error| cannot_be_handled(resource, &error))
}

fn cannot_be_handled(resource: &dyn AnyResource, why: &str) -> ApiError {
    let info = resource.info();
    ApiError::bad_request(strict::cannot_be_handled(&info.api_version(), info.kind, why))
}
