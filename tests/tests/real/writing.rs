//! What people change: applied files, patches, labels, edits, deletions.

use orrery_tests::wait::wait_until;
use orrery_tests::{Session, tests};

tests![
    applying_twice_changes_nothing_the_second_time,
    what_a_file_no_longer_says_is_taken_away,
    deleting_a_file_deletes_what_it_names,
    a_dry_run_changes_nothing,
    labels_and_annotations_come_and_go,
    patches_of_every_kind_do_what_they_say,
    a_stale_replace_is_refused_and_a_fresh_one_is_not,
    an_edit_writes_what_the_editor_leaves,
    configmaps_and_secrets_keep_what_they_are_given,
    a_deleted_namespace_takes_everything_in_it,
    namespaces_of_the_system_cannot_be_deleted,
    a_pod_deleted_by_force_is_gone_at_once,
    waiting_for_a_condition_ends_when_it_is_met,
    what_is_there_already_cannot_be_created_again,
];

const APP: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  color: green
  size: small
---
apiVersion: v1
kind: Service
metadata:
  name: app
spec:
  selector: {app: app}
  ports:
  - port: 80
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app
spec:
  replicas: 1
  selector:
    matchLabels: {app: app}
  template:
    metadata:
      labels: {app: app}
    spec:
      containers:
      - name: web
        image: orrery-test/web:1
        env:
        - name: COLOR
          value: green
        - name: SIZE
          value: small
"#;

fn applying_twice_changes_nothing_the_second_time(session: &Session<'_>) {
    let first = session.kubectl_with("apply -f -", APP);
    assert_eq!(
        first,
        "configmap/settings created\nservice/app created\ndeployment.apps/app created\n"
    );
    session.rolled_out("app");
    let before = session.field("deployment app", ".metadata.generation");
    let second = session.kubectl_with("apply -f -", APP);
    assert_eq!(
        second,
        "configmap/settings unchanged\nservice/app unchanged\ndeployment.apps/app unchanged\n"
    );
    assert_eq!(session.field("deployment app", ".metadata.generation"), before);
    let third = session.kubectl_with("apply -f -", &APP.replace("replicas: 1", "replicas: 2"));
    assert_eq!(
        third,
        "configmap/settings unchanged\nservice/app unchanged\ndeployment.apps/app configured\n"
    );
    session.rolled_out("app");
    assert_eq!(session.pods("app").len(), 2);
}

