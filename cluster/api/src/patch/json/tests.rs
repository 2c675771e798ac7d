use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::patch::strategies::any_json;

fn apply(original: &Value, operations: &Value) -> Result<Value, PatchError> {
    super::apply(original.clone(), operations)
}

fn error(original: &Value, operations: Value) -> String {
    apply(original, &operations).expect_err("refused").to_string()
}

#[test]
fn operations_apply_in_order() {
    let original = json!({"metadata": {"labels": {"a": "1"}}, "list": [1, 2, 3]});
    let patch = json!([
        {"op": "test", "path": "/metadata/labels/a", "value": "1"},
        {"op": "add", "path": "/metadata/labels/example.com~1b~0c", "value": "2"},
        {"op": "replace", "path": "/metadata/labels/a", "value": null},
        {"op": "add", "path": "/list/1", "value": 9},
        {"op": "add", "path": "/list/-", "value": 4},
        {"op": "remove", "path": "/list/-2"},
        {"op": "copy", "from": "/list/0", "path": "/first"},
        {"op": "move", "from": "/list", "path": "/metadata/list"},
        {"op": "test", "path": "/nothing", "value": null},
    ]);
    assert_eq!(
        apply(&original, &patch),
        Ok(json!({"metadata": {"labels": {"a": null, "example.com/b~c": "2"}, "list": [1, 9, 2, 4]}, "first": 1}))
    );
    assert_eq!(
        apply(&original, &json!([{"op": "replace", "path": "", "value": {"a": 1}}])),
        Ok(json!({"a": 1}))
    );
}

#[test]
fn a_patch_that_does_not_apply_is_refused_in_kubernetes_words() {
    let original = json!({"metadata": {}, "list": [1]});
    let error = |operation: Value| error(&original, json!([operation]));
    insta::assert_snapshot!(error(json!({"op": "add", "path": "/metadata/labels/a", "value": 1})), @r#"add operation does not apply: doc is missing path: "/metadata/labels/a": missing value"#);
    insta::assert_snapshot!(error(json!({"op": "remove", "path": "/metadata/labels"})), @"error in remove for path: '/metadata/labels': Unable to remove nonexistent key: labels: missing value");
    insta::assert_snapshot!(error(json!({"op": "replace", "path": "/metadata/name", "value": 1})), @"replace operation does not apply: doc is missing key: /metadata/name: missing value");
    insta::assert_snapshot!(error(json!({"op": "test", "path": "/list/0", "value": 2})), @"testing value /list/0 failed: test failed");
    insta::assert_snapshot!(error(json!({"op": "remove", "path": "/list/1"})), @"error in remove for path: '/list/1': Unable to access invalid index: 1: invalid index referenced");
    insta::assert_snapshot!(error(json!({"op": "add", "path": "/list/01", "value": 1})), @"error in add for path: '/list/01': Unable to access invalid index: 01: invalid index referenced");
    insta::assert_snapshot!(error(json!({"op": "copy", "from": "/x", "path": "/y"})), @"copy operation does not apply: doc is missing from path: /x: missing value");
    insta::assert_snapshot!(error(json!({"op": "move", "from": "/list", "path": "/list/0"})), @"move operation does not apply: /list cannot be moved into itself: invalid state detected");
    insta::assert_snapshot!(error(json!({"op": "merge", "path": "/"})), @"Unexpected kind: merge");
    insta::assert_snapshot!(error(json!({"op": "add"})), @"add operation failed to decode path: missing value");
}

#[test]
fn sizes_have_limits() {
    let many = Value::Array(vec![
        json!({"op": "test", "path": "/a", "value": null});
        MAX_OPERATIONS + 1
    ]);
    let refused = apply(&json!({}), &many).expect_err("refused");
    assert_eq!(
        refused.to_string(),
        "The allowed maximum operations in a JSON patch is 10000, got 10001"
    );
    assert_eq!(refused.http_status(), 413);
    // Each copy doubles the document.
    let bomb = Value::Array(
        (0..60)
            .map(|i| json!({"op": "copy", "from": "", "path": format!("/{i}")}))
            .collect(),
    );
    assert!(apply(&json!({"a": "b"}), &bomb).is_err());
    assert_eq!(apply(&json!({}), &json!({})).expect_err("refused").http_status(), 400);
}

proptest! {
    #[test]
    fn removing_what_was_added_gives_the_original_back(original in any_json(), value in any_json(), place in any::<prop::sample::Index>()) {
        let path = match &original {
            Value::Object(_) => "/added".to_owned(),
            Value::Array(items) => format!("/{}", place.index(items.len() + 1)),
            _ => return Ok(()),
        };
        let added = apply(&original, &json!([{"op": "add", "path": path, "value": value}])).expect("applies");
        prop_assert_eq!(apply(&added, &json!([{"op": "test", "path": path, "value": value}, {"op": "remove", "path": path}])), Ok(original));
    }

    #[test]
    fn any_patch_applies_or_is_refused(
        original in any_json(),
        operations in proptest::collection::vec(
            ("(add|remove|replace|move|copy|test|x)", "(/([a-c]|-?[0-3]|-)){0,3}", "(/[a-c0-2]){0,2}", any_json()), 0..6),
    ) {
        let operations = operations.into_iter()
            .map(|(op, path, from, value)| json!({"op": op, "path": path, "from": from, "value": value})).collect();
        let _ = apply(&original, &Value::Array(operations));
        let _ = apply(&original, &original);
    }
}
