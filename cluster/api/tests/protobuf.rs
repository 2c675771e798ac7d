//! Bodies that kubectl 1.33 sent, in protobuf and (where it says so itself, by `--dry-run=client -o json`) in JSON.

use orrery_api::{protobuf, strict};
use proptest::prelude::*;
use serde_json::{Value, json};

macro_rules! samples {
    ($suffix:literal, $($name:literal)*) => {
        &[$(($name, include_bytes!(concat!("data/protobuf/", $name, $suffix)).as_slice())),*]
    };
}

const BODIES: &[(&str, &[u8])] = samples! { ".bin",
    "00-create-deployment-web-image-nginx-replicas-2"
    "01-auth-can-i-create-pods"
    "02-auth-can-i-list"
    "03-auth-whoami"
    "04-auth-whoami"
    "05-auth-whoami"
    "06-autoscale-deployment-web-min-1-max-3-cpu-percent"
    "07-create-namespace-n1"
    "08-create-configmap-c2-from-literal-a-b"
    "09-create-secret-generic-s1-from-literal-a-b"
    "10-create-secret-docker-registry-s2-docker-server-x"
    "11-create-serviceaccount-sa1"
    "12-create-token-sa1-audience-aud-duration-10m"
    "13-create-role-r1-verb-get-resource-pods"
    "14-create-rolebinding-rb1-role-r1-user-u"
    "15-create-clusterrole-cr1-verb-get-resource-pods-de"
    "16-create-clusterrolebinding-crb1-clusterrole-cr1-u"
    "17-create-job-j1-image-busybox-date"
    "18-create-cronjob-cj1-image-busybox-schedule-1-date"
    "19-create-job-j2-from-cronjob-cj1"
    "20-create-service-clusterip-s3-tcp-80-80"
    "21-create-service-nodeport-s4-tcp-80-80"
    "22-create-service-loadbalancer-s5-tcp-80-80"
    "23-create-service-externalname-s6-external-name-x-y"
    "24-create-ingress-i1-rule-foo-com-bar-svc1-8080"
    "25-create-quota-q1-hard-pods-2"
    "26-create-poddisruptionbudget-p1-selector-app-web-m"
    "27-create-priorityclass-pc1-value-1000"
    "28-create-deployment-d9-image-nginx-dry-run-server"
    "29-auth-reconcile"
    "30-auth-reconcile"
    "31-auth-reconcile"
    "32-auth-reconcile"
    "33-auth-reconcile"
};

const JSON: &[(&str, &[u8])] = samples! { ".json",
    "00-create-deployment-web-image-nginx-replicas-2"
    "07-create-namespace-n1"
    "08-create-configmap-c2-from-literal-a-b"
    "09-create-secret-generic-s1-from-literal-a-b"
    "10-create-secret-docker-registry-s2-docker-server-x"
    "11-create-serviceaccount-sa1"
    "13-create-role-r1-verb-get-resource-pods"
    "14-create-rolebinding-rb1-role-r1-user-u"
    "15-create-clusterrole-cr1-verb-get-resource-pods-de"
    "16-create-clusterrolebinding-crb1-clusterrole-cr1-u"
    "17-create-job-j1-image-busybox-date"
    "18-create-cronjob-cj1-image-busybox-schedule-1-date"
    "20-create-service-clusterip-s3-tcp-80-80"
    "21-create-service-nodeport-s4-tcp-80-80"
    "22-create-service-loadbalancer-s5-tcp-80-80"
    "23-create-service-externalname-s6-external-name-x-y"
    "24-create-ingress-i1-rule-foo-com-bar-svc1-8080"
    "25-create-quota-q1-hard-pods-2"
    "26-create-poddisruptionbudget-p1-selector-app-web-m"
    "27-create-priorityclass-pc1-value-1000"
    "28-create-deployment-d9-image-nginx-dry-run-server"
};

fn body(name: &str) -> &'static [u8] {
    BODIES
        .iter()
        .find(|(other, _)| *other == name)
        .map(|(_, body)| *body)
        .expect("a sample of that name")
}

/// What the body says of itself: `v1/Pod`.
fn kind(value: &Value) -> (String, String) {
    let text = |key| value[key].as_str().unwrap_or_default().to_owned();
    (text("apiVersion"), text("kind"))
}

#[test]
fn every_body_of_kubectl_is_decoded_without_unknown_fields_or_wrong_types() {
    for (name, body) in BODIES {
        let value = protobuf::decode(body).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (api_version, kind) = kind(&value);
        assert_eq!(
            strict::unknown_fields(&value, &api_version, &kind),
            Vec::<String>::new(),
            "{name}"
        );
        assert_eq!(strict::check_types(&value, &api_version, &kind), Ok(()), "{name}");
        let mut normal = value.clone();
        strict::normalize(&mut normal, &api_version, &kind);
        assert_eq!(normal, value, "{name}: as Go would write it");
    }
}

#[test]
fn protobuf_and_json_give_the_same_object() {
    assert_eq!(JSON.len(), 21);
    for (name, json) in JSON {
        let mut expected: Value = serde_json::from_slice(json).expect("JSON");
        // The samples say `creationTimestamp: null`, which reads as absence.
        let (api_version, kind) = kind(&expected);
        strict::normalize(&mut expected, &api_version, &kind);
        assert_eq!(protobuf::decode(body(name)), Ok(expected), "{name}");
    }
}

