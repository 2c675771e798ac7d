//! What people look at: tables, events, descriptions, logs, watches.

use orrery_tests::wait::wait_until;
use orrery_tests::{Session, tests};

tests![
    get_all_shows_every_kind_with_its_columns,
    wide_tables_show_more,
    events_tell_a_story_in_the_order_it_happened,
    describing_a_pod_ends_with_its_events,
    logs_are_what_the_container_wrote,
    a_watch_shows_every_change,
    lists_come_in_pages_when_asked_for,
    fields_and_labels_select,
    the_node_is_ready_and_says_what_it_is,
    whole_objects_come_as_yaml,
];

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn get_all_shows_every_kind_with_its_columns(session: &Session<'_>) {
    let nothing = session.try_kubectl("get all");
    assert!(nothing.stderr.contains("No resources found in"), "{nothing}");
    session.deploy("web", 2);
    session.kubectl("expose deployment web --type=NodePort --port=80");
    let table = session.kubectl("get all");
    for header in [
        "NAME READY STATUS RESTARTS AGE",
        "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE",
        "NAME READY UP-TO-DATE AVAILABLE AGE",
        "NAME DESIRED CURRENT READY AGE",
    ] {
        assert!(
            table.lines().any(|line| words(line) == words(header)),
            "no {header:?} in\n{table}"
        );
    }
    for (prefix, count) in [
        ("pod/web-", 2),
        ("service/web", 1),
        ("deployment.apps/web", 1),
        ("replicaset.apps/web-", 1),
    ] {
        assert_eq!(
            table.lines().filter(|line| line.starts_with(prefix)).count(),
            count,
            "{prefix} in\n{table}"
        );
    }
    let pods = table.lines().filter(|line| line.starts_with("pod/"));
    pods.for_each(|line| assert_eq!(words(line)[1..4], ["1/1", "Running", "0"], "{line}"));
    let service = table
        .lines()
        .find(|line| line.starts_with("service/web"))
        .unwrap_or_default();
    assert_eq!(words(service)[1], "NodePort");
    assert_eq!(words(service)[3], "<none>");
    assert!(
        words(service)[4].starts_with("80:3") && words(service)[4].ends_with("/TCP"),
        "{service}"
    );
    assert_eq!(
        session.kubectl("get service kubernetes -n default -o name"),
        "service/kubernetes\n"
    );
}

fn wide_tables_show_more(session: &Session<'_>) {
    session.deploy("web", 1);
    session.kubectl("expose deployment web --port=80");
    let pods = session.kubectl("get pods -o wide");
    let header = "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES";
    assert_eq!(words(pods.lines().next().unwrap_or_default()), words(header));
    assert!(pods.contains("10.244.0."), "{pods}");
    let deployments = session.kubectl("get deployments -o wide");
    assert!(deployments.contains("CONTAINERS"), "{deployments}");
    assert!(
        deployments.contains("orrery-test/web:1") && deployments.contains("app=web"),
        "{deployments}"
    );
    let services = session.kubectl("get services -o wide");
    assert!(
        services.contains("SELECTOR") && services.contains("app=web"),
        "{services}"
    );
    let nodes = session.kubectl("get nodes -o wide");
    for part in [
        "INTERNAL-IP",
        "10.244.0.1",
        "CONTAINER-RUNTIME",
        "docker://",
        "KERNEL-VERSION",
    ] {
        assert!(nodes.contains(part), "no {part} in {nodes}");
    }
    let labels = session.kubectl("get pods --show-labels");
    assert!(labels.contains("app=web,pod-template-hash="), "{labels}");
    let custom = session.kubectl("get pods -o custom-columns=N:.metadata.labels.app,P:.status.phase");
    assert_eq!(
        custom.lines().map(words).collect::<Vec<_>>(),
        [["N", "P"], ["web", "Running"]]
    );
}

