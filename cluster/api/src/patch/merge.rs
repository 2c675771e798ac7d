//! Merge patch (RFC 7386): objects merge, null deletes, everything else replaces.

use serde_json::{Map, Value};

use crate::mutant;

/// The document with the patch merged into it.
pub fn apply(mut original: Value, patch: Value) -> Value {
    merge(&mut original, patch);
    original
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(changes) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(entries) = target else { return };
    for (key, change) in changes {
        if change.is_null() {
            if !mutant::active("O156") {
                entries.remove(&key);
            }
        } else {
            merge(entries.entry(key).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::patch::strategies::any_json;

    fn apply(original: &Value, patch: &Value) -> Value {
        super::apply(original.clone(), patch.clone())
    }

    #[test]
    fn the_examples_of_rfc_7386_hold() {
        for (original, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "b"}), json!(["c"]), json!(["c"])),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (json!({"a": "foo"}), json!("bar"), json!("bar")),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            assert_eq!(apply(&original, &patch), result, "{original} + {patch}");
        }
    }

    proptest! {
        #[test]
        fn merging_twice_is_as_once(original in any_json(), patch in any_json()) {
            let once = apply(&original, &patch);
            prop_assert_eq!(apply(&once, &patch), once);
        }

        #[test]
        fn an_empty_patch_changes_no_object(original in any_json()) {
            if original.is_object() {
                prop_assert_eq!(apply(&original, &json!({})), original);
            }
        }

        #[test]
        fn nulls_of_a_patch_never_arrive_in_objects_that_had_none(patch in any_json()) {
            fn has_null(value: &Value) -> bool {
                value.as_object().is_some_and(|entries| entries.values().any(|value| value.is_null() || has_null(value)))
            }
            let result = apply(&json!({}), &patch);
            prop_assert!(!has_null(&result));
        }
    }
}
