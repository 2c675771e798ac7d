//! What the kubelet does for a pod: probes, restarts, init containers, volumes, environment, an orderly end.

use orrery_tests::wait::wait_until;
use orrery_tests::{Session, machine, tests};

tests![
    a_pod_is_ready_when_its_probe_succeeds,
    a_container_that_fails_its_liveness_probe_is_restarted,
    a_container_that_keeps_failing_is_restarted_more_and_more_slowly,
    a_killed_container_comes_back_in_the_same_pod,
    init_containers_run_first_and_in_order,
    a_pod_that_ends_well_is_completed,
    a_pod_that_fails_and_is_not_restarted_has_failed,
    environment_and_volumes_come_from_configmaps_and_secrets,
    a_changed_configmap_reaches_its_volume,
    containers_of_a_pod_share_their_network,
    a_missing_configmap_is_waited_for,
    who_must_not_be_root_is_not_run_as_root,
    changed_labels_reach_their_volume,
    a_pod_ends_in_order_and_within_its_grace,
];

fn make(session: &Session<'_>, name: &str, spec: &str) {
    let manifest =
        format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  labels: {{app: {name}}}\nspec:\n{spec}");
    assert_eq!(
        session.kubectl_with("create -f -", &manifest),
        format!("pod/{name} created\n")
    );
}

fn ready(session: &Session<'_>, name: &str) -> String {
    session.kubectl(&format!("wait pod {name} --for=condition=Ready --timeout=60s"));
    format!("{}:80", session.field(&format!("pod {name}"), ".status.podIP"))
}

fn status(session: &Session<'_>, name: &str, field: &str) -> String {
    session.field(&format!("pod {name}"), &format!(".status.{field}"))
}

fn a_pod_is_ready_when_its_probe_succeeds(session: &Session<'_>) {
    make(
        session,
        "slow",
        "  containers:
  - name: web
    image: orrery-test/web:1
    env: [{name: READY_AFTER, value: '4'}]
    readinessProbe:
      httpGet: {path: /healthz, port: 80}
      periodSeconds: 1
",
    );
    session.kubectl("expose pod slow --port=80");
    wait_until("the container runs", 30, || {
        !status(session, "slow", "containerStatuses[0].state.running").is_empty()
    });
    assert_eq!(status(session, "slow", "containerStatuses[0].ready"), "false");
    wait_until("its address is listed, but not as ready", 20, || {
        !session
            .field("endpoints slow", ".subsets[*].notReadyAddresses[*].ip")
            .is_empty()
    });
    assert_eq!(session.field("endpoints slow", ".subsets[*].addresses[*].ip"), "");
    let address = ready(session, "slow");
    wait_until("its address is listed as ready", 20, || {
        !session
            .field("endpoints slow", ".subsets[*].addresses[*].ip")
            .is_empty()
    });
    session.web(&address, "/fail");
    wait_until("it is not ready any more", 30, || {
        status(session, "slow", "containerStatuses[0].ready") == "false"
    });
    assert_eq!(
        status(session, "slow", "containerStatuses[0].restartCount"),
        "0",
        "a readiness probe restarts nothing"
    );
    wait_until("the event says why", 20, || {
        session
            .kubectl("get events --field-selector involvedObject.name=slow")
            .contains("Readiness probe failed")
    });
}

fn a_container_that_fails_its_liveness_probe_is_restarted(session: &Session<'_>) {
    make(
        session,
        "live",
        "  containers:
  - name: web
    image: orrery-test/web:1
    livenessProbe:
      httpGet: {path: /healthz, port: 80}
      periodSeconds: 1
      failureThreshold: 2
",
    );
    let address = ready(session, "live");
    let uid = session.field("pod live", ".metadata.uid");
    session.web(&address, "/fail");
    wait_until("the container is restarted", 60, || {
        status(session, "live", "containerStatuses[0].restartCount") == "1"
    });
    assert_eq!(session.web(&ready(session, "live"), "/healthz"), "ok\n");
    assert_eq!(session.field("pod live", ".metadata.uid"), uid);
    let events = session.kubectl("get events --field-selector involvedObject.name=live");
    assert!(
        events.contains("Liveness probe failed") && events.contains("Killing"),
        "{events}"
    );
    let row = session.kubectl("get pod live --no-headers");
    assert!(row.contains("1 (") && row.contains("ago)"), "{row}");
}

fn a_container_that_keeps_failing_is_restarted_more_and_more_slowly(session: &Session<'_>) {
    session.kubectl("run bad --image=orrery-test/web:1 --command -- /web exit 7");
    wait_until("it is held back", 90, || {
        status(session, "bad", "containerStatuses[0].state.waiting.reason") == "CrashLoopBackOff"
    });
    assert_eq!(
        status(session, "bad", "containerStatuses[0].lastState.terminated.exitCode"),
        "7"
    );
    assert!(session.kubectl("get pod bad").contains("CrashLoopBackOff"));
    wait_until("it is tried again", 90, || {
        status(session, "bad", "containerStatuses[0].restartCount")
            .parse()
            .unwrap_or(0)
            >= 2
    });
    assert_eq!(status(session, "bad", "phase"), "Running");
    wait_until("the event says so", 30, || {
        session
            .kubectl("get events")
            .contains("Back-off restarting failed container")
    });
    let previous = session.try_kubectl("logs bad --previous");
    assert!(previous.is_success(), "{previous}");
}

