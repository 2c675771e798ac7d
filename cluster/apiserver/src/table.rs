//! Objects as a table: what `kubectl get` asks for and prints.
//!
//! A table holds columns and, for each object, a row of cells and as much of the object as the client asked for.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::resource::{AnyObject, AnyResource, Column};

/// How much of an object its row carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata: what is asked for unless something else is.
    Metadata,
    /// All of it: what `--sort-by` needs.
    Object,
}

/// The table of objects of a kind, ages counted at `now`. `list_meta` is the metadata of the list (`resourceVersion`,
/// `continue`, …); `version` is that of `meta.k8s.io`: `v1`, or `v1beta1` for old clients; `headers` is whether to
/// tell the columns: always, but for the later events of a watch.
pub fn table<'a>(
    resource: &dyn AnyResource,
    objects: impl Iterator<Item = &'a dyn AnyObject>,
    list_meta: Value,
    include: Include,
    version: &str,
    headers: bool,
    now: Timestamp,
) -> Value {
    let rows = objects.map(|object| {
        let mut row = json!({ "cells": resource.cells(object, now) });
        match include {
            Include::None => {}
            Include::Metadata => row["object"] = partial_metadata(object, version),
            Include::Object => row["object"] = object.to_value(),
        }
        row
    });
    let rows: Vec<Value> = rows.collect();
    let columns: Vec<Value> = if headers {
        resource.columns().iter().map(definition).collect()
    } else {
        Vec::new()
    };
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": list_meta,
        "columnDefinitions": columns,
        "rows": rows,
    })
}

/// The table of one object, as an event of a watch shows it.
pub fn of_one(
    resource: &dyn AnyResource,
    object: &dyn AnyObject,
    include: Include,
    version: &str,
    headers: bool,
    now: Timestamp,
) -> Value {
    let meta = json!({ "resourceVersion": object.meta().resource_version });
    table(resource, std::iter::once(object), meta, include, version, headers, now)
}

/// The table of no object, as of `revision`: a bookmark of a watch.
pub fn empty(resource: &dyn AnyResource, revision: u64, version: &str) -> Value {
    let meta = json!({ "resourceVersion": revision.to_string() });
    let none = std::iter::empty();
    table(
        resource,
        none,
        meta,
        Include::None,
        version,
        false,
        Timestamp::UNIX_EPOCH,
    )
}

/// An object's metadata alone.
pub fn partial_metadata(object: &dyn AnyObject, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object.meta(),
    })
}

/// The metadata of several objects.
pub fn partial_metadata_list<'a>(
    objects: impl Iterator<Item = &'a dyn AnyObject>,
    list_meta: Value,
    version: &str,
) -> Value {
    let items: Vec<Value> = objects.map(|object| partial_metadata(object, version)).collect();
    json!({
        "kind": "PartialObjectMetadataList",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": list_meta,
        "items": items,
    })
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.kind,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;
    use crate::resources::configmaps::ConfigMaps;

    fn settings() -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": "settings"}, "data": {"a": "1"}})).expect("a config map")
    }

    #[test]
    fn a_row_carries_what_was_asked_for() {
        let object = settings();
        let shown = |include| {
            let rows = table(
                &ConfigMaps,
                [&object as &dyn AnyObject].into_iter(),
                json!({}),
                include,
                "v1",
                true,
                Timestamp::UNIX_EPOCH,
            );
            rows["rows"][0].to_string()
        };
        insta::assert_snapshot!(shown(Include::None), @r#"{"cells":["settings",1,"<unknown>"]}"#);
        insta::assert_snapshot!(shown(Include::Metadata), @r#"{"cells":["settings",1,"<unknown>"],"object":{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"name":"settings"}}}"#);
        insta::assert_snapshot!(shown(Include::Object), @r#"{"cells":["settings",1,"<unknown>"],"object":{"apiVersion":"v1","data":{"a":"1"},"kind":"ConfigMap","metadata":{"name":"settings"}}}"#);
    }

    #[test]
    fn only_the_first_table_of_a_watch_tells_the_columns() {
        let none = || std::iter::empty::<&dyn AnyObject>();
        let first = table(
            &ConfigMaps,
            none(),
            json!({"resourceVersion": "7"}),
            Include::None,
            "v1",
            true,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(first["columnDefinitions"].as_array().map(Vec::len), Some(3));
        assert_eq!(first["metadata"]["resourceVersion"], "7");
        let object = settings();
        let later = of_one(
            &ConfigMaps,
            &object,
            Include::None,
            "v1beta1",
            false,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(later["columnDefinitions"], json!([]));
        assert_eq!(later["apiVersion"], "meta.k8s.io/v1beta1");
    }
}
