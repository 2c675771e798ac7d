//! What a request asks for: its path, query and headers, read into plain values.

use std::collections::BTreeMap;

use http::{Method, header};
use orrery_api::message::Request;
use orrery_api::names;
use orrery_api::status::ApiError;
use percent_encoding::percent_decode_str;

use crate::kinds::Kinds;
use crate::resource::AnyResource;

/// The decoded query of a request.
#[derive(Debug, Clone, Default)]
pub struct Query(BTreeMap<String, Vec<String>>);

impl Query {
    /// Reads the part of a URI behind `?`.
    pub fn parse(query: &str) -> Self {
        let mut pairs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            pairs.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        Query(pairs)
    }

    /// A query that says one thing.
    pub fn of(name: &str, value: &str) -> Self {
        Query([(name.to_owned(), vec![value.to_owned()])].into())
    }

    /// The first value of `name`; `None` when it is absent or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)?
            .first()
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// All values of `name`.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Whether `name` is there and not `false` or `0`, as Kubernetes reads booleans (`?watch` alone is true).
    pub fn is_set(&self, name: &str) -> bool {
        self.flag(name) == Some(true)
    }

    /// What `name` says; `None` when it is absent.
    pub fn flag(&self, name: &str) -> Option<bool> {
        let value = self.0.get(name)?.first()?;
        Some(!(value == "0" || value.eq_ignore_ascii_case("false")))
    }

    /// The whole number `name`; 400 when it is none.
    pub fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        self.get(name)
            .map(|value| {
                value.parse().map_err(|_| {
                    ApiError::bad_request(format!(
                        "invalid value {value:?} of the query parameter {name}: not a whole number"
                    ))
                })
            })
            .transpose()
    }

    /// Whether the request must not be carried out; 400 for a `dryRun` nobody knows.
    pub fn dry_run(&self) -> Result<bool, ApiError> {
        match self.get("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => Err(ApiError::bad_request(format!(
                "invalid dryRun {other:?}: Unsupported value: supported values: \"All\""
            ))),
        }
    }
}

/// What a path means.
pub enum Target {
    /// Objects of a kind.
    Resource(ResourcePath),
    /// Anything else: discovery, health, version, documents; split at its slashes.
    Other(Vec<String>),
}

/// The objects that a path names.
pub struct ResourcePath {
    /// The kind.
    pub resource: &'static dyn AnyResource,
    /// The namespace; empty for cluster-wide kinds and for all namespaces.
    pub namespace: String,
    /// The object; empty for collections.
    pub name: String,
    /// The subresource; empty for the object itself.
    pub subresource: String,
    /// Whether the path begins with `watch/`, the old way to ask for a watch.
    pub watch: bool,
}

/// Reads a path. 404 when it names a kind that is not one of `kinds`.
pub fn parse_path(kinds: Kinds, path: &str) -> Result<Target, ApiError> {
    let segments: Vec<String> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return Ok(Target::Other(segments)),
    };
    let (watch, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        rest => (false, rest),
    };
    let find = |plural: &str| kinds.find(group, version, plural).ok_or_else(ApiError::no_such_path);
    let (namespace, plural, name, subresource) = match rest {
        // `namespaces/x` is the namespace itself, `namespaces/x/pods` its pods, `namespaces/x/status` its status.
        ["namespaces", namespace, plural, rest @ ..] if kinds.find(group, version, plural).is_some() => match rest {
            [] => (*namespace, *plural, "", ""),
            [name] => (*namespace, *plural, *name, ""),
            [name, subresource] => (*namespace, *plural, *name, *subresource),
            _ => return Err(ApiError::no_such_path()),
        },
        [plural] => ("", *plural, "", ""),
        [plural, name] => ("", *plural, *name, ""),
        [plural, name, subresource] => ("", *plural, *name, *subresource),
        _ => return Err(ApiError::no_such_path()),
    };
    let resource = find(plural)?;
    let info = resource.info();
    let misplaced = if info.namespaced {
        namespace.is_empty() && !name.is_empty()
    } else {
        !namespace.is_empty()
    };
    if misplaced || (!subresource.is_empty() && !info.has(subresource)) {
        return Err(ApiError::no_such_path());
    }
    // What is decoded could otherwise hold a separator, and name the key of something else.
    for (what, value) in [("Namespace", namespace), ("Name", name)] {
        let faults = names::path_segment(value);
        if !faults.is_empty() {
            return Err(ApiError::bad_request(format!(
                "{what} parameter invalid: {value:?}: {}",
                faults.join(";")
            )));
        }
    }
    Ok(Target::Resource(ResourcePath {
        resource,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
        watch,
    }))
}

