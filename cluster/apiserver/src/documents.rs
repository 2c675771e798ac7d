//! Paths that are no objects': health, version, discovery, OpenAPI.

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use orrery_api::message::{Body, Request, Response};
use orrery_api::status::ApiError;
use serde_json::json;

use crate::discovery;
use crate::openapi;
use crate::request::Query;
use crate::server::{ApiServer, json_response};

/// The version of Kubernetes whose API is served.
pub const KUBERNETES_VERSION: (&str, &str, &str) = ("1", "35", "v1.35.0+orrery");

/// Answers a path that names no object.
pub fn answer(server: &ApiServer, request: &Request, segments: &[String]) -> Result<Response, ApiError> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(ApiError::method_not_allowed());
    }
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let accept = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match parts.as_slice() {
        ["healthz" | "livez", ..] => Ok(health(&alive(server), parts[0], request)),
        ["readyz", ..] => {
            let mut checks = alive(server);
            checks.push((
                "watch-cache",
                server.is_ready().then_some(()).ok_or("not filled yet".to_owned()),
            ));
            Ok(health(&checks, "readyz", request))
        }
        ["version"] => Ok(json_response(200, Bytes::from(version().to_string()))),
        ["openapi", "v2"] => {
            let document = openapi::old_document(accept).ok_or_else(|| {
                ApiError::not_acceptable("application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
            })?;
            conditional(request, document)
        }
        ["openapi", "v3"] => conditional(request, openapi::index()),
        ["openapi", "v3", path @ ..] => {
            conditional(request, openapi::document(path).ok_or_else(ApiError::no_such_path)?)
        }
        _ => {
            let document =
                discovery::document(server.options.kinds, &parts, accept).ok_or_else(ApiError::no_such_path)?;
            conditional(request, document)
        }
    }
}

/// A document of the server about itself.
pub struct Document {
    /// The document.
    pub body: Bytes,
    /// Its media type.
    pub content_type: &'static str,
    /// Changes when the document does.
    pub etag: String,
}

/// The document, or 304 when the client has it.
fn conditional(request: &Request, document: Document) -> Result<Response, ApiError> {
    let tag = format!("\"{}\"", document.etag.trim_matches('"'));
    let known = request
        .headers()
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    let fresh = known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag));
    let mut response = http::Response::new(if fresh {
        Body::empty()
    } else {
        Body::Full(document.body)
    });
    if fresh {
        *response.status_mut() = http::StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(document.content_type));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}

type Check = (&'static str, Result<(), String>);

fn alive(server: &ApiServer) -> Vec<Check> {
    vec![("ping", Ok(())), ("store", server.failure().map_or(Ok(()), Err))]
}

fn health(checks: &[Check], name: &str, request: &Request) -> Response {
    let failed = checks.iter().any(|(_, outcome)| outcome.is_err());
    let verbose = request.uri().query().is_some_and(|query| {
        let query = Query::parse(query);
        query.all("verbose").next().is_some()
    });
    let text = if failed || verbose {
        let mut lines: String = checks
            .iter()
            .map(|(check, outcome)| match outcome {
                Ok(()) => format!("[+]{check} ok\n"),
                Err(why) => format!("[-]{check} failed: {why}\n"),
            })
            .collect();
        lines.push_str(&format!("{name} check {}\n", if failed { "failed" } else { "passed" }));
        lines
    } else {
        "ok".to_owned()
    };
    let mut response = http::Response::new(Body::Full(Bytes::from(text)));
    if failed {
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
    }
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn version() -> serde_json::Value {
    let (major, minor, git) = KUBERNETES_VERSION;
    json!({
        "major": major,
        "minor": minor,
        "gitVersion": git,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }),
    })
}