fn events_tell_a_story_in_the_order_it_happened(session: &Session<'_>) {
    session.deploy("web", 1);
    let reasons = [
        "ScalingReplicaSet",
        "SuccessfulCreate",
        "Scheduled",
        "Pulled",
        "Created",
        "Started",
    ];
    wait_until("every event is there", 20, || {
        let table = session.kubectl("get events");
        reasons.iter().all(|reason| table.contains(reason))
    });
    let table = session.kubectl("get events --sort-by=.lastTimestamp");
    assert_eq!(
        words(table.lines().next().unwrap_or_default()),
        ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    );
    assert!(reasons.iter().all(|reason| table.contains(reason)), "{table}");
    let of_deployment = session.kubectl("get events --field-selector involvedObject.name=web -o name");
    let all = session.kubectl("get events -o name");
    assert!(
        !of_deployment.is_empty() && of_deployment.lines().count() < all.lines().count(),
        "{of_deployment}"
    );
    let told = session.kubectl("events --for=deployment/web");
    assert!(told.contains("ScalingReplicaSet"), "{told}");
}

fn describing_a_pod_ends_with_its_events(session: &Session<'_>) {
    session.deploy("web", 1);
    session.kubectl("expose deployment web --port=80");
    let name = session.field("pods -l app=web", ".items[0].metadata.name");
    wait_until("its events end with its start", 20, || {
        let said = session.kubectl(&format!("describe pod {name}"));
        let events = said
            .split_once("\nEvents:")
            .map(|(_, events)| events.to_owned())
            .unwrap_or_default();
        said.contains("Status:           Running")
            && ["Scheduled", "Pulled", "Created", "Started"]
                .iter()
                .all(|reason| events.contains(reason))
            && events.lines().all(|line| line.is_empty() || line.starts_with(' '))
    });
    let service = session.kubectl("describe service web");
    assert!(
        service.contains("Endpoints:") && service.contains("10.244.0."),
        "{service}"
    );
    let deployment = session.kubectl("describe deployment web");
    assert!(
        deployment.contains("1 desired | 1 updated | 1 total | 1 available | 0 unavailable"),
        "{deployment}"
    );
    assert!(deployment.contains("ScalingReplicaSet"), "{deployment}");
    let set = session.kubectl("describe rs -l app=web");
    assert!(set.contains("1 Running / 0 Waiting / 0 Succeeded / 0 Failed"), "{set}");
    let node = session.kubectl("describe node orrery");
    assert!(
        node.contains("Allocated resources:") && node.contains("KubeletReady"),
        "{node}"
    );
    let endpoints = session.kubectl("describe endpoints web");
    assert!(endpoints.contains("Addresses:"), "{endpoints}");
}

fn logs_are_what_the_container_wrote(session: &Session<'_>) {
    session.kubectl("run counter --image=orrery-test/web:1 --restart=Never --command -- /web log 100");
    session.kubectl("wait pod counter --for=jsonpath='{.status.phase}'=Succeeded --timeout=60s");
    let all = session.kubectl("logs counter");
    assert_eq!(all, (1..=100).map(|line| format!("line {line}\n")).collect::<String>());
    assert_eq!(session.kubectl("logs counter --tail=2"), "line 99\nline 100\n");
    let stamped = session.kubectl("logs counter --tail=1 --timestamps");
    assert!(stamped.starts_with("20") && stamped.contains("Z line 100"), "{stamped}");
    assert_eq!(
        session.kubectl("logs counter -f --tail=1"),
        "line 100\n",
        "following ends with the container"
    );
    assert_eq!(session.kubectl("logs counter --limit-bytes=6"), "line 1");

    session.deploy("web", 1);
    let said = session.kubectl("logs deployment/web");
    assert!(said.starts_with("serving version 1 on port 80\n"), "{said}");
    let following = session.follow("logs deployment/web -f");
    let address = session.field("pods -l app=web", ".items[0].status.podIP");
    session.web(&format!("{address}:80"), "/healthz");
    following.read_until("the request is logged", 20, |line| line == "GET /healthz");
}