fn what_a_file_no_longer_says_is_taken_away(session: &Session<'_>) {
    session.kubectl_with("apply -f -", APP);
    session.kubectl("label deployment app by=hand");
    let less = APP
        .replace("  size: small\n", "")
        .replace("        - name: SIZE\n          value: small\n", "");
    session.kubectl_with("apply -f -", &less);
    assert_eq!(session.field("configmap settings", ".data"), r#"{"color":"green"}"#);
    let names = session.field("deployment app", ".spec.template.spec.containers[0].env[*].name");
    assert_eq!(names, "COLOR");
    assert_eq!(
        session.field("deployment app", ".metadata.labels.by"),
        "hand",
        "what others set stays"
    );
}

fn deleting_a_file_deletes_what_it_names(session: &Session<'_>) {
    session.kubectl_with("apply -f -", APP);
    session.rolled_out("app");
    let said = session.kubectl_with("delete -f -", APP);
    assert_eq!(said.lines().count(), 3, "{said}");
    wait_until("nothing of it is left", 60, || {
        session.items("all -l app=app").is_empty()
    });
    let again = session.refused_with("delete -f -", APP);
    assert_eq!(again.matches("(NotFound)").count(), 3, "{again}");
    session.kubectl_with("delete --ignore-not-found -f -", APP);
}

fn a_dry_run_changes_nothing(session: &Session<'_>) {
    let said = session.kubectl("create deployment web --image=orrery-test/web:1 --dry-run=server");
    assert_eq!(said, "deployment.apps/web created (server dry run)\n");
    let said = session.kubectl_with("apply --dry-run=server -f -", APP);
    assert!(
        said.lines().all(|line| line.ends_with("created (server dry run)")),
        "{said}"
    );
    assert_eq!(session.kubectl("get deployments,services -o name"), "");
    session.kubectl_with("apply -f -", APP);
    session.kubectl("delete configmap settings --dry-run=server");
    session.kubectl("get configmap settings");
    let changed = session.try_kubectl_with("diff -f -", &APP.replace("color: green", "color: blue"));
    assert_eq!(changed.code, Some(1), "{changed}");
    assert!(
        changed.stdout.contains("-  color: green\n+  color: blue\n"),
        "{changed}"
    );
    assert_eq!(session.try_kubectl_with("diff -f -", APP).code, Some(0));
}

fn labels_and_annotations_come_and_go(session: &Session<'_>) {
    session.kubectl("create configmap one");
    assert_eq!(
        session.kubectl("label configmap one color=green"),
        "configmap/one labeled\n"
    );
    let refused = session.refused("label configmap one color=blue");
    assert!(
        refused.contains("already has a value (green), and --overwrite is false"),
        "{refused}"
    );
    session.kubectl("label configmap one color=blue --overwrite");
    assert_eq!(
        session.kubectl("get configmaps -l color=blue -o name"),
        "configmap/one\n"
    );
    assert_eq!(
        session.kubectl("label configmap one color-"),
        "configmap/one unlabeled\n"
    );
    assert_eq!(session.kubectl("get configmaps -l color -o name"), "");
    session.kubectl("annotate configmap one note='two words'");
    assert_eq!(
        session.field("configmap one", ".metadata.annotations.note"),
        "two words"
    );
    session.kubectl("annotate configmap one note-");
    assert_eq!(session.field("configmap one", ".metadata.annotations.note"), "");
    let refused = session.refused("label configmap one 'color=not a value'");
    assert!(
        refused.contains("a valid label must be an empty string or consist of alphanumeric characters"),
        "{refused}"
    );
}

fn patches_of_every_kind_do_what_they_say(session: &Session<'_>) {
    session.kubectl_with("apply -f -", APP);
    let image = || session.field("deployment app", ".spec.template.spec.containers[*].image");
    // Strategic: the list of containers merges by name.
    let strategic = r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"orrery-test/web:2"}]}}}}"#;
    assert_eq!(
        session.kubectl(&format!("patch deployment app -p '{strategic}'")),
        "deployment.apps/app patched\n"
    );
    assert_eq!(image(), "orrery-test/web:2");
    assert_eq!(
        session.field("deployment app", ".spec.template.spec.containers[0].env[0].name"),
        "COLOR"
    );
    let two = r#"{"spec":{"template":{"spec":{"containers":[{"name":"more","image":"orrery-test/web:1"}]}}}}"#;
    session.kubectl(&format!("patch deployment app -p '{two}'"));
    assert_eq!(image(), "orrery-test/web:1 orrery-test/web:2");
    let less = r#"{"spec":{"template":{"spec":{"containers":[{"name":"more","$patch":"delete"}]}}}}"#;
    session.kubectl(&format!("patch deployment app -p '{less}'"));
    assert_eq!(image(), "orrery-test/web:2");
    // Merge: a list is replaced as a whole.
    session.kubectl(&format!(
        "patch deployment app --type=merge -p '{}'",
        strategic.replace("web:2", "web:1")
    ));
    assert_eq!(image(), "orrery-test/web:1");
    assert_eq!(
        session.field("deployment app", ".spec.template.spec.containers[0].env"),
        ""
    );
    // JSON: one operation after the other, or none at all.
    let json =
        r#"[{"op":"test","path":"/spec/replicas","value":1},{"op":"replace","path":"/spec/replicas","value":3}]"#;
    session.kubectl(&format!("patch deployment app --type=json -p '{json}'"));
    assert_eq!(session.field("deployment app", ".spec.replicas"), "3");
    session.refused(&format!("patch deployment app --type=json -p '{json}'"));
    assert_eq!(session.field("deployment app", ".spec.replicas"), "3");
    // A controller may write its status between what kubectl reads and what it is answered.
    wait_until("a patch that changes nothing says so", 60, || {
        let same = session.kubectl("patch deployment app -p '{\"spec\":{\"replicas\":3}}'");
        same == "deployment.apps/app patched (no change)\n"
    });
    let refused = session.refused("patch deployment app -p '{\"spec\":{\"replicas\":-1}}'");
    assert!(refused.contains("must be greater than or equal to 0"), "{refused}");
    session.kubectl("patch deployment app --subresource=scale --type=merge -p '{\"spec\":{\"replicas\":1}}'");
    assert_eq!(session.field("deployment app", ".spec.replicas"), "1");
}

