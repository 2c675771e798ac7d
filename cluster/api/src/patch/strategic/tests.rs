use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::patch::{merge, strategies::any_json};

fn apply(original: &Value, patch: &Value, api_version: &str, kind: &str) -> Result<Value, PatchError> {
    super::apply(original.clone(), patch.clone(), api_version, kind)
}

fn pod(spec: Value, patch: Value) -> Value {
    apply(&json!({"spec": spec}), &json!({"spec": patch}), "v1", "Pod")
        .map_or_else(|error| error.to_string().into(), |mut result| result["spec"].take())
}

#[test]
fn containers_merge_by_name() {
    let spec = json!({"containers": [
        {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}], "args": ["1"]},
        {"name": "b", "image": "b:1"},
    ]});
    let patch = json!({"containers": [
        {"name": "a", "image": "a:2", "env": [{"name": "Y", "value": "3"}], "args": ["2", "3"]},
    ]});
    assert_eq!(
        pod(spec, patch),
        json!({"containers": [
            {"name": "a", "image": "a:2", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "3"}], "args": ["2", "3"]},
            {"name": "b", "image": "b:1"},
        ]})
    );
}

#[test]
fn new_elements_come_first_unless_an_order_is_set() {
    let spec = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    let added = json!({"containers": [{"name": "c", "image": "c", "tty": null}]});
    assert_eq!(
        pod(spec.clone(), added),
        json!({"containers": [{"name": "c", "image": "c"}, {"name": "a"}, {"name": "b"}]})
    );
    let ordered = json!({
        "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}, {"name": "c"}],
        "containers": [{"name": "c", "image": "c"}],
    });
    assert_eq!(
        pod(spec.clone(), ordered),
        json!({"containers": [{"name": "b"}, {"name": "a"}, {"name": "c", "image": "c"}]})
    );
    let only_order = json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]});
    assert_eq!(
        pod(spec, only_order),
        json!({"containers": [{"name": "b"}, {"name": "a"}]})
    );
}

#[test]
fn elements_that_only_the_server_has_keep_their_place() {
    // A sidecar that an admission injected between two of the user's containers.
    let spec = json!({"containers": [{"name": "a"}, {"name": "sidecar"}, {"name": "b"}]});
    let patch = json!({
        "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
        "containers": [{"name": "b", "image": "b:2"}],
    });
    assert_eq!(
        pod(spec, patch),
        json!({"containers": [{"name": "a"}, {"name": "sidecar"}, {"name": "b", "image": "b:2"}]})
    );
}

#[test]
fn an_order_that_does_not_fit_the_list_is_refused() {
    let patch = json!({
        "$setElementOrder/containers": [{"name": "a"}],
        "containers": [{"name": "b"}],
    });
    assert_eq!(
        pod(json!({}), patch),
        "The order in patch list:\n[map[name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n"
    );
    assert_eq!(
        pod(json!({}), json!({"$setElementOrder/containers": 1})),
        "expected a []interface {}, but received a int64"
    );
}

#[test]
fn an_element_is_deleted_or_a_list_replaced_by_directive() {
    let spec = json!({"containers": [{"name": "a", "image": "x"}, {"name": "b"}]});
    assert_eq!(
        pod(spec.clone(), json!({"containers": [{"name": "a", "$patch": "delete"}]})),
        json!({"containers": [{"name": "b"}]})
    );
    assert_eq!(
        pod(
            spec.clone(),
            json!({"containers": [{"$patch": "replace"}, {"name": "c", "image": "y"}]})
        ),
        json!({"containers": [{"name": "c", "image": "y"}]})
    );
    assert_eq!(
        pod(spec.clone(), json!({"$patch": "replace", "nodeName": "n"})),
        json!({"nodeName": "n"})
    );
    assert_eq!(pod(spec.clone(), json!({"$patch": "delete"})), json!({}));
    assert_eq!(
        pod(spec.clone(), json!({"$patch": "merge"})),
        "unknown patch type: merge in map: map[]"
    );
    assert_eq!(
        pod(spec.clone(), json!({"containers": [{"$patch": "merge"}]})),
        "merging lists cannot yet be specified in the patch"
    );
    assert_eq!(
        pod(spec, json!({"containers": [{"image": "x"}]})),
        "map: map[image:x] does not contain declared merge key: name"
    );
}