fn a_watch_shows_every_change(session: &Session<'_>) {
    session.kubectl("create configmap seen --from-literal=a=1");
    let watch = session.follow("get configmaps -w -o custom-columns=N:.metadata.name,A:.data.a --no-headers");
    watch.read_until("what is there is listed", 20, |line| words(line) == ["seen", "1"]);
    session.kubectl("patch configmap seen -p '{\"data\":{\"a\":\"2\"}}'");
    watch.read_until("the change is shown", 20, |line| words(line) == ["seen", "2"]);
    session.kubectl("create configmap late --from-literal=a=3");
    watch.read_until("the new one is shown", 20, |line| words(line) == ["late", "3"]);
    drop(watch);

    let table = session.follow("get pods -w");
    session.kubectl("run one --image=orrery-test/web:1");
    table.read_until("the pod runs", 60, |line| {
        words(line).get(..3) == Some(&["one", "1/1", "Running"])
    });
    session.kubectl("delete pod one");
    table.read_until("the pod goes", 60, |line| {
        line.contains("Terminating") || line.contains("Completed")
    });
}

fn lists_come_in_pages_when_asked_for(session: &Session<'_>) {
    for name in ["a", "b", "c", "d"] {
        session.kubectl(&format!("create configmap {name} --from-literal=k={name}"));
    }
    let said = session.try_kubectl("get configmaps --chunk-size=1 -o name -v=6");
    let names: Vec<&str> = said.stdout.lines().collect();
    assert!(
        ["a", "b", "c", "d"]
            .iter()
            .all(|name| names.contains(&format!("configmap/{name}").as_str())),
        "{said}"
    );
    assert!(said.stderr.matches("continue=").count() >= 3, "{said}");
    let refused = session.refused(&format!(
        "get --raw /api/v1/namespaces/{}/configmaps?continue=nonsense",
        session.namespace()
    ));
    assert!(refused.contains("continue"), "{refused}");
}

fn fields_and_labels_select(session: &Session<'_>) {
    session.kubectl("run one --image=orrery-test/web:1 --labels=tier=front,run=one");
    session.kubectl("run two --image=orrery-test/web:1 --labels=tier=back,run=two");
    session.kubectl("wait pod one two --for=condition=Ready --timeout=60s");
    for (selection, names) in [
        ("--field-selector metadata.name=one", "pod/one\n"),
        ("--field-selector metadata.name!=one", "pod/two\n"),
        (
            "--field-selector status.phase=Running,spec.nodeName=orrery",
            "pod/one\npod/two\n",
        ),
        ("--field-selector status.phase=Pending", ""),
        ("-l tier=front", "pod/one\n"),
        ("-l 'tier in (front,back),run!=one'", "pod/two\n"),
        ("-l tier", "pod/one\npod/two\n"),
        ("-l '!tier'", ""),
    ] {
        assert_eq!(
            session.kubectl(&format!("get pods -o name {selection}")),
            names,
            "{selection}"
        );
    }
    let refused = session.refused("get pods --field-selector spec.nonsense=1");
    assert!(
        refused.contains("field label not supported: spec.nonsense"),
        "{refused}"
    );
    let refused = session.refused("get pods -l 'a b'");
    assert!(refused.contains("unable to parse requirement"), "{refused}");
}

fn the_node_is_ready_and_says_what_it_is(session: &Session<'_>) {
    let table = session.kubectl("get nodes");
    let lines: Vec<Vec<&str>> = table.lines().map(words).collect();
    assert_eq!(lines[0], ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]);
    assert_eq!(lines[1][..3], ["orrery", "Ready", "control-plane"]);
    assert!(lines[1][4].starts_with("v1."), "{table}");
    session.kubectl("wait node orrery --for=condition=Ready --timeout=10s");
    let lease = session.kubectl("get lease orrery -n kube-node-lease -o 'jsonpath={.spec.holderIdentity}'");
    assert_eq!(lease, "orrery");
}

fn whole_objects_come_as_yaml(session: &Session<'_>) {
    session.deploy("web", 1);
    let yaml = session.kubectl("get pods -l app=web -o yaml");
    for part in [
        "kind: List",
        "kind: Pod",
        "podIP: 10.244.0.",
        "restartPolicy: Always",
        "qosClass: BestEffort",
    ] {
        assert!(yaml.contains(part), "no {part:?} in\n{yaml}");
    }
    assert!(!yaml.contains("managedFields"), "{yaml}");
    let deployment = session.kubectl("get deployment web -o yaml");
    for part in [
        "apiVersion: apps/v1",
        "kind: Deployment",
        "progressDeadlineSeconds: 600",
        "type: RollingUpdate",
    ] {
        assert!(deployment.contains(part), "no {part:?} in\n{deployment}");
    }
}
