use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::testing::{defaulted, faults, object, row, update_faults, value};
use super::defaults::pull_policy;
use super::{Pods, admission, qos};
use crate::resource::Strategy as _;

fn pod(spec: Value, status: Value) -> Pod {
    defaulted(&Pods, object(json!({"spec": spec, "status": status})))
}

fn nginx() -> Value {
    json!({"containers": [{"name": "c", "image": "nginx"}]})
}

fn checked(spec: Value) -> String {
    faults(&Pods, &pod(spec, json!({})))
}

#[test]
fn a_pod_has_defaults() {
    let pod = pod(nginx(), json!({}));
    assert_eq!(faults(&Pods, &pod), "");
    insta::assert_snapshot!(value(&pod)["spec"], @r#"{"containers":[{"image":"nginx","imagePullPolicy":"Always","name":"c","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","enableServiceLinks":true,"restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}"#);
}

#[test]
fn probes_volumes_and_fields_have_defaults() {
    let full = pod(
        json!({
            "hostNetwork": true, "serviceAccount": "old",
            "containers": [{
                "name": "c", "image": "nginx:1", "ports": [{"containerPort": 80}],
                "livenessProbe": {"httpGet": {"port": 80}},
                "resources": {"limits": {"cpu": "1"}},
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            }],
            "volumes": [{"name": "a"}, {"name": "b", "secret": {"secretName": "s"}}, {"name": "c", "hostPath": {"path": "/"}}],
        }),
        json!({}),
    );
    let spec = &value(&full)["spec"];
    let container = &spec["containers"][0];
    let parts = ["ports", "livenessProbe", "resources", "env"].map(|key| container[key].to_string());
    insta::assert_snapshot!(parts.join("\n"), @r#"
    [{"containerPort":80,"hostPort":80,"protocol":"TCP"}]
    {"failureThreshold":3,"httpGet":{"path":"/","port":80,"scheme":"HTTP"},"periodSeconds":10,"successThreshold":1,"timeoutSeconds":1}
    {"limits":{"cpu":"1"},"requests":{"cpu":"1"}}
    [{"name":"A","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.name"}}}]
    "#);
    insta::assert_snapshot!(spec["volumes"], @r#"[{"emptyDir":{},"name":"a"},{"name":"b","secret":{"defaultMode":420,"secretName":"s"}},{"hostPath":{"path":"/","type":""},"name":"c"}]"#);
    assert_eq!(spec["serviceAccountName"], "old");
}

#[test]
fn latest_is_pulled_always() {
    for image in ["nginx", "nginx:latest", "host:5000/nginx", "a/b/nginx:latest"] {
        assert_eq!(pull_policy(image), "Always", "{image}");
    }
    for image in ["nginx:1", "nginx@sha256:0", "host:5000/nginx:1", ""] {
        assert_eq!(pull_policy(image), "IfNotPresent", "{image}");
    }
}

#[test]
fn admission_gives_account_priority_and_patience() {
    let mut pod = pod(nginx(), json!({}));
    admission::default_service_account(&mut pod);
    admission::add_default_tolerations(&mut pod);
    let once = pod.clone();
    admission::add_default_tolerations(&mut pod);
    assert_eq!(pod, once);
    assert_eq!(admission::set_priority(&mut pod), Ok(()));
    let spec = pod.spec.expect("a spec");
    assert_eq!(spec.tolerations.map(|all| all.len()), Some(2));
    assert_eq!(
        (spec.priority, spec.service_account_name.as_deref()),
        (Some(0), Some("default"))
    );
}

#[test]
fn a_pods_priority_is_its_classs() {
    let priority = |more: Value| {
        let mut spec = nginx();
        for (name, value) in more.as_object().expect("fields") {
            spec[name] = value.clone();
        }
        let mut pod = pod(spec, json!({}));
        admission::set_priority(&mut pod)?;
        let spec = pod.spec.unwrap_or_default();
        Ok::<_, String>((spec.priority, spec.preemption_policy))
    };
    let of = |priority: i32| Ok::<_, String>((Some(priority), Some("PreemptLowerPriority".to_owned())));
    assert_eq!(
        priority(json!({"priority": 0, "preemptionPolicy": "PreemptLowerPriority"})),
        of(0)
    );
    let critical = json!({"priorityClassName": "system-node-critical", "priority": 2_000_001_000});
    assert_eq!(priority(critical), of(2_000_001_000));
    let refused = |more: Value| priority(more).expect_err("it says itself what its class says");
    insta::assert_snapshot!(refused(json!({"priorityClassName": "mine"})), @"no PriorityClass with name mine was found");
    insta::assert_snapshot!(refused(json!({"priority": 7})), @"the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name");
    insta::assert_snapshot!(refused(json!({"preemptionPolicy": "Never"})), @"the string value of PreemptionPolicy (Never) must not be provided in pod spec; priority admission controller computed PreemptLowerPriority from the given PriorityClass name");
}

#[test]
fn a_new_pod_with_gates_says_that_it_waits_for_them() {
    let created = |gates: Value| {
        let mut spec = nginx();
        spec["schedulingGates"] = gates;
        let mut pod = pod(spec, json!({"phase": "Running"}));
        Pods.prepare_create(&mut pod);
        value(&pod)["status"].clone()
    };
    insta::assert_snapshot!(created(json!([{"name": "example.com/a"}])), @r#"{"conditions":[{"message":"Scheduling is blocked due to non-empty scheduling gates","reason":"SchedulingGated","status":"False","type":"PodScheduled"}],"phase":"Pending","qosClass":"BestEffort"}"#);
    insta::assert_snapshot!(created(json!([])), @r#"{"phase":"Pending","qosClass":"BestEffort"}"#);
}

#[test]
fn quality_of_service_follows_requests_and_limits() {
    let class = |resources: Value| {
        let pod = pod(
            json!({"containers": [{"name": "c", "image": "i", "resources": resources}]}),
            json!({}),
        );
        qos::class(&pod.spec.unwrap_or_default())
    };
    assert_eq!(class(json!({})), "BestEffort");
    assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
    assert_eq!(
        class(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}})),
        "Guaranteed"
    );
    assert_eq!(
        class(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1m"}})),
        "Burstable"
    );
}

#[test]
fn containers_are_checked() {
    insta::assert_snapshot!(checked(json!({})), @"spec.containers: Required value");
    insta::assert_snapshot!(checked(json!({"containers": [{"name": "C"}, {"name": "a", "image": "i "}, {"name": "a", "image": "i"}]})), @r#"
    spec.containers[0].name: Invalid value: "C": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
    spec.containers[0].image: Required value
    spec.containers[2].name: Duplicate value: "a"
    spec.containers[1].image: Invalid value: "i ": must not have leading or trailing whitespace
    "#);
    insta::assert_snapshot!(checked(json!({
        "restartPolicy": "Sometimes",
        "containers": [{
            "name": "c", "image": "i",
            "ports": [{"containerPort": 0}, {"name": "a", "containerPort": 70000}, {"name": "a", "containerPort": 1, "protocol": "x"}],
            "env": [{"name": ""}, {"name": "A=B"}, {"name": "C", "valueFrom": {}}, {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}],
            "resources": {"requests": {"cpu": "2", "memory": "-1", "gpu": "1"}, "limits": {"cpu": "1"}},
            "livenessProbe": {"successThreshold": 2, "periodSeconds": -1},
            "volumeMounts": [
                {"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional"},
                {"name": "w", "mountPath": "/a"},
            ],
        }],
        "volumes": [{"name": "v", "secret": {"secretName": ""}, "hostPath": {"path": "/../x"}}],
    })), @r#"
    spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type
    spec.volumes[0].hostPath.path: Invalid value: "/../x": must not contain '..'
    spec.volumes[0].secret.secretName: Required value
    spec.containers[0].ports[0].containerPort: Required value
    spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive
    spec.containers[0].ports[2].name: Duplicate value: "a"
    spec.containers[0].ports[2].protocol: Unsupported value: "x": supported values: "SCTP", "TCP", "UDP"
    spec.containers[0].env[0].name: Required value
    spec.containers[0].env[1].name: Invalid value: "A=B": a valid environment variable name must consist only of printable ASCII characters other than '='
    spec.containers[0].env[2].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`
    spec.containers[0].env[3].valueFrom.fieldRef.fieldPath: Unsupported value: "spec.x": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"
    spec.containers[0].volumeMounts[0].mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers
    spec.containers[0].volumeMounts[1].name: Not found: "w"
    spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique
    spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified
    spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource for containers
    spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0
    spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1
    spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources
    spec.containers[0].livenessProbe: Required value: must specify a handler type
    spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0
    spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1
    spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"
    "#);
}

#[test]
fn init_containers_have_probes_only_when_they_stay() {
    insta::assert_snapshot!(checked(json!({
        "containers": [{"name": "c", "image": "i"}],
        "initContainers": [
            {"name": "c", "image": "i", "readinessProbe": {"tcpSocket": {"port": 1}}},
            {"name": "d", "image": "i", "restartPolicy": "Always", "readinessProbe": {"tcpSocket": {"port": 1}}},
        ],
    })), @r#"
    spec.initContainers[0].name: Duplicate value: "c"
    spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always
    "#);
}

#[test]
fn a_host_port_is_taken_once_by_the_containers_and_by_each_init_container() {
    let of = |name: &str, ports: Value| json!({"name": name, "image": "i", "ports": ports});
    let port = json!({"containerPort": 80, "hostPort": 80});
    let once = json!([port]);
    let sidecar = |name: &str| json!({"name": name, "image": "i", "ports": [port], "restartPolicy": "Always"});
    let each = json!({
        "containers": [of("a", once.clone())],
        "initContainers": [of("b", once.clone()), of("c", once.clone()), sidecar("d"), sidecar("e")],
    });
    assert_eq!(checked(each), "");
    let twice = json!({
        "containers": [of("a", once.clone()), of("b", once)],
        "initContainers": [of("c", json!([])), of("d", json!([port, port]))],
    });
    insta::assert_snapshot!(checked(twice), @r#"
    spec.containers[1].ports[0].hostPort: Duplicate value: "TCP//80"
    spec.initContainers[1].ports[1].hostPort: Duplicate value: "TCP//80"
    "#);
}

#[test]
fn a_container_cannot_be_privileged_and_kept_from_privileges() {
    let own =
        |security: Value| checked(json!({"containers": [{"name": "c", "image": "i", "securityContext": security}]}));
    for fine in [
        json!({"privileged": true, "runAsUser": 0, "runAsGroup": 2_147_483_647}),
        json!({"privileged": true, "allowPrivilegeEscalation": true, "capabilities": {"add": ["CAP_SYS_ADMIN"]}}),
        json!({"allowPrivilegeEscalation": false, "capabilities": {"add": ["SYS_ADMIN"], "drop": ["CAP_SYS_ADMIN"]}}),
    ] {
        assert_eq!(own(fine.clone()), "", "{fine}");
    }
    insta::assert_snapshot!(own(json!({"runAsUser": -1, "runAsGroup": 2_147_483_648_i64})), @"
    spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive
    spec.containers[0].securityContext.runAsGroup: Invalid value: 2147483648: must be between 0 and 2147483647, inclusive
    ");
    insta::assert_snapshot!(own(json!({"allowPrivilegeEscalation": false, "privileged": true})), @r#"spec.containers[0].securityContext: Invalid value: {"allowPrivilegeEscalation":false,"privileged":true}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"#);
    insta::assert_snapshot!(own(json!({"allowPrivilegeEscalation": false, "capabilities": {"add": ["CAP_SYS_ADMIN"]}})), @r#"spec.containers[0].securityContext: Invalid value: {"allowPrivilegeEscalation":false,"capabilities":{"add":["CAP_SYS_ADMIN"]}}: cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"#);
}

#[test]
fn what_is_odd_about_a_new_pod_is_told() {
    let odd = pod(
        json!({
            "initContainers": [{"name": "i", "image": "i", "ports": [{"containerPort": 80}]}],
            "containers": [{
                "name": "c", "image": "i",
                "env": [
                    {"name": "A", "value": "1"}, {"name": "A", "value": "2"}, {"name": "A", "value": "$(A),3"},
                    {"name": "A", "value": "$(A)"}, {"name": "B", "value": "2"},
                ],
                "resources": {
                    "limits": {"memory": "512m", "cpu": "500m"},
                    "requests": {"memory": "1Gi", "ephemeral-storage": "0.5"},
                },
                "ports": [
                    {"containerPort": 80}, {"containerPort": 80, "hostPort": 1},
                    {"containerPort": 80, "protocol": "UDP"},
                ],
            }, {
                "name": "d", "image": "i",
                "ports": [
                    {"containerPort": 81, "hostPort": 2}, {"containerPort": 81, "hostPort": 2, "hostIP": "10.0.0.1"},
                ],
            }],
        }),
        json!({}),
    );
    let told = Pods.warnings(&odd, None);
    insta::assert_snapshot!(told.join("\n"), @r#"
    spec.containers[0].resources.limits[memory]: fractional byte value "512m" is invalid, must be an integer
    spec.containers[0].resources.requests[ephemeral-storage]: fractional byte value "500m" is invalid, must be an integer
    spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply
    spec.containers[0].env[3]: hides previous definition of "A", which may be dropped when using apply
    spec.containers[0].ports[0]: duplicate port definition with spec.initContainers[0].ports[0]
    spec.containers[0].ports[1]: overlapping port definition with spec.initContainers[0].ports[0]
    spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]
    spec.containers[1].ports[1]: dangerously ambiguous port definition with spec.containers[1].ports[0]
    "#);
    let of_change = Pods.warnings(&odd, Some(&odd));
    assert!(of_change.is_empty(), "{of_change:?}");
    assert!(Pods.warnings(&pod(nginx(), json!({})), None).is_empty());
    let many = vec![json!({"containerPort": 80}); 1000];
    let many = pod(json!({"containers": [{"name": "c", "ports": many}]}), json!({}));
    assert_eq!(Pods.warnings(&many, None).len(), 100, "of half a million pairs");
}

#[test]
fn a_pod_that_wants_another_runtime_is_refused() {
    let judged = |class: &str| {
        let mut spec = nginx();
        spec["runtimeClassName"] = json!(class);
        admission::check_runtime_class(&pod(spec, json!({})))
    };
    assert_eq!(judged(""), Ok(()));
    let refused = judged("gvisor").expect_err("there are no runtime classes");
    insta::assert_snapshot!(refused, @r#"pod rejected: RuntimeClass "gvisor" not found"#);
}

#[test]
fn placement_is_checked() {
    insta::assert_snapshot!(checked(json!({
        "containers": [{"name": "c", "image": "i"}],
        "nodeSelector": {"a b": "x"},
        "tolerations": [{"operator": "Equal"}, {"key": "a", "operator": "Exists", "value": "b", "tolerationSeconds": 1}],
        "topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "", "whenUnsatisfiable": "x"}],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0, "podAffinityTerm": {"topologyKey": ""}}]}},
    })), @r#"
    spec.nodeSelector: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
    spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"
    spec.tolerations[1].effect: Invalid value: "": effect must be 'NoExecute' when `tolerationSeconds` is set
    spec.tolerations[1].operator: Invalid value: {"key":"a","operator":"Exists","tolerationSeconds":1,"value":"b"}: value must be empty when `operator` is 'Exists'
    spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100
    spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Required value: can not be empty
    spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero
    spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty
    spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "x": supported values: "DoNotSchedule", "ScheduleAnyway"
    "#);
}

#[test]
fn a_pods_spec_is_frozen_but_for_its_images() {
    let old = pod(nginx(), json!({}));
    let mut new = old.clone();
    new.spec.as_mut().expect("a spec").containers[0].image = Some("nginx:2".to_owned());
    assert_eq!(update_faults(&Pods, &new, &old), "");
    new.spec.as_mut().expect("a spec").hostname = Some("x".to_owned());
    insta::assert_snapshot!(update_faults(&Pods, &new, &old), @"spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)");
    let two = pod(
        json!({"containers": [{"name": "c", "image": "nginx"}, {"name": "d", "image": "i"}]}),
        json!({}),
    );
    insta::assert_snapshot!(update_faults(&Pods, &two, &old), @"spec.containers: Forbidden: pod updates may not add or remove containers");
}

#[test]
fn tolerations_may_only_be_added() {
    let with = |list: Value| {
        pod(
            json!({"containers": [{"name": "c", "image": "i"}], "tolerations": list}),
            json!({}),
        )
    };
    let old = with(json!([{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}]));
    let more = with(json!([
        {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9}, {"key": "b", "operator": "Exists"},
    ]));
    assert_eq!(update_faults(&Pods, &more, &old), "");
    insta::assert_snapshot!(update_faults(&Pods, &old, &more), @"spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds");
}

#[test]
fn a_container_that_ended_for_good_does_not_come_back() {
    let of = |policy: Value, own: Value, state: Value| {
        let spec = json!({"restartPolicy": policy, "containers": [{"name": "c", "image": "i", "restartPolicy": own}]});
        pod(spec, json!({"containerStatuses": [{"name": "c", "state": state}]}))
    };
    let faults = |policy: &str, own: Value, code: i32| {
        let ended = of(json!(policy), own.clone(), json!({"terminated": {"exitCode": code}}));
        let running = of(json!(policy), own, json!({"running": {}}));
        assert_eq!(Pods.validate_status_update(&ended, &running), []);
        Pods.validate_status_update(&running, &ended).len()
    };
    assert_eq!(faults("Never", Value::Null, 1), 1);
    assert_eq!(faults("OnFailure", Value::Null, 0), 1);
    assert_eq!(faults("OnFailure", Value::Null, 1), 0);
    assert_eq!(faults("Always", Value::Null, 0), 0);
    // A container's own policy is the one that counts.
    assert_eq!(faults("Never", json!("Always"), 0), 0);
    assert_eq!(faults("Never", json!("OnFailure"), 1), 0);
    assert_eq!(faults("OnFailure", json!("Never"), 1), 1);
}

#[test]
fn a_pod_is_deleted_at_once_when_nothing_runs() {
    let mut pod = pod(nginx(), json!({"phase": "Running"}));
    assert_eq!(Pods.grace_period(&pod, None), Some(0), "it has no node");
    pod.spec.as_mut().expect("a spec").node_name = Some("n".to_owned());
    assert_eq!(Pods.grace_period(&pod, None), Some(30));
    assert_eq!(Pods.grace_period(&pod, Some(5)), Some(5));
    assert_eq!(Pods.grace_period(&pod, Some(-1)), Some(1));
    pod.status.as_mut().expect("a status").phase = Some("Failed".to_owned());
    assert_eq!(Pods.grace_period(&pod, Some(5)), Some(0), "it is finished");
}

#[test]
fn a_pod_says_how_it_is() {
    let (one, two) = (json!([{"name": "c"}]), json!([{"name": "c"}, {"name": "d"}]));
    let container = |state: Value, restarts: i32, ready: bool| {
        json!({"name": "c", "state": state, "restartCount": restarts, "ready": ready,
               "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:05:00Z"}}})
    };
    let statuses = |list: Value| json!({"phase": "Running", "containerStatuses": list, "podIP": "10.0.0.9"});
    let init = |list: Value| json!({"phase": "Pending", "initContainerStatuses": list});
    let with_init = json!({"containers": one, "initContainers": [{"name": "i"}, {"name": "j"}]});
    let shown = [
        (json!({"containers": one}), json!({"phase": "Pending"})),
        (json!({"containers": one}), json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]})),
        (json!({"containers": one, "nodeName": "n1"}), statuses(json!([container(json!({"waiting": {"reason": "ContainerCreating"}}), 0, false)]))),
        (json!({"containers": one, "nodeName": "n1"}), statuses(json!([container(json!({"running": {}}), 0, true)]))),
        (json!({"containers": two}), statuses(json!([container(json!({"waiting": {"reason": "CrashLoopBackOff"}}), 3, false), container(json!({"running": {}}), 0, true)]))),
        (json!({"containers": one}), statuses(json!([container(json!({"terminated": {"exitCode": 0, "reason": "Completed"}}), 0, false)]))),
        (json!({"containers": one}), statuses(json!([container(json!({"terminated": {"exitCode": 137}}), 0, false)]))),
        (json!({"containers": one}), statuses(json!([container(json!({"terminated": {"exitCode": 137, "signal": 9}}), 0, false)]))),
        (with_init.clone(), init(json!([{"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "j", "state": {"running": {}}}]))),
        (with_init.clone(), init(json!([{"name": "i", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]))),
        (with_init, init(json!([{"name": "i", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]))),
        (json!({"containers": one}), json!({"phase": "Failed", "reason": "Evicted"})),
        (json!({"containers": one, "readinessGates": [{"conditionType": "a"}, {"conditionType": "b"}]}), json!({"conditions": [{"type": "a", "status": "True"}]})),
    ]
    .map(|(spec, status)| row(&Pods, &object(json!({"spec": spec, "status": status}))))
    .join("\n");
    insta::assert_snapshot!(shown, @"
    web | 0/1 | Pending | 0 | 10m | <none> | <none> | <none> | <none>
    web | 0/1 | SchedulingGated | 0 | 10m | <none> | <none> | <none> | <none>
    web | 0/1 | ContainerCreating | 0 | 10m | 10.0.0.9 | n1 | <none> | <none>
    web | 1/1 | Running | 0 | 10m | 10.0.0.9 | n1 | <none> | <none>
    web | 1/2 | CrashLoopBackOff | 3 (5m ago) | 10m | 10.0.0.9 | <none> | <none> | <none>
    web | 0/1 | Completed | 0 | 10m | 10.0.0.9 | <none> | <none> | <none>
    web | 0/1 | ExitCode:137 | 0 | 10m | 10.0.0.9 | <none> | <none> | <none>
    web | 0/1 | Signal:9 | 0 | 10m | 10.0.0.9 | <none> | <none> | <none>
    web | 0/1 | Init:1/2 | 0 | 10m | <none> | <none> | <none> | <none>
    web | 0/1 | Init:Error | 0 | 10m | <none> | <none> | <none> | <none>
    web | 0/1 | Init:CrashLoopBackOff | 0 | 10m | <none> | <none> | <none> | <none>
    web | 0/1 | Evicted | 0 | 10m | <none> | <none> | <none> | <none>
    web | 0/1 |  | 0 | 10m | <none> | <none> | <none> | 1/2
    ");
}

#[test]
fn a_deleted_pod_terminates_unless_its_node_is_lost() {
    let mut pod = pod(nginx(), json!({"phase": "Running"}));
    pod.metadata.deletion_timestamp = pod.metadata.creation_timestamp.clone();
    assert!(row(&Pods, &pod).contains("| Terminating |"));
    pod.status.as_mut().expect("a status").reason = Some("NodeLost".to_owned());
    assert!(row(&Pods, &pod).contains("| Unknown |"));
}

proptest! {
    /// Whatever texts stand in a pod: no rule panics, and defaults are set once and for all.
    #[test]
    fn any_text_can_be_checked(a in "\\PC{0,12}", b in "\\PC{0,12}", n in any::<i32>()) {
        let pod = pod(
            json!({
                "containers": [{
                    "name": a, "image": b, "ports": [{"name": b, "containerPort": n, "protocol": a}],
                    "env": [{"name": a, "valueFrom": {"fieldRef": {"fieldPath": format!("metadata.labels[{b}")}}}],
                    "resources": {"limits": {(a.clone()): b}, "requests": {(a.clone()): a}},
                    "livenessProbe": {"httpGet": {"path": a, "port": b}},
                    "volumeMounts": [{"name": a, "mountPath": b, "subPath": a}],
                }],
                "volumes": [{"name": b, "configMap": {"name": a, "defaultMode": n, "items": [{"key": a, "path": b}]}}],
                "tolerations": [{"key": a, "operator": b, "effect": a}],
                "hostname": a, "dnsPolicy": b,
            }),
            json!({"phase": b, "reason": a}),
        );
        let errors = Pods.validate(&pod);
        prop_assert!(!errors.is_empty());
        prop_assert_eq!(Pods.cells(&pod, Timestamp::UNIX_EPOCH).len(), Pods.columns().len());
        prop_assert!(Pods.validate_update(&pod, &pod).is_empty());
    }
}