#[test]
fn tolerations_are_replaced_as_a_whole() {
    let spec = json!({"tolerations": [{"key": "a"}], "nodeSelector": {"x": "1", "y": "2"}});
    assert_eq!(
        pod(
            spec,
            json!({"tolerations": [{"key": "b"}], "nodeSelector": {"x": null, "z": "3"}})
        ),
        json!({"tolerations": [{"key": "b"}], "nodeSelector": {"y": "2", "z": "3"}})
    );
}

#[test]
fn taints_of_a_node_are_replaced_as_a_whole() {
    // v1.35 declares them atomic; kubectl sends the whole list either way.
    let node = json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}], "unschedulable": true}});
    let patch = json!({"spec": {"taints": [{"key": "b", "effect": "NoExecute"}], "unschedulable": null}});
    assert_eq!(
        apply(&node, &patch, "v1", "Node"),
        Ok(json!({"spec": {"taints": [{"key": "b", "effect": "NoExecute"}]}}))
    );
}

#[test]
fn service_ports_merge_by_port_and_container_ports_by_container_port() {
    let service = json!({"spec": {"ports": [{"port": 80, "targetPort": 8080}, {"port": 443}]}});
    let patch = json!({"spec": {"ports": [{"port": 80, "targetPort": "http"}]}});
    assert_eq!(
        apply(&service, &patch, "v1", "Service"),
        Ok(json!({"spec": {"ports": [{"port": 80, "targetPort": "http"}, {"port": 443}]}}))
    );
    let spec =
        json!({"containers": [{"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 81, "name": "x"}]}]});
    let patch = json!({"containers": [{"name": "a", "ports": [{"containerPort": 81, "name": "y"}]}]});
    assert_eq!(
        pod(spec, patch),
        json!({"containers": [{"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 81, "name": "y"}]}]})
    );
}

#[test]
fn finalizers_unite_and_are_taken_out_by_directive() {
    let object = json!({"metadata": {"finalizers": ["a", "b"]}});
    let patched = |metadata: Value| apply(&object, &json!({"metadata": metadata}), "v1", "ConfigMap");
    let finalizers = |list: Value| Ok(json!({"metadata": {"finalizers": list}}));
    assert_eq!(
        patched(json!({"finalizers": ["c", "a"]})),
        finalizers(json!(["c", "a", "b"]))
    );
    assert_eq!(
        patched(json!({"$deleteFromPrimitiveList/finalizers": ["a"]})),
        finalizers(json!(["b"]))
    );
    assert_eq!(
        patched(json!({
            "$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["b", "c"],
            "finalizers": ["c"],
        })),
        finalizers(json!(["b", "c"]))
    );
    assert_eq!(patched(json!({"finalizers": null})), Ok(json!({"metadata": {}})));
    let malformed = patched(json!({"$deleteFromPrimitiveList": ["a"]})).expect_err("no list is named");
    assert_eq!(
        (malformed.http_status(), malformed.to_string()),
        (400, "invalid patch format of primitive list".into())
    );
}

#[test]
fn a_volume_keeps_only_the_retained_keys() {
    let spec = json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}]});
    let patch = json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]});
    assert_eq!(
        pod(spec.clone(), patch),
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}, {"name": "w", "emptyDir": {}}]})
    );
    let wrong = json!({"volumes": [{"name": "v", "$retainKeys": ["name"], "hostPath": {"path": "/x"}}]});
    assert_eq!(pod(spec, wrong), "invalid patch format of retainKeys");
}

#[test]
fn a_strategy_changes_with_its_retained_keys() {
    let deployment = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(
        apply(&deployment, &patch, "apps/v1", "Deployment"),
        Ok(json!({"spec": {"strategy": {"type": "Recreate"}}}))
    );
}

