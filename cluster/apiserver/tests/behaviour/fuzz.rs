//! Whatever arrives, the server answers, and a refusal is always a well-formed `Status`.

use http::Method;
use proptest::prelude::*;
use serde_json::json;

use crate::world::*;

fn path() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => prop::sample::select(vec![
            "api", "apis", "v1", "apps", "namespaces", "default", "pods", "configmaps", "services", "deployments", "nodes",
            "watch", "a", "status", "scale", "binding", "eviction", "finalize", "log", "discovery.k8s.io", "healthz", "openapi", "v3",
        ]).prop_map(str::to_owned),
        1 => "[a-z%./2Fñ]{0,6}".prop_map(|text| text.bytes().map(|byte| if byte.is_ascii() { (byte as char).to_string() } else { format!("%{byte:02X}") }).collect()),
    ];
    prop_oneof![
        prop::collection::vec(word, 0..7).prop_map(|words| format!("/{}", words.join("/"))),
        prop::sample::select(vec![
            format!("{PODS}/a"),
            PODS.to_owned(),
            format!("{DEPLOYMENTS}/a"),
            format!("{DEPLOYMENTS}/a/scale"),
            format!("{SERVICES}/a"),
            SERVICES.to_owned(),
            CONFIG_MAPS.to_owned(),
            format!("{CONFIG_MAPS}/a"),
            format!("{PODS}/a/status"),
            format!("{PODS}/a/binding"),
            format!("{PODS}/a/eviction"),
            "/api/v1/namespaces/x/finalize".to_owned(),
        ]),
    ]
}

fn query() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "limit",
        "continue",
        "resourceVersion",
        "resourceVersionMatch",
        "watch",
        "labelSelector",
        "fieldSelector",
        "dryRun",
        "fieldValidation",
        "timeoutSeconds",
        "gracePeriodSeconds",
        "propagationPolicy",
        "includeObject",
        "container",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "1",
            "0",
            "true",
            "All",
            "Exact",
            "Strict",
            "Ignore",
            "a=b",
            "metadata.name%3Da",
            "18446744073709551615",
            "Object"
        ])
        .prop_map(str::to_owned),
        "[ -~&&[^#<>\"`{}]]{0,8}".prop_map(|text| text.replace(' ', "+")),
    ];
    prop::collection::vec((name, value), 0..3).prop_map(|pairs| {
        pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("&")
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        prop::sample::select(vec![
            "a",
            "",
            "NodePort",
            "100Mi",
            "-1e999",
            "2020-01-01T00:00:00Z",
            "ClusterIP",
            "/spec/replicas",
            "add",
            "copy"
        ])
        .prop_map(|value| json!(value)),
    ];
    let field = prop::sample::select(vec![
        "metadata",
        "name",
        "labels",
        "spec",
        "status",
        "containers",
        "ports",
        "port",
        "nodePort",
        "clusterIP",
        "replicas",
        "selector",
        "template",
        "finalizers",
        "data",
        "op",
        "path",
        "value",
        "from",
        "$patch",
        "$setElementOrder/containers",
        "target",
        "type",
        "gracePeriodSeconds",
        "preconditions",
        "resourceVersion",
        "uid",
        "terminationGracePeriodSeconds",
        "resources",
        "limits",
        "cpu",
        "kind",
    ]);
    let any_json = leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| json!(items)),
            prop::collection::btree_map(field.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|entries| json!(entries)),
        ]
    });
    prop_oneof![
        5 => any_json.prop_map(|value| value.to_string().into_bytes()),
        2 => prop::sample::select(vec![pod("a", "n"), service("a", "NodePort"), deployment("a"), config_map("a")]).prop_map(|value| value.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(|tail| [b"k8s\0", &tail[..]].concat()),
    ]
}

#[test]
fn whatever_is_sent_is_answered_well() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let world = runtime.block_on(async {
        let world = world().await;
        world.post(PODS, pod("a", "n")).await.is(201);
        world.post(CONFIG_MAPS, config_map("a")).await.is(201);
        world.post(SERVICES, service("a", "NodePort")).await.is(201);
        world.post(DEPLOYMENTS, deployment("a")).await.is(201);
        world
            .post("/api/v1/namespaces", json!({"metadata": {"name": "x"}}))
            .await
            .is(201);
        world
    });
    let methods = prop::sample::select(vec![
        "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PURGE",
    ]);
    let media = prop::sample::select(vec![
        "",
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/merge-patch+json",
        "application/json-patch+json",
        "application/strategic-merge-patch+json",
        "text/plain",
    ]);
    let config = ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(method in methods, path in path(), query in query(), media in media, body in body())| {
        let uri = if query.is_empty() { path } else { format!("{path}?{query}") };
        let Ok(uri) = uri.parse::<http::Uri>() else { return Ok(()) };
        let is_log = uri.path().ends_with("/log");
        let mut sent = request(Method::from_bytes(method.as_bytes()).expect("a method"), "/", media, "");
        *sent.uri_mut() = uri;
        *sent.body_mut() = body.into();
        runtime.block_on(async {
            let response = world.send(admin(), sent).await;
            let code = response.status().as_u16();
            // Only a log asks somebody else, who is not there.
            prop_assert!(code != 500 || is_log);
            if code >= 400 && method != "HEAD" {
                let body = response.into_body().collect().await.expect("a whole body");
                let status: serde_json::Value = serde_json::from_slice(&body).expect("a status is JSON");
                prop_assert_eq!(&status["kind"], "Status");
                prop_assert_eq!(&status["code"], code);
            }
            Ok(())
        })?;
    });
    runtime.block_on(async { world.get(PODS).await.is(200) });
}
