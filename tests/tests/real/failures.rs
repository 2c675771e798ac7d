//! Requests from those who may not make them, and pods that cannot be placed.

use std::process::Command;
use std::time::Duration;

use orrery_tests::wait::wait_until;
use orrery_tests::{Session, process, tests};

tests![
    without_a_certificate_nothing_is_told,
    a_pod_too_large_for_the_node_waits_and_says_why,
    a_pod_of_another_scheduler_is_left_alone,
];

fn without_a_certificate_nothing_is_told(session: &Session<'_>) {
    let server = format!("https://127.0.0.1:{}", session.cluster().port());
    let curl = |path: &str, more: &[&str]| {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--insecure", "--write-out", "\n%{http_code}"])
            .args(more)
            .arg(format!("{server}{path}"));
        process::run(command, b"", Duration::from_secs(20))
            .expect("there is a curl")
            .stdout
    };
    for path in [
        "/api/v1/namespaces/default/secrets",
        "/api/v1/nodes",
        "/apis/apps/v1/deployments",
    ] {
        let answer = curl(path, &[]);
        assert!(
            answer.ends_with("\n401") || answer.ends_with("\n403"),
            "{path}: {answer}"
        );
        assert!(answer.contains("\"kind\":\"Status\""), "{path}: {answer}");
        let answer = curl(path, &["--header", "Authorization: Bearer nonsense"]);
        assert!(answer.ends_with("\n401"), "{path} with a false token: {answer}");
    }
    assert!(curl("/readyz", &[]).ends_with("ok\n200"));
}

fn a_pod_too_large_for_the_node_waits_and_says_why(session: &Session<'_>) {
    let overrides = r#"{"spec":{"containers":[{"name":"big","image":"orrery-test/web:1","resources":{"requests":{"cpu":"1000"}}}]}}"#;
    session.kubectl(&format!("run big --image=orrery-test/web:1 --overrides='{overrides}'"));
    wait_until("the scheduler says why", 30, || {
        let events = session.kubectl("get events --field-selector involvedObject.name=big");
        events.contains("FailedScheduling") && events.contains("0/1 nodes are available: 1 Insufficient cpu")
    });
    assert_eq!(session.field("pod big", ".status.phase"), "Pending");
    assert_eq!(
        session.field("pod big", ".status.conditions[?(@.type==\"PodScheduled\")].reason"),
        "Unschedulable"
    );
    let logs = session.try_kubectl("logs big");
    assert!(!logs.text().contains("panic"), "{logs}");
    session.kubectl("delete pod big");
}

fn a_pod_of_another_scheduler_is_left_alone(session: &Session<'_>) {
    session.kubectl("run other --image=orrery-test/web:1 --overrides='{\"spec\":{\"schedulerName\":\"other\"}}'");
    session.kubectl("run ours --image=orrery-test/web:1");
    session.kubectl("wait pod ours --for=condition=Ready --timeout=60s");
    assert_eq!(session.field("pod other", ".spec.nodeName"), "");
    let binding =
        r#"{"apiVersion":"v1","kind":"Binding","metadata":{"name":"other"},"target":{"kind":"Node","name":"orrery"}}"#;
    let path = format!("/api/v1/namespaces/{}/pods/other/binding", session.namespace());
    session.kubectl_with(&format!("create --raw {path} -f -"), binding);
    session.kubectl("wait pod other --for=condition=Ready --timeout=60s");
}