fn a_stale_replace_is_refused_and_a_fresh_one_is_not(session: &Session<'_>) {
    session.kubectl("create configmap one --from-literal=a=1");
    let first = session.kubectl("get configmap one -o yaml");
    assert_eq!(
        session.kubectl_with("replace -f -", &first.replace("a: \"1\"", "a: \"2\"")),
        "configmap/one replaced\n"
    );
    let refused = session.refused_with("replace -f -", &first.replace("a: \"1\"", "a: \"3\""));
    assert!(
        refused.contains("(Conflict)") && refused.contains("the object has been modified"),
        "{refused}"
    );
    assert_eq!(session.field("configmap one", ".data.a"), "2");
    let uid = session.field("configmap one", ".metadata.uid");
    session.kubectl_with("replace --force -f -", &first);
    assert_ne!(session.field("configmap one", ".metadata.uid"), uid);
}

fn an_edit_writes_what_the_editor_leaves(session: &Session<'_>) {
    session.kubectl("create configmap one --from-literal=a=before");
    let editor = session
        .cluster()
        .home()
        .with_file_name(format!("editor-{}", session.namespace()));
    std::fs::write(&editor, "#!/bin/sh\nexec sed -i s/before/after/ \"$1\"\n").expect("writable");
    let mut permissions = std::fs::metadata(&editor).expect("it is there").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(&editor, permissions).expect("ours");
    let edited = session.try_kubectl_as("edit configmap one", &[("KUBE_EDITOR", &editor.to_string_lossy())]);
    assert_eq!(edited.stdout, "configmap/one edited\n", "{edited}");
    assert_eq!(session.field("configmap one", ".data.a"), "after");
}

fn configmaps_and_secrets_keep_what_they_are_given(session: &Session<'_>) {
    session.kubectl("create configmap one --from-literal=a=b --from-literal=c=d");
    assert_eq!(session.field("configmap one", ".data"), r#"{"a":"b","c":"d"}"#);
    let table = session.kubectl("get configmaps one kube-root-ca.crt");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "DATA", "AGE"]);
    assert_eq!(
        (rows[1][..2].to_vec(), rows[2][..2].to_vec()),
        (vec!["one", "2"], vec!["kube-root-ca.crt", "1"])
    );
    session.kubectl("create secret generic hidden --from-literal=password=hunter2");
    assert_eq!(session.field("secret hidden", ".data.password"), "aHVudGVyMg==");
    let table = session.kubectl("get secrets");
    assert!(table.contains("hidden   Opaque   1"), "{table}");
    let described = session.kubectl("describe secret hidden");
    assert!(
        described.contains("password:  7 bytes") && !described.contains("hunter2"),
        "{described}"
    );
}