fn a_killed_container_comes_back_in_the_same_pod(session: &Session<'_>) {
    session.kubectl("run one --image=orrery-test/web:1");
    ready(session, "one");
    let before = (
        session.field("pod one", ".metadata.uid"),
        status(session, "one", "podIP"),
    );
    let id = status(session, "one", "containerStatuses[0].containerID");
    let id = id
        .strip_prefix("docker://")
        .unwrap_or_else(|| panic!("{id} is no container of Docker"));
    machine::docker_lines(&["kill", id]);
    wait_until("it is restarted", 60, || {
        status(session, "one", "containerStatuses[0].restartCount") == "1"
            && status(session, "one", "containerStatuses[0].ready") == "true"
    });
    assert_eq!(
        before,
        (
            session.field("pod one", ".metadata.uid"),
            status(session, "one", "podIP")
        )
    );
    assert_eq!(
        status(session, "one", "containerStatuses[0].lastState.terminated.exitCode"),
        "137"
    );
}

fn init_containers_run_first_and_in_order(session: &Session<'_>) {
    make(
        session,
        "prepared",
        "  volumes: [{name: shared, emptyDir: {}}]
  initContainers:
  - name: first
    image: orrery-test/web:1
    command: [/web, write, /shared/text, first]
    volumeMounts: [{name: shared, mountPath: /shared}]
  - name: second
    image: orrery-test/web:1
    command: [/web, write, /shared/text, second]
    volumeMounts: [{name: shared, mountPath: /shared}]
  containers:
  - name: web
    image: orrery-test/web:1
    volumeMounts: [{name: shared, mountPath: /shared, readOnly: true}]
",
    );
    let address = ready(session, "prepared");
    assert_eq!(session.web(&address, "/file/shared/text"), "second");
    let reasons = status(session, "prepared", "initContainerStatuses[*].state.terminated.reason");
    assert_eq!(reasons, "Completed Completed");
    session.kubectl("logs prepared -c first");

    make(
        session,
        "unprepared",
        "  restartPolicy: Never
  initContainers:
  - {name: first, image: 'orrery-test/web:1', command: [/web, exit, '3']}
  containers:
  - {name: web, image: 'orrery-test/web:1'}
",
    );
    wait_until("the pod has failed", 60, || {
        status(session, "unprepared", "phase") == "Failed"
    });
    assert!(session.kubectl("get pod unprepared").contains("Init:Error"));
}

fn a_pod_that_ends_well_is_completed(session: &Session<'_>) {
    session.kubectl("run done --image=orrery-test/web:1 --restart=OnFailure --command -- /web exit 0");
    wait_until("it has succeeded", 60, || {
        status(session, "done", "phase") == "Succeeded"
    });
    assert!(session.kubectl("get pod done").contains("0/1     Completed   0"));
    assert_eq!(
        status(session, "done", "containerStatuses[0].state.terminated.reason"),
        "Completed"
    );
}

fn a_pod_that_fails_and_is_not_restarted_has_failed(session: &Session<'_>) {
    session.kubectl("run lost --image=orrery-test/web:1 --restart=Never --command -- /web exit 4");
    wait_until("it has failed", 60, || status(session, "lost", "phase") == "Failed");
    let row = session.kubectl("get pod lost");
    assert!(row.contains("Error") && row.contains("0/1"), "{row}");
    assert_eq!(
        status(session, "lost", "containerStatuses[0].state.terminated.exitCode"),
        "4"
    );
}

fn environment_and_volumes_come_from_configmaps_and_secrets(session: &Session<'_>) {
    session.kubectl("create configmap settings --from-literal=color=green --from-literal=size=small");
    session.kubectl("create secret generic hidden --from-literal=password=hunter2");
    make(
        session,
        "reader",
        "  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: hidden, secret: {secretName: hidden}}
  - name: about
    downwardAPI:
      items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]
  containers:
  - name: web
    image: orrery-test/web:1
    envFrom: [{configMapRef: {name: settings}, prefix: FROM_}]
    env:
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: hidden, key: password}}}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: BOTH, value: $(POD)-$(PASSWORD)}
    volumeMounts:
    - {name: settings, mountPath: /etc/settings}
    - {name: hidden, mountPath: /etc/hidden}
    - {name: about, mountPath: /etc/about}
",
    );
    let address = ready(session, "reader");
    for (path, wanted) in [
        ("/env/FROM_color", "green"),
        ("/env/PASSWORD", "hunter2"),
        ("/env/BOTH", "reader-hunter2"),
        ("/env/KUBERNETES_SERVICE_HOST", "10.96.0.1"),
        ("/file/etc/settings/size", "small"),
        ("/file/etc/hidden/password", "hunter2"),
        ("/file/etc/about/labels", "app=\"reader\""),
    ] {
        assert_eq!(session.web(&address, path).trim(), wanted, "{path}");
    }
}