#[test]
fn a_budgets_selector_is_replaced() {
    let budget = json!({"spec": {"selector": {"matchLabels": {"a": "1"}}}});
    let patch = json!({"spec": {"selector": {"matchLabels": {"b": "2"}}}});
    assert_eq!(apply(&budget, &patch, "policy/v1", "PodDisruptionBudget"), Ok(patch));
}

#[test]
fn the_patches_of_kubectl_apply() {
    // What `kubectl set image` and `kubectl rollout restart` send.
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "nginx:1", "resources": {}}]},
    }}});
    let image = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "web"}], "containers": [{"image": "nginx:2", "name": "web"}],
    }}}});
    let restart =
        json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "t"}}}}});
    let result = apply(&deployment, &image, "apps/v1", "Deployment")
        .and_then(|patched| apply(&patched, &restart, "apps/v1", "Deployment"));
    assert_eq!(
        result,
        Ok(
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {
                "metadata": {"labels": {"app": "web"}, "annotations": {"kubectl.kubernetes.io/restartedAt": "t"}},
                "spec": {"containers": [{"name": "web", "image": "nginx:2", "resources": {}}]},
            }}})
        )
    );
}

#[test]
fn what_cannot_be_patched_says_so() {
    let unsupported = apply(&json!({}), &json!({}), "example.com/v1", "Thing").expect_err("unknown kind");
    assert_eq!(unsupported.http_status(), 415);
    assert_eq!(
        apply(&json!({}), &json!([]), "v1", "Pod")
            .expect_err("no object")
            .http_status(),
        400
    );
    let mixed = pod(json!({"containers": [1]}), json!({"containers": [{"name": "a"}]}));
    assert_eq!(mixed, "list element types are not identical: [[1] [map[name:a]]]");
}

fn pod_like() -> impl Strategy<Value = Value> {
    let container = (
        "[a-c]",
        proptest::option::of("[x-z]"),
        proptest::option::of("(delete|replace|odd)"),
    )
        .prop_map(|(name, image, directive)| {
            let mut container = json!({"name": name});
            if let Some(image) = image {
                container["image"] = image.into();
            }
            if let Some(directive) = directive {
                container["$patch"] = directive.into();
            }
            container
        });
    let containers = proptest::collection::vec(container, 0..4);
    let finalizers = proptest::collection::vec("[a-d]", 0..4);
    (
        containers.clone(),
        containers,
        finalizers.clone(),
        finalizers,
        any_json(),
    )
        .prop_map(|(containers, order, finalizers, deleted, other)| {
            json!({
                "metadata": {"finalizers": finalizers, "$deleteFromPrimitiveList/finalizers": deleted, "labels": other},
                "spec": {"containers": containers, "$setElementOrder/containers": order, "volumes": other},
            })
        })
}

proptest! {
    #[test]
    fn without_lists_it_is_a_merge_patch(original in any_json(), patch in any_json()) {
        // Fields that no table knows: lists are replaced, as in a merge patch, whose nulls in lists stay.
        let (original, patch) = (json!({"data": original}), json!({"data": patch}));
        if !patch.to_string().contains("null") {
            prop_assert_eq!(apply(&original, &patch, "v1", "ConfigMap"), Ok(merge::apply(original, patch)));
        }
    }

    #[test]
    fn any_patch_applies_or_is_refused(original in pod_like(), patch in pod_like()) {
        let _ = apply(&original, &patch, "v1", "Pod");
    }

    #[test]
    fn merging_a_list_loses_and_doubles_no_element(
        original in proptest::collection::btree_set("[a-e]", 0..5), patch in proptest::collection::btree_set("[a-g]", 0..5),
    ) {
        let list = |names: &std::collections::BTreeSet<String>| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        let result = pod(json!({"containers": list(&original)}), json!({"containers": list(&patch)}));
        let mut names: Vec<String> = result["containers"].as_array().into_iter().flatten()
            .map(|container| container["name"].as_str().unwrap_or_default().to_owned()).collect();
        names.sort();
        prop_assert_eq!(names, original.union(&patch).cloned().collect::<Vec<_>>());
    }
}