fn a_deleted_namespace_takes_everything_in_it(session: &Session<'_>) {
    let other = format!("{}-other", session.namespace());
    session.kubectl(&format!("create namespace {other}"));
    session.kubectl(&format!("create deployment web --image=orrery-test/web:1 -n {other}"));
    session.kubectl(&format!("create configmap one -n {other}"));
    session.kubectl(&format!("rollout status deployment web -n {other} --timeout=60s"));
    session.kubectl(&format!("delete namespace {other} --wait=false"));
    let phase = session.try_kubectl(&format!("get namespace {other} -o 'jsonpath={{.status.phase}}'"));
    assert!(
        phase.stdout == "Terminating" || phase.stderr.contains("NotFound"),
        "{phase}"
    );
    let refused = session.refused(&format!("create configmap two -n {other}"));
    assert!(
        refused.contains("it is being terminated") || refused.contains("not found"),
        "{refused}"
    );
    session.kubectl(&format!("wait namespace {other} --for=delete --timeout=90s"));
    wait_until("nothing of it is left", 10, || {
        session
            .kubectl(&format!("get all,configmaps,serviceaccounts -o name -n {other}"))
            .is_empty()
    });
}

fn namespaces_of_the_system_cannot_be_deleted(session: &Session<'_>) {
    for name in ["default", "kube-system", "kube-public"] {
        let refused = session.refused(&format!("delete namespace {name}"));
        assert!(
            refused.contains("(Forbidden)") && refused.contains("this namespace may not be deleted"),
            "{refused}"
        );
    }
    assert_eq!(session.field("namespace default", ".status.phase"), "Active");
}

fn a_pod_deleted_by_force_is_gone_at_once(session: &Session<'_>) {
    session.kubectl("run one --image=orrery-test/web:1");
    session.kubectl("wait pod one --for=condition=Ready --timeout=60s");
    let uid = session.field("pod one", ".metadata.uid");
    let deleted = session.try_kubectl("delete pod one --grace-period=0 --force");
    assert!(deleted.is_success(), "{deleted}");
    assert!(
        deleted
            .stderr
            .contains("Immediate deletion does not wait for confirmation"),
        "{deleted}"
    );
    assert!(deleted.stdout.contains("pod \"one\" force deleted"), "{deleted}");
    session.refused("get pod one");
    wait_until("its containers are gone", 60, || {
        let filter = format!("label=io.orrery.pod.uid={uid}");
        orrery_tests::machine::docker_lines(&["ps", "--all", "--quiet", "--filter", &filter]).is_empty()
    });
}

fn waiting_for_a_condition_ends_when_it_is_met(session: &Session<'_>) {
    session.kubectl("create deployment web --image=orrery-test/web:1");
    let said = session.kubectl("wait deployment web --for=condition=Available --timeout=60s");
    assert_eq!(said, "deployment.apps/web condition met\n");
    session.kubectl("wait pods -l app=web --for=condition=Ready --timeout=60s");
    session.kubectl("wait deployment web --for=jsonpath='{.status.readyReplicas}'=1 --timeout=60s");
    let refused = session.refused("wait deployment web --for=condition=Nonsense --timeout=1s");
    assert!(refused.contains("timed out waiting for the condition"), "{refused}");
    session.kubectl("delete deployment web --wait=false");
    session.kubectl("wait deployment web --for=delete --timeout=60s");
}

fn what_is_there_already_cannot_be_created_again(session: &Session<'_>) {
    session.kubectl("create configmap one");
    let refused = session.refused("create configmap one");
    assert!(refused.contains("configmaps \"one\" already exists"), "{refused}");
    let refused = session.refused("get configmap two");
    assert!(
        refused.contains("Error from server (NotFound): configmaps \"two\" not found"),
        "{refused}"
    );
    let refused = session.refused("create configmap Not_A_Name");
    assert!(
        refused.contains("a lowercase RFC 1123 subdomain must consist of"),
        "{refused}"
    );
    let refused = session.refused("create configmap one -n nowhere");
    assert!(refused.contains("namespaces \"nowhere\" not found"), "{refused}");
    let refused = session.refused("get nonsense");
    assert!(
        refused.contains("the server doesn't have a resource type \"nonsense\""),
        "{refused}"
    );
}
