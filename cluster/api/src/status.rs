//! Errors of the API as Kubernetes tells them: a code, a reason, causes by field.
//!
//! Sources: the API conventions' "Response Status Kind" and the messages clients have learnt to expect.

use std::fmt;

use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusCause, StatusDetails};

use crate::field;
use crate::message::{Body, Response};

/// A refusal or failure of the API server: a `Status` with its HTTP code.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError(pub Box<Status>);

impl ApiError {
    /// A failure with `code`, `reason` and `message`.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        ApiError(Box::new(Status {
            status: Some("Failure".to_owned()),
            code: Some(i32::from(code)),
            reason: Some(reason.to_owned()),
            message: Some(message.into()),
            ..Status::default()
        }))
    }

    fn about(mut self, resource: &str, name: &str) -> Self {
        let (kind, group) = resource.split_once('.').unwrap_or((resource, ""));
        let details = self.0.details.get_or_insert_default();
        details.name = (!name.is_empty()).then(|| name.to_owned());
        details.group = (!group.is_empty()).then(|| group.to_owned());
        details.kind = (!kind.is_empty()).then(|| kind.to_owned());
        self
    }

    fn retry_after(mut self, seconds: i32) -> Self {
        self.0.details.get_or_insert_default().retry_after_seconds = Some(seconds);
        self
    }

    /// 404: no `name` of `resource` (`deployments.apps`).
    pub fn not_found(resource: &str, name: &str) -> Self {
        ApiError::new(404, "NotFound", format!("{resource} {name:?} not found")).about(resource, name)
    }

    /// 404 for a path that the server does not know.
    pub fn no_such_path() -> Self {
        ApiError::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// 409: `name` of `resource` is there already.
    pub fn already_exists(resource: &str, name: &str) -> Self {
        ApiError::new(409, "AlreadyExists", format!("{resource} {name:?} already exists")).about(resource, name)
    }

    /// 409: somebody else wrote first, or a precondition does not hold.
    pub fn conflict(resource: &str, name: &str, why: &str) -> Self {
        ApiError::new(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on {resource} {name:?}: {why}"),
        )
        .about(resource, name)
    }

    /// 409: the base of an update is not the newest.
    pub fn stale(resource: &str, name: &str) -> Self {
        ApiError::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 422: the object breaks rules of its kind (`Deployment.apps`).
    pub fn invalid(kind: &str, name: &str, errors: &[field::Error]) -> Self {
        let message = match errors {
            [one] => one.to_string(),
            many => format!(
                "[{}]",
                many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ),
        };
        let mut error =
            ApiError::new(422, "Invalid", format!("{kind} {name:?} is invalid: {message}")).about(kind, name);
        let causes = errors.iter().map(|error| StatusCause {
            field: Some(error.field.clone()),
            message: Some(error.body()),
            reason: Some(error.kind.reason().to_owned()),
        });
        error.0.details.get_or_insert_default().causes = Some(causes.collect());
        error
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        ApiError::new(400, "BadRequest", message)
    }

    /// 401: nobody we know.
    pub fn unauthorized() -> Self {
        ApiError::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403: `why` says who may not do what.
    pub fn forbidden(resource: &str, name: &str, why: &str) -> Self {
        let message = match (resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{resource} is forbidden: {why}"),
            (false, false) => format!("{resource} {name:?} is forbidden: {why}"),
        };
        ApiError::new(403, "Forbidden", message).about(resource, name)
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        ApiError::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// 406: none of `accepted` is what the client accepts.
    pub fn not_acceptable(accepted: &str) -> Self {
        ApiError::new(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {accepted}"),
        )
    }

    /// 410: the revision asked for is compacted away.
    pub fn expired(message: impl Into<String>) -> Self {
        ApiError::new(410, "Expired", message)
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        ApiError::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}"),
        )
    }

    /// 415.
    pub fn unsupported_media_type(supported: &str) -> Self {
        ApiError::new(
            415,
            "UnsupportedMediaType",
            format!("the body of the request was in an unknown format - accepted media types include: {supported}"),
        )
    }

    /// 429: come back in `seconds`.
    pub fn too_many_requests(message: impl Into<String>, seconds: i32) -> Self {
        ApiError::new(429, "TooManyRequests", message).retry_after(seconds)
    }

    /// 500.
    pub fn internal(message: impl fmt::Display) -> Self {
        ApiError::new(500, "InternalError", format!("Internal error occurred: {message}"))
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        ApiError::new(503, "ServiceUnavailable", message)
    }

    /// 504: the request could not be finished in time.
    pub fn timeout(message: impl Into<String>) -> Self {
        ApiError::new(504, "Timeout", message)
    }

    /// The HTTP code.
    pub fn code(&self) -> u16 {
        self.0.code.and_then(|code| u16::try_from(code).ok()).unwrap_or(500)
    }

    /// The reason, for example `NotFound`; empty when there is none.
    pub fn reason(&self) -> &str {
        self.0.reason.as_deref().unwrap_or_default()
    }

    /// The message; empty when there is none.
    pub fn message(&self) -> &str {
        self.0.message.as_deref().unwrap_or_default()
    }

    /// The details, for example the causes.
    pub fn details(&self) -> Option<&StatusDetails> {
        self.0.details.as_ref()
    }

    /// The status as a response.
    pub fn into_response(self) -> Response {
        let retry = self.0.details.as_ref().and_then(|details| details.retry_after_seconds);
        let mut response = http::Response::new(Body::Full(Bytes::from(self.to_json())));
        *response.status_mut() =
            http::StatusCode::from_u16(self.code()).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/json"),
        );
        if let Some(seconds) = retry {
            headers.insert(http::header::RETRY_AFTER, http::HeaderValue::from(seconds));
        }
        response
    }

    /// The status as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let value = serde_json::to_value(&*self.0).unwrap_or_default();
        value.to_string().into_bytes()
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message(), self.reason())
    }
}

impl std::error::Error for ApiError {}