#[test]
fn bodies_of_requests_without_json_say_what_was_asked() {
    let value = |name| protobuf::decode(body(name)).expect(name);
    assert_eq!(
        value("01-auth-can-i-create-pods"),
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "metadata": {},
            "spec": {"resourceAttributes": {"namespace": "default", "resource": "pods", "verb": "create"}},
            "status": {"allowed": false},
        })
    );
    assert_eq!(
        value("06-autoscale-deployment-web-min-1-max-3-cpu-percent")["spec"],
        json!({
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1, "maxReplicas": 3,
            "metrics": [{
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
            }],
        })
    );
    assert_eq!(
        value("12-create-token-sa1-audience-aud-duration-10m"),
        json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
            "spec": {"audiences": ["aud"], "expirationSeconds": 600}, "status": {"token": ""},
        })
    );
    assert_eq!(
        value("19-create-job-j2-from-cronjob-cj1")["metadata"],
        json!({
            "annotations": {"cronjob.kubernetes.io/instantiate": "manual"}, "name": "j2",
            "ownerReferences": [{
                "apiVersion": "batch/v1", "controller": true, "kind": "CronJob", "name": "cj1",
                "uid": "0cf9cd91-47d3-40a2-8b97-7c409576aadb",
            }],
        })
    );
}

/// A body of a kind with these bytes.
fn wrap(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let mut field = vec![number << 3 | 2];
        let mut length = bytes.len();
        while length >= 0x80 {
            field.push(length as u8 | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        field.extend(bytes);
        field
    };
    let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [protobuf::MAGIC.to_vec(), field(1, &type_meta), field(2, raw)].concat()
}

#[test]
fn delete_options_of_any_group_are_decoded() {
    // gracePeriodSeconds 0 (a pointer: zero is said), preconditions.uid, propagationPolicy, dryRun.
    let raw = b"\x08\x00\x12\x05\x0a\x03abc\x22\x0aBackground\x2a\x03All";
    assert_eq!(
        protobuf::decode(&wrap("policy/v1", "DeleteOptions", raw)),
        Ok(json!({
            "apiVersion": "policy/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "preconditions": {"uid": "abc"}, "propagationPolicy": "Background", "dryRun": ["All"],
        }))
    );
}

#[test]
fn a_zero_is_kept_where_go_has_a_pointer_and_left_out_where_json_omits_it() {
    // DeploymentSpec: replicas 0 (pointer), minReadySeconds 0 (omitempty), paused false (omitempty).
    let value = protobuf::decode(&wrap("apps/v1", "Deployment", b"\x12\x06\x08\x00\x28\x00\x38\x00"));
    assert_eq!(value.map(|value| value["spec"].clone()), Ok(json!({"replicas": 0})));
}

#[test]
fn what_is_not_a_body_is_refused() {
    let error = |body: &[u8]| protobuf::decode(body).expect_err("refused").to_string();
    insta::assert_snapshot!(error(b"{}"), @"provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]");
    insta::assert_snapshot!(error(b"k8s\0"), @"Object 'Kind' is missing in the body");
    insta::assert_snapshot!(error(b"k8s\0\x0a\x05ab"), @"unexpected EOF");
    insta::assert_snapshot!(error(&wrap("v2", "Pod", b"")), @r#"no kind "Pod" is registered for version "v2""#);
    insta::assert_snapshot!(error(&wrap("v1", "Pod", b"\x08\x01")), @"proto: wrong wireType = 0 for field metadata");
    insta::assert_snapshot!(error(&wrap("v1", "Pod", b"\x0a\x03\x0a\x01\xff")), @"proto: field name contains invalid UTF-8");
    let default = protobuf::decode_as(b"k8s\0", Some(("v1", "Pod")));
    assert_eq!(default, Ok(json!({"apiVersion": "v1", "kind": "Pod"})));
}

#[test]
fn nesting_has_a_limit() {
    // A list in a list in a list: each item a nested body.
    let mut body = wrap("v1", "List", b"");
    for _ in 0..200 {
        let mut item = vec![0x0a];
        item.extend(length(body.len()));
        item.extend(&body);
        let mut raw = vec![0x12];
        raw.extend(length(item.len()));
        raw.extend(item);
        body = wrap("v1", "List", &raw);
    }
    assert_eq!(protobuf::decode(&body), Err(protobuf::Error::TooDeep));
}

fn length(mut length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = protobuf::decode(&bytes);
        let _ = protobuf::decode(&[protobuf::MAGIC, &bytes].concat());
        let _ = protobuf::decode(&wrap("v1", "Pod", &bytes));
        let _ = protobuf::decode(&wrap("apps/v1", "Deployment", &bytes));
    }

    #[test]
    fn a_damaged_body_is_decoded_or_refused(
        sample in 0..BODIES.len(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut body = BODIES[sample].1.to_vec();
        for (place, byte) in damage {
            let place = place.index(body.len());
            body[place] = byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        if let Ok(value) = protobuf::decode(&body) {
            let (api_version, kind) = kind(&value);
            prop_assert_eq!(strict::unknown_fields(&value, &api_version, &kind), Vec::<String>::new());
        }
    }
}
