//! Deployments: made, scaled, rolled out, paused, taken back and deleted.

use std::collections::BTreeSet;

use orrery_tests::wait::wait_until;
use orrery_tests::{Session, tests};
use serde_json::Value;

tests![
    a_deployment_runs_as_many_pods_as_it_asks_for,
    scaling_adds_and_removes_pods_and_endpoints,
    a_new_image_rolls_out_and_undo_brings_the_old_one_back,
    a_paused_deployment_keeps_its_pods_until_it_is_resumed,
    a_restart_replaces_every_pod,
    a_rollout_to_a_missing_image_keeps_the_old_pods_serving,
    deleting_a_deployment_takes_its_pods_and_leaves_the_rest,
    deleting_all_by_label_leaves_none,
];

/// The text at a JSON pointer; empty if there is none.
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn all_of(pods: &[Value], pointer: &str) -> BTreeSet<String> {
    pods.iter().map(|pod| text(pod, pointer).to_owned()).collect()
}

fn a_deployment_runs_as_many_pods_as_it_asks_for(session: &Session<'_>) {
    let said = session.kubectl("create deployment web --image=orrery-test/web:1 --replicas=3");
    assert_eq!(said, "deployment.apps/web created\n");
    session.rolled_out("web");
    let table = session.kubectl("get deployments");
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]);
    assert_eq!(lines[1][..4], ["web", "3/3", "3", "3"]);

    let pods = session.pods("web");
    assert_eq!(pods.len(), 3);
    assert_eq!(
        all_of(&pods, "/status/podIP").len(),
        3,
        "each pod has an address of its own"
    );
    let sets = session.items("rs -l app=web");
    assert_eq!(sets.len(), 1);
    let set = text(&sets[0], "/metadata/name");
    for pod in &pods {
        let name = text(pod, "/metadata/name");
        let suffix = name
            .strip_prefix(&format!("{set}-"))
            .unwrap_or_else(|| panic!("{name} is not named by {set}"));
        assert_eq!(suffix.len(), 5, "{name}");
        assert_eq!(text(pod, "/spec/nodeName"), "orrery");
        assert_eq!(text(pod, "/status/phase"), "Running");
        assert_eq!(text(pod, "/metadata/ownerReferences/0/name"), set);
    }
    assert!(set.ends_with(&format!("-{}", text(&sets[0], "/metadata/labels/pod-template-hash"))));
}

fn scaling_adds_and_removes_pods_and_endpoints(session: &Session<'_>) {
    session.deploy("web", 1);
    session.kubectl("expose deployment web --port=80");
    for replicas in [4, 0, 2] {
        let said = session.kubectl(&format!("scale deployment web --replicas={replicas}"));
        assert_eq!(said, "deployment.apps/web scaled\n");
        session.rolled_out("web");
        wait_until(&format!("{replicas} pods are left"), 60, || {
            session.items("pods -l app=web").len() == replicas
        });
        let addresses = all_of(&session.pods("web"), "/status/podIP");
        wait_until("the endpoints are those of the pods", 20, || {
            let listed = session.field("endpoints web", ".subsets[*].addresses[*].ip");
            listed.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>() == addresses
        });
    }
    let refused = session.refused("scale deployment web --current-replicas=7 --replicas=1");
    assert!(refused.contains("Expected replicas to be 7, was 2"), "{refused}");
}

fn a_new_image_rolls_out_and_undo_brings_the_old_one_back(session: &Session<'_>) {
    session.deploy("web", 2);
    let said = session.kubectl("set image deployment/web web=orrery-test/web:2");
    assert_eq!(said, "deployment.apps/web image updated\n");
    session.rolled_out("web");
    assert_eq!(versions(session), ["2".to_owned()].into());
    session.kubectl("annotate deployment web kubernetes.io/change-cause='version two'");

    let history = session.kubectl("rollout history deployment web");
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(lines[0], "deployment.apps/web ");
    assert_eq!(
        lines[1].split_whitespace().collect::<Vec<_>>(),
        ["REVISION", "CHANGE-CAUSE"]
    );
    assert_eq!(lines[2].split_whitespace().next(), Some("1"));
    assert_eq!(lines[3].split_whitespace().next(), Some("2"));
    let second = session.kubectl("rollout history deployment web --revision=2");
    assert!(second.contains("orrery-test/web:2"), "{second}");

    let said = session.kubectl("rollout undo deployment web");
    assert_eq!(said, "deployment.apps/web rolled back\n");
    session.rolled_out("web");
    assert_eq!(versions(session), ["1".to_owned()].into());
    let history = session.kubectl("rollout history deployment web");
    let revisions: Vec<&str> = history
        .lines()
        .skip(2)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(revisions, ["2", "3"]);
    session.kubectl("rollout undo deployment web --to-revision=2");
    session.rolled_out("web");
    assert_eq!(versions(session), ["2".to_owned()].into());
    assert_eq!(
        session.items("rs -l app=web").len(),
        2,
        "the replica sets are used again"
    );
}

