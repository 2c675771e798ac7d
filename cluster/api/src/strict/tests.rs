use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn problems(body: &str) -> Vec<String> {
    parse_json_as(body.as_bytes(), "apps/v1", "Deployment")
        .expect("JSON")
        .problems
}

fn type_error(api_version: &str, kind: &str, value: Value) -> String {
    check_types(&value, api_version, kind).expect_err("a wrong type")
}

fn normal(kind: &str, mut value: Value) -> Value {
    normalize(&mut value, "v1", kind);
    value
}

#[test]
fn duplicate_and_unknown_fields_are_found_in_the_order_of_the_text() {
    let body = r#"{
        "kind": "Deployment", "name": "x", "kind": "Deployment",
        "spec": {"replicas": 1, "x": {"a": 1, "a": 2}, "replicas": 2, "template": {"spec": {
            "containers": [{"name": "a"}, {"name": "b", "name": "c", "foo": 1, "Image": "d"}],
            "volumes": [{"name": "v", "emptyDir": {"size": 1}}]
        }}},
        "metadata": {"labels": {"a.b/c": "1", "a.b/c": "2"}, "managedFields": [{"fieldsV1": {"f:x": {}, "f:x": {}}}]}
    }"#;
    assert_eq!(
        problems(body),
        [
            r#"unknown field "name""#,
            r#"duplicate field "kind""#,
            r#"unknown field "spec.x""#,
            r#"duplicate field "spec.replicas""#,
            r#"duplicate field "spec.template.spec.containers[1].name""#,
            r#"unknown field "spec.template.spec.containers[1].foo""#,
            r#"unknown field "spec.template.spec.containers[1].Image""#,
            r#"unknown field "spec.template.spec.volumes[0].emptyDir.size""#,
            r#"duplicate field "metadata.labels.a.b/c""#,
        ]
    );
    let untyped = parse_json(body.as_bytes()).expect("JSON");
    assert!(
        untyped.problems.contains(&r#"duplicate field "spec.x.a""#.to_owned()),
        "{:?}",
        untyped.problems
    );
    assert_eq!(untyped.value["spec"]["replicas"], 2, "the last one counts");
}

#[test]
fn a_refusal_reads_as_kubernetes() {
    let value = json!({"name": "x", "spec": {"x": 1}});
    let unknown = unknown_fields(&value, "apps/v1", "Deployment");
    assert_eq!(
        strict_error("apps/v1", "Deployment", &unknown),
        r#"Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "name", unknown field "spec.x""#
    );
    assert!(
        unknown_fields(&value, "example.com/v1", "Thing").is_empty(),
        "nobody knows its fields"
    );
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    let error = |body: &[u8]| parse_json(body).expect_err("no JSON").to_string();
    insta::assert_snapshot!(error(b"{\"a\": }"), @"couldn't get version/kind; json parse error: expected value at line 1 column 7");
    insta::assert_snapshot!(error(b"{} {}"), @"couldn't get version/kind; json parse error: trailing characters at line 1 column 4");
    insta::assert_snapshot!(error(b""), @"couldn't get version/kind; json parse error: EOF while parsing a value at line 1 column 0");
    assert!(parse_json("[".repeat(100_000).as_bytes()).is_err(), "depth has a limit");
}