fn a_changed_configmap_reaches_its_volume(session: &Session<'_>) {
    session.kubectl("create configmap settings --from-literal=color=green");
    make(
        session,
        "reader",
        "  volumes: [{name: settings, configMap: {name: settings}}]
  containers:
  - name: web
    image: orrery-test/web:1
    volumeMounts: [{name: settings, mountPath: /etc/settings}]
",
    );
    let address = ready(session, "reader");
    assert_eq!(session.web(&address, "/file/etc/settings/color"), "green");
    session.kubectl("patch configmap settings -p '{\"data\":{\"color\":\"blue\"}}'");
    wait_until("the volume has the new text", 100, || {
        session.web(&address, "/file/etc/settings/color") == "blue"
    });
    assert_eq!(status(session, "reader", "containerStatuses[0].restartCount"), "0");
}

fn containers_of_a_pod_share_their_network(session: &Session<'_>) {
    make(
        session,
        "pair",
        "  containers:
  - {name: one, image: 'orrery-test/web:1'}
  - {name: two, image: 'orrery-test/web:2', env: [{name: PORT, value: '81'}]}
",
    );
    let address = ready(session, "pair");
    assert_eq!(session.web(&address, "/fetch/127.0.0.1:81"), "pair 2\n");
    assert!(session.kubectl("get pod pair").contains("2/2"));
    assert!(
        session
            .kubectl("logs pair -c two")
            .contains("serving version 2 on port 81")
    );
    let all = session.kubectl("logs pair --all-containers --prefix");
    assert!(
        all.contains("[pod/pair/one]") && all.contains("[pod/pair/two]"),
        "{all}"
    );
}

fn a_missing_configmap_is_waited_for(session: &Session<'_>) {
    make(
        session,
        "early",
        "  containers:
  - name: web
    image: orrery-test/web:1
    envFrom: [{configMapRef: {name: late}}]
",
    );
    wait_until("it says what is missing", 60, || {
        status(session, "early", "containerStatuses[0].state.waiting.reason") == "CreateContainerConfigError"
    });
    session.kubectl("create configmap late --from-literal=color=green");
    let address = ready(session, "early");
    assert_eq!(session.web(&address, "/env/color"), "green");
}

fn who_must_not_be_root_is_not_run_as_root(session: &Session<'_>) {
    make(
        session,
        "root",
        "  securityContext: {runAsNonRoot: true}
  containers:
  - {name: web, image: 'orrery-test/web:1'}
",
    );
    wait_until("it says why it does not start", 60, || {
        status(session, "root", "containerStatuses[0].state.waiting.reason") == "CreateContainerConfigError"
    });
    let why = status(session, "root", "containerStatuses[0].state.waiting.message");
    assert!(why.contains("image will run as root"), "{why}");
    make(
        session,
        "user",
        "  securityContext: {runAsNonRoot: true, runAsUser: 1000, runAsGroup: 2000}
  containers:
  - {name: web, image: 'orrery-test/web:1', env: [{name: PORT, value: '8080'}]}
",
    );
    ready(session, "user");
    let address = format!("{}:8080", status(session, "user", "podIP"));
    let process = session.web(&address, "/file/proc/self/status");
    assert!(
        process.contains("Uid:\t1000") && process.contains("Gid:\t2000"),
        "{process}"
    );
}

fn changed_labels_reach_their_volume(session: &Session<'_>) {
    make(
        session,
        "labelled",
        "  volumes: [{name: own, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}]
  containers:
  - name: web
    image: orrery-test/web:1
    volumeMounts: [{name: own, mountPath: /etc/own}]
",
    );
    let address = ready(session, "labelled");
    assert!(!session.web(&address, "/file/etc/own/labels").contains("color"));
    session.kubectl("label pod labelled color=blue");
    wait_until("the file has the new label", 100, || {
        session.web(&address, "/file/etc/own/labels").contains("color=\"blue\"")
    });
}

fn a_pod_ends_in_order_and_within_its_grace(session: &Session<'_>) {
    session.kubectl("run polite --image=orrery-test/web:1");
    make(
        session,
        "stubborn",
        "  terminationGracePeriodSeconds: 3
  containers:
  - name: web
    image: orrery-test/web:1
    lifecycle: {preStop: {sleep: {seconds: 2}}}
",
    );
    ready(session, "polite");
    ready(session, "stubborn");
    let polite = session.try_kubectl("delete pod polite");
    assert!(
        polite.took.as_secs() < 15,
        "what ends on SIGTERM is not waited for: {polite}"
    );
    session.kubectl("delete pod stubborn --wait=false");
    let row = session.try_kubectl("get pod stubborn");
    assert!(row.stdout.contains("Terminating"), "{row}");
    session.kubectl("wait pod stubborn --for=delete --timeout=30s");
    wait_until("no container is left", 30, || {
        let filter = format!("label=io.orrery.pod.namespace={}", session.namespace());
        machine::docker_lines(&["ps", "--all", "--quiet", "--filter", &filter]).is_empty()
    });
}
