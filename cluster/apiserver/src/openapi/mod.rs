//! OpenAPI: what kinds look like and what can be done with them, for clients to read.
//!
//! One document of v3 a group version, from the table of the API's fields and the list of kinds served; built when
//! first asked for and kept. kubectl reads from it how to explain a kind, how lists merge, and that the server itself
//! checks fields. It does not tell what Kubernetes' documentation says of each field: descriptions here are our own,
//! and few.

mod describe;
mod paths;
mod schemas;
mod v2;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::discovery::hash;
use crate::documents::Document;
use crate::kinds::Kinds;
use crate::resource::ResourceInfo;

/// A document built once.
struct Built {
    body: Bytes,
    hash: String,
}

impl Built {
    fn new(value: &Value) -> Built {
        let json = Bytes::from(value.to_string());
        Built {
            hash: hash(&json),
            body: json,
        }
    }

    fn show(&self) -> Document {
        Document {
            body: self.body.clone(),
            content_type: "application/json",
            etag: self.hash.clone(),
        }
    }
}

/// `/openapi/v3`: the documents there are, and their hashes.
pub fn index() -> Document {
    static INDEX: OnceLock<Built> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        let paths = documents().iter().map(|(path, document)| {
            let url = format!("/openapi/v3/{path}?hash={}", document.hash);
            (path.clone(), json!({ "serverRelativeURL": url }))
        });
        Built::new(&json!({ "paths": paths.collect::<serde_json::Map<_, _>>() }))
    });
    index.show()
}

/// `/openapi/v2`, for clients that accept it as protobuf; `None` for others.
pub fn old_document(accept: &str) -> Option<Document> {
    static DOCUMENT: OnceLock<Built> = OnceLock::new();
    if !accept.contains(v2::ACCEPTED) {
        return None;
    }
    let built = DOCUMENT.get_or_init(|| {
        let all = served()
            .group_versions()
            .into_iter()
            .flat_map(|(group, version)| served().of(group, version));
        let encoded = Bytes::from(v2::encode(all.into_iter().map(|resource| resource.info())));
        Built {
            hash: hash(&encoded),
            body: encoded,
        }
    });
    Some(Document {
        content_type: v2::MEDIA_TYPE,
        ..built.show()
    })
}

/// `/openapi/v3/<path>`, where `path` is `api/v1` or `apis/<group>/<version>` by its segments; `None` for what is not
/// served.
pub fn document(path: &[&str]) -> Option<Document> {
    documents().get(&path.join("/")).map(Built::show)
}

fn documents() -> &'static BTreeMap<String, Built> {
    static DOCUMENTS: OnceLock<BTreeMap<String, Built>> = OnceLock::new();
    DOCUMENTS.get_or_init(|| {
        let documents = served()
            .group_versions()
            .into_iter()
            .map(|(group, version)| (base(group, version)[1..].to_owned(), Built::new(&build(group, version))));
        documents.collect()
    })
}

/// The kinds whose fields are known. Custom ones have no schema.
fn served() -> Kinds {
    Kinds::default()
}

/// `/api/v1` or `/apis/<group>/<version>`.
fn base(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{group}/{version}")
    }
}

fn build(group: &str, version: &str) -> Value {
    let kinds: Vec<&ResourceInfo> = served()
        .of(group, version)
        .iter()
        .map(|resource| resource.info())
        .collect();
    let mut paths = serde_json::Map::new();
    for info in &kinds {
        paths.extend(paths::of(info));
    }
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": "v1.35.0" },
        "paths": paths,
        "components": { "schemas": schemas::of(group, version, &kinds) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Value {
        let segments: Vec<&str> = path.split('/').collect();
        let document = document(&segments).expect("the document is served");
        serde_json::from_slice(&document.body).expect("the document is JSON")
    }

    #[test]
    fn the_index_names_each_document_with_its_hash() {
        let index: Value = serde_json::from_slice(&index().body).expect("the index is JSON");
        let paths = index["paths"].as_object().expect("an object");
        let names: Vec<&str> = paths.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "api/v1",
                "apis/apps/v1",
                "apis/coordination.k8s.io/v1",
                "apis/discovery.k8s.io/v1"
            ]
        );
        for (path, entry) in paths {
            let hash = &documents()[path].hash;
            assert_eq!(entry["serverRelativeURL"], format!("/openapi/v3/{path}?hash={hash}"));
        }
        assert!(document(&["apis", "nope", "v1"]).is_none());
    }

    #[test]
    fn whatever_is_referred_to_is_there() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(map) => map.iter().for_each(|(key, value)| match value {
                    Value::String(text) if key == "$ref" => found.push(text.clone()),
                    _ => references(value, found),
                }),
                Value::Array(list) => list.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        for path in documents().keys() {
            let document = read(path);
            let mut found = Vec::new();
            references(&document, &mut found);
            assert!(!found.is_empty());
            for reference in found {
                let pointer = reference.trim_start_matches('#');
                assert!(document.pointer(pointer).is_some(), "{path}: {reference}");
            }
        }
    }

    #[test]
    fn a_patch_says_what_it_takes_and_that_fields_are_checked() {
        let apps = read("apis/apps/v1");
        let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
        assert_eq!(
            patch["x-kubernetes-group-version-kind"],
            json!({"group": "apps", "version": "v1", "kind": "Deployment"})
        );
        let parameters: Vec<&str> = patch["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["name"].as_str())
            .collect();
        assert_eq!(
            parameters,
            [
                "name",
                "namespace",
                "pretty",
                "dryRun",
                "fieldManager",
                "fieldValidation",
                "force"
            ]
        );
    }

    #[test]
    fn a_schema_tells_types_and_how_lists_merge() {
        let apps = read("apis/apps/v1");
        let schemas = &apps["components"]["schemas"];
        assert_eq!(
            schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"],
            json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
        );
        let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        insta::assert_snapshot!(containers, @r##"{"description":"The containers; there must be one.","items":{"allOf":[{"$ref":"#/components/schemas/io.k8s.api.core.v1.Container"}],"default":{}},"type":"array","x-kubernetes-list-map-keys":["name"],"x-kubernetes-list-type":"map","x-kubernetes-patch-merge-key":"name","x-kubernetes-patch-strategy":"merge"}"##);
        let surge = &schemas["io.k8s.api.apps.v1.RollingUpdateDeployment"]["properties"]["maxSurge"];
        insta::assert_snapshot!(surge, @r##"{"allOf":[{"$ref":"#/components/schemas/io.k8s.apimachinery.pkg.util.intstr.IntOrString"}],"description":"How many pods more than wanted there may be: a number, or a percentage."}"##);
        let limits = &schemas["io.k8s.api.core.v1.ResourceRequirements"]["properties"]["limits"];
        insta::assert_snapshot!(limits, @r##"{"additionalProperties":{"allOf":[{"$ref":"#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity"}]},"description":"The most that may be used.","type":"object"}"##);
    }
}