#[test]
fn a_wrong_type_is_told_as_go_tells_it() {
    let deployment = |spec: Value| type_error("apps/v1", "Deployment", json!({"spec": spec}));
    insta::assert_snapshot!(deployment(json!({"replicas": "2"})), @"json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32");
    insta::assert_snapshot!(deployment(json!({"replicas": 1.5})), @"json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32");
    insta::assert_snapshot!(deployment(json!({"replicas": 9_999_999_999_i64})), @"json: cannot unmarshal number 9999999999 into Go struct field DeploymentSpec.spec.replicas of type int32");
    let pod = |spec: Value| type_error("v1", "Pod", json!({"spec": spec}));
    insta::assert_snapshot!(pod(json!({"containers": [{"env": [{"name": "A", "value": 1}]}]})), @"json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string");
    insta::assert_snapshot!(pod(json!({"containers": {}})), @"json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container");
    insta::assert_snapshot!(pod(json!({"containers": ["a"]})), @"json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type v1.Container");
    insta::assert_snapshot!(pod(json!({"restartPolicy": true})), @"json: cannot unmarshal bool into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy");
    insta::assert_snapshot!(pod(json!({"volumes": [{"emptyDir": 1}]})), @"json: cannot unmarshal number into Go struct field Volume.spec.volumes.emptyDir of type v1.EmptyDirVolumeSource");
    insta::assert_snapshot!(pod(json!({"containers": [{"resources": {"limits": []}}]})), @"json: cannot unmarshal array into Go struct field ResourceRequirements.spec.containers.resources.limits of type v1.ResourceList");
    insta::assert_snapshot!(pod(json!({"containers": [{"resources": {"limits": {"cpu": "many"}}}]})), @"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
    insta::assert_snapshot!(pod(json!({"containers": [{"livenessProbe": {"httpGet": {"port": true}}}]})), @"json: cannot unmarshal bool into Go value of type int32");
    insta::assert_snapshot!(type_error("v1", "ConfigMap", json!({"data": {"a": true}})), @"json: cannot unmarshal bool into Go struct field ConfigMap.data of type string");
    insta::assert_snapshot!(type_error("v1", "Secret", json!({"data": {"a": "%"}})), @"illegal base64 data at input byte 0");
    insta::assert_snapshot!(type_error("v1", "Pod", json!({"metadata": {"creationTimestamp": "now"}})), @r#"parsing time "now" as "2006-01-02T15:04:05Z07:00": cannot parse "now" as "2006""#);
    insta::assert_snapshot!(type_error("v1", "Pod", json!([])), @"json: cannot unmarshal array into Go value of type v1.Pod");
}

#[test]
fn nulls_raw_json_and_scalars_in_disguise_are_accepted() {
    for (kind, value) in [
        (
            "Pod",
            json!({"metadata": null, "spec": {"containers": [null], "nodeSelector": {"a": null}}}),
        ),
        (
            "Pod",
            json!({"spec": {"containers": [{"resources": {"limits": {"cpu": 0.5, "memory": "1Gi"}}}]}}),
        ),
        (
            "Service",
            json!({"spec": {"ports": [{"targetPort": 80}, {"targetPort": "http"}]}}),
        ),
        ("Secret", json!({"data": {"a": "YQ==\n"}})),
        (
            "Pod",
            json!({"metadata": {"managedFields": [{"fieldsV1": {"f:a": {}}}]}, "unknown": 1}),
        ),
        (
            "Pod",
            json!({"metadata": {"creationTimestamp": "2024-01-02T03:04:05+02:00"}}),
        ),
    ] {
        assert_eq!(check_types(&value, "v1", kind), Ok(()), "{value}");
    }
}

#[test]
fn a_body_becomes_what_go_would_write_back() {
    assert_eq!(
        normal(
            "Pod",
            json!({
                "apiVersion": "v1", "kind": "Pod", "status": {}, "extra": 1,
                "metadata": {"name": "a", "creationTimestamp": null, "labels": {}, "generation": 0},
                "spec": {
                    "hostNetwork": false, "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
                    "nodeSelector": {"a": null}, "tolerations": [], "hostname": "",
                    "securityContext": {}, "containers": [{
                        "name": "c", "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}, "requests": null},
                        "ports": [{"containerPort": 80, "hostPort": 0}],
                    }],
                },
            })
        ),
        json!({
            "apiVersion": "v1", "kind": "Pod", "status": {},
            "metadata": {"name": "a"},
            "spec": {
                "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
                "nodeSelector": {"a": ""}, "securityContext": {}, "containers": [{
                    "name": "c", "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}},
                    "ports": [{"containerPort": 80}],
                }],
            },
        })
    );
    let event = json!({"eventTime": "2024-01-02T03:04:05.5+01:00", "firstTimestamp": "2024-01-02T03:04:05.5Z"});
    assert_eq!(
        normal("Event", event),
        json!({"eventTime": "2024-01-02T02:04:05.500000Z", "firstTimestamp": "2024-01-02T03:04:05Z"})
    );
}

#[test]
fn what_go_would_write_is_told_from_what_it_would_not() {
    let spec = |spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec});
    let container = |more: Value| {
        let mut container = json!({"name": "c", "resources": {}});
        for (name, value) in more.as_object().expect("fields") {
            container[name] = value.clone();
        }
        spec(json!({"containers": [container]}))
    };
    let told = |kind: &str, value: &Value| {
        let is_normal = is_normal(value.to_string().as_bytes(), "v1", kind);
        assert_eq!(is_normal, is_normal_value(value, "v1", kind), "{value}");
        is_normal
    };
    for value in [
        spec(json!({"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false, "securityContext": {}})),
        spec(json!({"nodeSelector": {"a": ""}, "volumes": [{"name": "v", "emptyDir": {}}]})),
        container(json!({"env": [{"name": "A", "value": "b"}], "readinessProbe": {"httpGet": {"port": 80}}})),
        container(json!({"resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}})),
        json!({"metadata": {"creationTimestamp": "2024-01-02T03:04:05Z", "managedFields": [{"fieldsV1": {"f:a": {}}}]}}),
    ] {
        assert!(told("Pod", &value), "{value}");
    }
    for value in [
        spec(json!({"nodeName": ""})),
        spec(json!({"hostNetwork": false})),
        spec(json!({"priority": null})),
        spec(json!({"nodeSelector": {}})),
        spec(json!({"nodeSelector": {"a": null}})),
        spec(json!({"unknown": 1})),
        spec(json!({"containers": {}})),
        spec(json!({"securityContext": []})),
        container(json!({"env": []})),
        container(json!({"env": [null]})),
        container(json!({"name": {}})),
        container(json!({"ports": [{"containerPort": 80, "hostPort": 0}]})),
        container(json!({"resources": {"limits": {"cpu": "0.5"}}})),
        container(json!({"resources": {"limits": {"cpu": 1}}})),
        container(json!({"resources": {"limits": {"cpu": "many"}}})),
        json!({"metadata": {"creationTimestamp": "2024-01-02T03:04:05.5Z"}}),
        json!({"metadata": {"creationTimestamp": "2024-01-02 03:04:05Z"}}),
        json!({"metadata": {"managedFields": [{"fieldsV1": null}]}}),
        json!([]),
    ] {
        assert!(!told("Pod", &value), "{value}");
    }
    let event = |time: &str| json!({"eventTime": time});
    assert!(told("Event", &event("2024-01-02T02:04:05.500000Z")));
    assert!(!told("Event", &event("2024-01-02T02:04:05Z")));
    assert!(!told("Secret", &json!({"data": {"a": "YQ==\n"}})));
    assert!(told("Thing", &json!({"a": null})), "nobody knows its fields");
    assert!(!is_normal(b"{} {}", "v1", "Pod"));
    assert!(!is_normal(b"{\"a", "v1", "Pod"));
}

#[test]
fn only_rfc_3339_is_a_time() {
    for text in ["2024-01-02T03:04:05Z", "2024-01-02T03:04:05.123456789-07:00"] {
        assert!(parse_time(text).is_some(), "{text}");
    }
    for text in [
        "",
        "2024-01-02",
        "2024-01-02 03:04:05Z",
        "2024-13-02T03:04:05Z",
        "2024-01-02T03:04:05",
        "2024-01-02T03:04:05Z[UTC]",
    ] {
        assert!(parse_time(text).is_none(), "{text}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("metadata"),
        Just("spec"),
        Just("containers"),
        Just("name"),
        Just("resources"),
        Just("limits"),
        Just("ports"),
        Just("volumes"),
        Just("emptyDir"),
        Just("labels"),
        Just("creationTimestamp"),
        Just("other"),
    ]
    .prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9Mi:.-]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn normalizing_is_done_once_and_leaves_nothing_unknown(mut value in any_json()) {
        let _ = check_types(&value, "v1", "Pod");
        normalize(&mut value, "v1", "Pod");
        prop_assert_eq!(unknown_fields(&value, "v1", "Pod"), Vec::<String>::new());
        let once = value.clone();
        normalize(&mut value, "v1", "Pod");
        prop_assert_eq!(value, once);
    }

    #[test]
    fn what_normalizing_leaves_as_it_is_is_told_beforehand(value in any_json()) {
        let mut written = value.clone();
        normalize(&mut written, "v1", "Pod");
        for value in [&value, &written] {
            if value.is_object() && check_types(value, "v1", "Pod").is_ok() {
                let body = serde_json::to_vec(value).expect("JSON");
                prop_assert_eq!(is_normal(&body, "v1", "Pod"), *value == written);
                prop_assert_eq!(is_normal_value(value, "v1", "Pod"), *value == written);
            }
        }
    }

    #[test]
    fn parsing_agrees_with_serde_and_with_the_walk_over_the_value(value in any_json()) {
        let body = serde_json::to_vec(&value).expect("JSON");
        let parsed = parse_json_as(&body, "v1", "Pod").expect("JSON");
        prop_assert_eq!(&parsed.value, &serde_json::from_slice::<Value>(&body).expect("JSON"));
        let mut problems = parsed.problems;
        problems.sort();
        let mut unknown = unknown_fields(&value, "v1", "Pod");
        unknown.sort();
        prop_assert_eq!(problems, unknown);
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(body in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = parse_json_as(&body, "v1", "Pod");
    }
}
