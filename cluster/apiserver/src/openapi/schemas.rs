//! The shapes of kinds, from the table of the API's fields.

use std::collections::BTreeSet;

use orrery_api::schema::{Cardinality, Field, ListType, Message, Schema, Type};
use serde_json::{Map, Value, json};

use super::describe;
use crate::resource::ResourceInfo;

/// Package of what every group shares.
const META: &str = "apimachinery.pkg.apis.meta.v1";

/// The schemas of the kinds of a group version, and all that they refer to.
pub(super) fn of(group: &str, version: &str, kinds: &[&ResourceInfo]) -> Map<String, Value> {
    let schema = Schema::get();
    let mut open: Vec<&Message> = Vec::new();
    for info in kinds {
        let parts = info.subresources.iter().filter_map(|part| part.kind);
        let own = info.api_version();
        open.extend(schema.message_for(&own, info.kind));
        open.extend(schema.message_for(&own, &format!("{}List", info.kind)));
        for (group, version, kind) in parts {
            open.extend(schema.message_for(&api_version(group, version), kind));
        }
    }
    open.extend(
        ["DeleteOptions", "Status"]
            .iter()
            .filter_map(|name| schema.message(&format!("{META}.{name}"))),
    );
    let mut all = scalars();
    let mut seen = BTreeSet::new();
    while let Some(message) = open.pop() {
        if !seen.insert(message.name) {
            continue;
        }
        open.extend(message.fields().filter_map(Field::message));
        all.insert(full_name(message.name), shape(message, group, version));
    }
    all
}

/// The name of a kind's schema.
pub(super) fn name_of(group: &str, version: &str, kind: &str) -> Option<String> {
    Schema::get()
        .message_for(&api_version(group, version), kind)
        .map(|message| full_name(message.name))
}

/// A reference to a schema by name.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// `io.k8s.api.apps.v1.Deployment` for `api.apps.v1.Deployment`.
fn full_name(message: &str) -> String {
    format!("io.k8s.{message}")
}

const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
/// The body of a patch of any kind.
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// Types that are no objects in JSON.
fn scalars() -> Map<String, Value> {
    let shapes = [
        (
            QUANTITY,
            json!({ "description": "An amount, such as 1500m or 2Gi.", "oneOf": [{ "type": "string" }, { "type": "number" }] }),
        ),
        (
            INT_OR_STRING,
            json!({
                "description": "A number or a text, such as 1 or 25%.",
                "format": "int-or-string",
                "oneOf": [{ "type": "integer" }, { "type": "string" }],
            }),
        ),
        (
            TIME,
            json!({ "description": "A time in whole seconds.", "type": "string", "format": "date-time" }),
        ),
        (
            MICRO_TIME,
            json!({ "description": "A time in microseconds.", "type": "string", "format": "date-time" }),
        ),
        (PATCH, json!({ "description": "What changes.", "type": "object" })),
    ];
    shapes
        .into_iter()
        .map(|(name, shape)| (name.to_owned(), shape))
        .collect()
}

fn shape(message: &Message, group: &str, version: &str) -> Value {
    let properties: Map<String, Value> = message
        .fields()
        .map(|field| (field.name.to_owned(), property(message, field)))
        .collect();
    let mut shape = json!({ "type": "object", "properties": properties });
    if let Some(description) = describe::message(message.short_name()) {
        shape["description"] = json!(description);
    }
    let required: Vec<&str> = message
        .fields()
        .filter(|field| is_required(field))
        .map(|field| field.name)
        .collect();
    if !required.is_empty() {
        shape["required"] = json!(required);
    }
    if message.is_kind() {
        // Options and lists are kinds of every group version; the rest is of the package that names it.
        let (group, version) = own_group(message.name).unwrap_or((group, version));
        let kind = json!({ "group": group, "version": version, "kind": message.short_name() });
        shape["x-kubernetes-group-version-kind"] = json!([kind]);
    }
    shape
}

/// The group version of a kind that has one of its own.
fn own_group(message: &str) -> Option<(&'static str, &'static str)> {
    match message {
        "apimachinery.pkg.apis.meta.v1.Status" => Some(("", "v1")),
        _ => [
            ("api.autoscaling.v1.", "autoscaling"),
            ("api.policy.v1.", "policy"),
            ("api.core.v1.", ""),
        ]
        .into_iter()
        .find(|(package, _)| message.starts_with(package))
        .map(|(_, group)| (group, "v1")),
    }
}

/// A field that Go's type always writes must be given.
fn is_required(field: &Field) -> bool {
    field.number != 0 && !field.go.omit_empty && !field.go.omit_zero && !field.go.pointer
}

fn property(message: &Message, field: &Field) -> Value {
    let mut property = match field.cardinality {
        Cardinality::Single => element(field, true),
        Cardinality::List => json!({ "type": "array", "items": element(field, false) }),
        Cardinality::Map => json!({ "type": "object", "additionalProperties": element(field, false) }),
    };
    if let Some(description) = describe::field(message.short_name(), field.name) {
        property["description"] = json!(description);
    }
    if let Some(values) = describe::values(message.short_name(), field.name) {
        property["enum"] = json!(values);
    }
    if let Some(default) = field.default.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        property["default"] = default;
    }
    if let Some(kind) = field.list_type {
        property["x-kubernetes-list-type"] = json!(match kind {
            ListType::Atomic => "atomic",
            ListType::Set => "set",
            ListType::Map => "map",
        });
    }
    if !field.list_map_keys.is_empty() {
        property["x-kubernetes-list-map-keys"] = json!(field.list_map_keys);
    }
    if field.atomic {
        property["x-kubernetes-map-type"] = json!("atomic");
    }
    let strategy = field.patch_strategy;
    let words = [
        (strategy.merge, "merge"),
        (strategy.replace, "replace"),
        (strategy.retain_keys, "retainKeys"),
    ];
    let words: Vec<&str> = words
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, word)| word)
        .collect();
    if !words.is_empty() {
        property["x-kubernetes-patch-strategy"] = json!(words.join(","));
    }
    if let Some(key) = field.patch_merge_key {
        property["x-kubernetes-patch-merge-key"] = json!(key);
    }
    property
}

/// One value of a field. A reference alone takes no words beside it, so it stands in `allOf`.
fn element(field: &Field, single: bool) -> Value {
    let refer = |name: &str| json!({ "allOf": [reference(name)] });
    match field.element {
        Type::String => json!({ "type": "string" }),
        Type::Int32 => json!({ "type": "integer", "format": "int32" }),
        Type::Int64 => json!({ "type": "integer", "format": "int64" }),
        Type::Bool => json!({ "type": "boolean" }),
        Type::Double => json!({ "type": "number", "format": "double" }),
        Type::Bytes => json!({ "type": "string", "format": "byte" }),
        Type::Raw => json!({ "type": "object" }),
        Type::Strings => json!({ "type": "array", "items": { "type": "string" } }),
        Type::Quantity => refer(QUANTITY),
        Type::IntOrString => refer(INT_OR_STRING),
        Type::Time => refer(TIME),
        Type::MicroTime => refer(MICRO_TIME),
        Type::Message(_) => {
            let mut value = refer(
                &field
                    .message()
                    .map_or_else(String::new, |message| full_name(message.name)),
            );
            if !single || !(field.go.pointer || field.go.omit_zero) {
                value["default"] = json!({});
            }
            value
        }
    }
}