/// What the living pods answer as their image's version.
fn versions(session: &Session<'_>) -> BTreeSet<String> {
    let version = |pod: &Value| {
        let body = session.web(&format!("{}:80", text(pod, "/status/podIP")), "/");
        body.split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    session.pods("web").iter().map(version).collect()
}

fn a_paused_deployment_keeps_its_pods_until_it_is_resumed(session: &Session<'_>) {
    session.deploy("web", 2);
    assert_eq!(
        session.kubectl("rollout pause deployment web"),
        "deployment.apps/web paused\n"
    );
    let before = all_of(&session.pods("web"), "/metadata/uid");
    session.kubectl("set image deployment/web web=orrery-test/web:2");
    let generation = session.field("deployment web", ".metadata.generation");
    wait_until("the controller has seen the change", 20, || {
        session.field("deployment web", ".status.observedGeneration") == generation
    });
    assert_eq!(session.items("rs -l app=web").len(), 1);
    assert_eq!(all_of(&session.pods("web"), "/metadata/uid"), before);
    let refused = session.refused("rollout undo deployment web --to-revision=1");
    assert!(refused.contains("cannot rollback a paused deployment"), "{refused}");

    assert_eq!(
        session.kubectl("rollout resume deployment web"),
        "deployment.apps/web resumed\n"
    );
    session.rolled_out("web");
    assert_eq!(versions(session), ["2".to_owned()].into());
}

fn a_restart_replaces_every_pod(session: &Session<'_>) {
    session.deploy("web", 2);
    let before = all_of(&session.pods("web"), "/metadata/uid");
    assert_eq!(
        session.kubectl("rollout restart deployment web"),
        "deployment.apps/web restarted\n"
    );
    session.rolled_out("web");
    let after = all_of(&session.pods("web"), "/metadata/uid");
    assert_eq!(after.len(), 2);
    assert!(before.is_disjoint(&after));
}

fn a_rollout_to_a_missing_image_keeps_the_old_pods_serving(session: &Session<'_>) {
    session.deploy("web", 2);
    session.kubectl("set image deployment/web web=orrery-test/absent:1");
    wait_until("a new pod says what is wrong with its image", 60, || {
        let reasons = session.field(
            "pods -l app=web",
            ".items[*].status.containerStatuses[*].state.waiting.reason",
        );
        reasons.contains("ErrImagePull") || reasons.contains("ImagePullBackOff")
    });
    let refused = session.refused("rollout status deployment web --timeout=2s");
    assert!(refused.contains("timed out"), "{refused}");
    assert_eq!(session.field("deployment web", ".status.availableReplicas"), "2");
    session.kubectl("rollout undo deployment web");
    session.rolled_out("web");
    assert_eq!(versions(session), ["1".to_owned()].into());
}

fn deleting_a_deployment_takes_its_pods_and_leaves_the_rest(session: &Session<'_>) {
    session.deploy("web", 2);
    session.deploy("other", 1);
    session.kubectl("expose deployment web --port=80");
    session.kubectl("create configmap web --from-literal=a=b");
    let said = session.kubectl("delete deployment web");
    assert!(said.starts_with("deployment.apps \"web\" deleted"), "{said}");
    wait_until("its replica set and pods are gone", 60, || {
        session.items("rs,pods -l app=web").is_empty()
    });
    assert_eq!(session.pods("other").len(), 1);
    assert_eq!(
        session.kubectl("get service,configmap web -o name"),
        "service/web\nconfigmap/web\n"
    );
}

fn deleting_all_by_label_leaves_none(session: &Session<'_>) {
    session.deploy("web", 3);
    session.kubectl("expose deployment web --port=80");
    session.kubectl("delete all -l app=web");
    wait_until("nothing of it is left", 60, || {
        session.items("all -l app=web").is_empty()
    });
}
