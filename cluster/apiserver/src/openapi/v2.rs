//! The little of OpenAPI v2 that old clients cannot do without, as the protobuf they ask for.
//!
//! kubectl 1.27 and 1.28 read this document before they create, apply, edit or explain anything, whatever v3 offers:
//! they look up a kind's PATCH and whether it takes `fieldValidation`. So every PATCH stands here with its kind and its
//! query parameters. What kinds look like does not; these clients find that in v3.
//!
//! The numbers of the fields are those of gnostic's `OpenAPIv2.proto`.

use serde_json::Value;

use super::paths;
use crate::resource::ResourceInfo;

/// What clients call this form of the document.
pub(super) const ACCEPTED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// What it is called in answers: `@` cannot stand in a media type, so that clients could not read the name they use.
pub(super) const MEDIA_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The document about `kinds`.
pub(super) fn encode<'a>(kinds: impl Iterator<Item = &'a ResourceInfo>) -> Vec<u8> {
    let paths = kinds.flat_map(paths::of).filter_map(|(path, operations)| {
        let patch = operations.get("patch")?;
        let item = field(8, &operation(patch));
        Some(field(2, &[field(1, path.as_bytes()), field(2, &item)].concat()))
    });
    let info = [field(1, b"Kubernetes"), field(2, b"v1.35.0")].concat();
    [
        field(1, b"2.0"),
        field(2, &info),
        field(8, &paths.collect::<Vec<_>>().concat()),
    ]
    .concat()
}

fn operation(spec: &Value) -> Vec<u8> {
    let id = spec["operationId"].as_str().unwrap_or_default();
    let parameters = spec["parameters"].as_array().into_iter().flatten();
    let parameters = parameters
        .filter(|parameter| parameter["in"] == "query")
        .map(|parameter| {
            let query = [
                field(2, b"query"),
                field(4, parameter["name"].as_str().unwrap_or_default().as_bytes()),
                field(6, parameter["schema"]["type"].as_str().unwrap_or("string").as_bytes()),
            ];
            // ParametersItem, Parameter, NonBodyParameter, QueryParameterSubSchema
            field(8, &field(1, &field(2, &field(3, &query.concat()))))
        });
    let kind = "x-kubernetes-group-version-kind";
    // JSON is YAML.
    let extension = [
        field(1, kind.as_bytes()),
        field(2, &field(2, spec[kind].to_string().as_bytes())),
    ];
    let parameters = parameters.collect::<Vec<_>>().concat();
    [field(5, id.as_bytes()), parameters, field(13, &extension.concat())].concat()
}

/// A field of bytes: its number, its length, its content.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    const BYTES: u32 = 2;
    let mut encoded = Vec::with_capacity(content.len() + 6);
    varint(&mut encoded, (number << 3 | BYTES) as usize);
    varint(&mut encoded, content.len());
    encoded.extend_from_slice(content);
    encoded
}

fn varint(encoded: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        encoded.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    encoded.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kinds;

    #[test]
    fn a_field_is_its_number_its_length_and_its_content() {
        assert_eq!(field(1, b"2.0"), [0x0a, 3, b'2', b'.', b'0']);
        let long = field(13, &[7; 300]);
        assert_eq!(long[..3], [0x6a, 0xac, 0x02]);
        assert_eq!(long.len(), 303);
    }

    #[test]
    fn the_patch_of_every_kind_is_there_with_its_parameters() {
        let document = encode(Kinds::default().of("apps", "v1").iter().map(|resource| resource.info()));
        let has = |text: &str| document.windows(text.len()).any(|part| part == text.as_bytes());
        for text in [
            "/apis/apps/v1/namespaces/{namespace}/deployments/{name}",
            "fieldValidation",
            "dryRun",
            r#"{"group":"apps","kind":"Deployment","version":"v1"}"#,
            r#"{"group":"apps","kind":"ReplicaSet","version":"v1"}"#,
        ] {
            assert!(has(text), "{text}");
        }
    }
}