/// How objects are shown in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As they are.
    Object,
    /// As rows of a table of `meta.k8s.io` in this version.
    Table(&'static str),
    /// Their metadata alone (`PartialObjectMetadata`).
    Metadata,
}

/// The shape that the client likes best of those we have; 406 when there is none.
pub fn negotiate(request: &Request) -> Result<Shape, ApiError> {
    let lines = request.headers().get_all(header::ACCEPT);
    let lines: Vec<&str> = lines.iter().filter_map(|value| value.to_str().ok()).collect();
    let accept = lines.join(",");
    if accept.trim().is_empty() {
        return Ok(Shape::Object);
    }
    for item in accept.split(',') {
        let mut parts = item.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if !matches!(media, "application/json" | "application/*" | "*/*") {
            continue;
        }
        let parameters: BTreeMap<&str, &str> = parts.filter_map(|part| part.split_once('=')).collect();
        let version = match parameters.get("v") {
            Some(&"v1") => "v1",
            Some(&"v1beta1") => "v1beta1",
            _ => "",
        };
        match (parameters.get("as"), version) {
            (None, _) => return Ok(Shape::Object),
            (Some(&"Table"), "v1" | "v1beta1") => return Ok(Shape::Table(version)),
            (Some(&("PartialObjectMetadata" | "PartialObjectMetadataList")), "v1" | "v1beta1") => {
                return Ok(Shape::Metadata);
            }
            _ => {}
        }
    }
    Err(ApiError::not_acceptable("application/json"))
}

/// The verb of authorization for `method` on `path`; `None` when there is no such method there.
pub fn verb(method: &Method, path: &ResourcePath, query: &Query) -> Option<&'static str> {
    let one = !path.name.is_empty();
    if path.watch {
        return (*method == Method::GET).then_some("watch");
    }
    let info = path.resource.info();
    // Objects are made in, and collections deleted from, one namespace.
    let has_place = !info.namespaced || !path.namespace.is_empty();
    Some(match *method {
        Method::GET if one => "get",
        Method::GET if query.is_set("watch") => "watch",
        Method::GET => "list",
        Method::POST if has_place => "create",
        Method::PUT if one => "update",
        Method::PATCH if one => "patch",
        Method::DELETE if one => "delete",
        Method::DELETE if has_place && info.deletes_collections() => "deletecollection",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Option<(String, String, String, String)> {
        match parse_path(Kinds::default(), path) {
            Ok(Target::Resource(path)) => Some((
                path.resource.info().plural.to_owned(),
                path.namespace,
                path.name,
                path.subresource,
            )),
            _ => None,
        }
    }

    fn expect(
        plural: &str,
        namespace: &str,
        name: &str,
        subresource: &str,
    ) -> Option<(String, String, String, String)> {
        Some((
            plural.to_owned(),
            namespace.to_owned(),
            name.to_owned(),
            subresource.to_owned(),
        ))
    }

    #[test]
    fn paths_name_collections_objects_and_subresources() {
        assert_eq!(names("/api/v1/pods"), expect("pods", "", "", ""));
        assert_eq!(
            names("/api/v1/namespaces/a/pods/b/status"),
            expect("pods", "a", "b", "status")
        );
        assert_eq!(names("/api/v1/namespaces/a"), expect("namespaces", "", "a", ""));
        assert_eq!(
            names("/api/v1/namespaces/a/status"),
            expect("namespaces", "", "a", "status")
        );
        assert_eq!(
            names("/apis/apps/v1/namespaces/a/deployments/b/scale"),
            expect("deployments", "a", "b", "scale")
        );
    }

    #[test]
    fn paths_of_nothing_are_refused() {
        for path in [
            "/api/v1/pods/b",
            "/api/v1/namespaces/a/nodes/b",
            "/api/v1/nothing",
            "/api/v1/nodes/a/scale",
        ] {
            assert_eq!(names(path), None, "{path}");
        }
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("labelSelector=a%20in%20(b%2Cc)&watch=1&empty=&bad=%zz");
        assert_eq!(query.get("labelSelector"), Some("a in (b,c)"));
        assert!(query.is_set("watch"));
        assert_eq!(query.get("empty"), None);
        assert_eq!(query.get("bad"), Some("%zz"));
    }
}
