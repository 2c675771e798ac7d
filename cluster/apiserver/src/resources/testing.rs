//! What the tests of the kinds share.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::resource::Strategy;

/// The moment at which the tests' tables are made.
pub(super) fn now() -> Timestamp {
    "2026-01-01T00:10:00Z".parse().expect("a timestamp")
}

/// An object from its JSON, named `web` in `default` and ten minutes old unless the JSON says otherwise.
pub(super) fn object<K: DeserializeOwned + k8s_openapi::Resource>(mut value: Value) -> K {
    let mut meta = json!({"name": "web", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"});
    if let (Some(meta), Some(given)) = (meta.as_object_mut(), value.get("metadata").and_then(Value::as_object)) {
        meta.extend(given.clone());
    }
    value["metadata"] = meta;
    value["apiVersion"] = json!(K::API_VERSION);
    value["kind"] = json!(K::KIND);
    serde_json::from_value(value).expect("an object of the kind")
}

/// The object with defaults, having shown that defaults are set once and for all.
pub(super) fn defaulted<S: Strategy>(strategy: &S, mut object: S::Object) -> S::Object {
    strategy.set_defaults(&mut object);
    let mut again = object.clone();
    strategy.set_defaults(&mut again);
    assert_eq!(
        value(&again),
        value(&object),
        "setting defaults twice is setting them once"
    );
    object
}

/// The object as JSON.
pub(super) fn value<K: serde::Serialize>(object: &K) -> Value {
    serde_json::to_value(object).expect("objects can be written")
}

/// The faults of an object, a line each.
pub(super) fn faults<S: Strategy>(strategy: &S, object: &S::Object) -> String {
    lines(strategy.validate(object))
}

/// The faults of a change, a line each.
pub(super) fn update_faults<S: Strategy>(strategy: &S, new: &S::Object, old: &S::Object) -> String {
    lines(strategy.validate_update(new, old))
}

fn lines(errors: Vec<orrery_api::field::Error>) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The cells of an object, with ` | ` between them.
pub(super) fn row<S: Strategy>(strategy: &S, object: &S::Object) -> String {
    let cells = strategy.cells(object, now());
    assert_eq!(cells.len(), strategy.columns().len(), "a cell for each column");
    let shown = cells
        .iter()
        .map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned));
    shown.collect::<Vec<_>>().join(" | ")
}
