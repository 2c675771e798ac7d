//! `orrery scenario run`: a scenario of the simulator on a real cluster.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use orrery_tests::harness::Test;
use orrery_tests::session::Session;
use orrery_tests::{machine, tests};

tests![
    a_scenario_is_played_on_a_cluster_of_its_own_of_which_nothing_is_left,
    a_scenario_that_does_not_converge_says_what_is_missing,
    an_interrupted_scenario_leaves_nothing,
    a_kept_cluster_is_there_until_it_is_deleted,
    a_wrong_scenario_is_refused_with_its_place,
];

/// In a running cluster.
pub const BESIDE: &[Test] = &[(
    "a_scenario_is_refused_while_a_cluster_runs",
    a_scenario_is_refused_while_a_cluster_runs,
)];

/// A file of these tests' own.
fn file(session: &Session<'_>, name: &str) -> PathBuf {
    let home = session.cluster().home();
    home.parent().expect("a folder").join(name)
}

fn write(session: &Session<'_>, name: &str, text: &str) -> String {
    let path = file(session, name);
    fs::write(&path, text).expect("a file");
    path.display().to_string()
}

const PLAYED: &str = "\
name: short
topology: { nodes: 1 }
images:
  orrery-stand-in/web:1: { ready: 100ms..200ms, listen: [8080] }
workload:
  - at: 0s
    apply:
      - { apiVersion: apps/v1, kind: Deployment, metadata: { name: web }, spec: { replicas: 2, selector: { matchLabels: { app: web } },
          template: { metadata: { labels: { app: web } }, spec: { containers: [{ name: web, image: \"orrery-stand-in/web:1\",
            readinessProbe: { httpGet: { path: /, port: 8080 }, periodSeconds: 1 } }] } } } }
      - { apiVersion: v1, kind: Service, metadata: { name: web }, spec: { selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] } }
  - at: 4s
    scale: { deployment: web, replicas: 1 }
faults:
  - at: 3s
    crash: { component: kubelet, for: 2s }
  - at: 7s
    containers: { node: any, trouble: crash }
  - at: 8s
    partition: { node: any, for: 1s }
expect:
  converge: 1m
  state:
    - deployment/web: { status.availableReplicas: 1 }
duration: 10s
";

fn a_scenario_is_played_on_a_cluster_of_its_own_of_which_nothing_is_left(session: &Session<'_>) {
    let before = machine::traces();
    let (scenario, end) = (write(session, "short.yaml", PLAYED), file(session, "end.json"));
    let outcome = session
        .cluster()
        .orrery(&format!("scenario run {scenario} --end-state {}", end.display()));
    assert!(outcome.is_success(), "{outcome}");
    for line in [
        "left out: partition",
        "stand-ins are made for images that Docker does not have: orrery-stand-in/web:1",
        "user: apply Deployment/web, Service/web",
        "fault: the cluster's process is killed, for 2",
        "fault: container web",
        "held: converged",
    ] {
        assert!(outcome.stdout.contains(line), "{line:?} is missing: {outcome}");
    }
    assert!(!outcome.stdout.contains("never struck"), "{outcome}");
    let end = fs::read_to_string(end).expect("what the cluster held");
    assert!(end.contains("deployments.apps/default/web"), "{end}");
    assert_eq!(left(&before, &outcome.text()), Vec::<String>::new());
}

fn a_scenario_that_does_not_converge_says_what_is_missing(session: &Session<'_>) {
    let wrong = PLAYED
        .replace("availableReplicas: 1", "availableReplicas: 2")
        .replace("converge: 1m", "converge: 3s");
    let scenario = write(session, "wrong-end.yaml", &wrong);
    let outcome = session.cluster().orrery(&format!("scenario run {scenario}"));
    assert_eq!(outcome.code, Some(11), "{outcome}");
    assert!(
        outcome
            .stdout
            .contains("status.availableReplicas of deployment/web is 1, not 2"),
        "{outcome}"
    );
}

/// What is there that was not there before; but for the network, where `said` tells that Docker keeps it: it may count
/// users that are gone (moby issue 42119), and then lets nobody remove it.
fn left(before: &BTreeSet<String>, said: &str) -> Vec<String> {
    let is_stuck = said.contains("Docker keeps the network orrery");
    let is_kept = |trace: &String| is_stuck && (trace.contains("orrery0") || trace == "network orrery");
    let now = machine::traces();
    now.difference(before)
        .filter(|trace| !is_kept(trace))
        .cloned()
        .collect()
}

/// The images that stand in for others.
fn stand_ins() -> Vec<String> {
    machine::docker_lines(&[
        "images",
        "--filter",
        "label=io.orrery.stand-in",
        "--format",
        "{{.Repository}}",
    ])
}

fn an_interrupted_scenario_leaves_nothing(session: &Session<'_>) {
    let before = machine::traces();
    let long = PLAYED.replace("duration: 10s", "duration: 10m");
    let scenario = write(session, "long.yaml", &long);
    let mut child = session.cluster().orrery_command(&format!("scenario run {scenario}"));
    child.stdout(Stdio::piped());
    let mut child = child.spawn().expect("orrery can be run");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    // In the middle of a fault: the process is gone, and nobody but this command could start it again.
    let mut lines = lines.map(|line| line.expect("text"));
    assert!(lines.any(|line| line.contains("fault: the cluster's process is killed")));
    assert!(!stand_ins().is_empty());
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.expect("kill can be run").success());
    let said: Vec<String> = lines.collect();
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{said:?}");
    assert!(said.iter().any(|line| line == "interrupted"), "{said:?}");
    assert_eq!((left(&before, &said.join("\n")), stand_ins()), (Vec::new(), Vec::new()));
}

/// Expects what will never be.
const KEPT: &str = "\
name: kept
topology: { nodes: 1 }
expect:
  converge: 1s
  state:
    - configmap/kube-root-ca.crt: { data.nothing: there }
duration: 1s
";

fn a_kept_cluster_is_there_until_it_is_deleted(session: &Session<'_>) {
    let before = machine::traces();
    let scenario = write(session, "kept.yaml", KEPT);
    let outcome = session.cluster().orrery(&format!("scenario run {scenario} --keep"));
    assert_eq!(outcome.code, Some(11), "{outcome}");
    let home = outcome
        .stdout
        .split("ORRERY_HOME=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let home = home.unwrap_or_else(|| panic!("where it is: {outcome}")).to_owned();
    let kubeconfig = format!("{home}/admin.conf");
    let place = [("ORRERY_HOME", home.as_str()), ("KUBECONFIG", kubeconfig.as_str())];
    let status = session.cluster().orrery_with("status", &place);
    let deleted = session.cluster().orrery_with("delete", &place);
    assert!(status.is_success(), "{status}");
    let is_stuck = deleted.stderr.contains("Docker keeps the network orrery");
    assert!(deleted.is_success() || is_stuck, "{deleted}");
    assert_eq!((left(&before, &deleted.text()), stand_ins()), (Vec::new(), Vec::new()));
    assert!(!Path::new(&home).exists());
}

fn a_wrong_scenario_is_refused_with_its_place(session: &Session<'_>) {
    let scenario = write(session, "wrong.yaml", "name: a\nduratoin: 1m\n");
    let outcome = session.cluster().orrery(&format!("scenario run {scenario}"));
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(
        outcome
            .stderr
            .contains("wrong.yaml:2:1: unknown key \"duratoin\"; did you mean \"duration\"?"),
        "{outcome}"
    );
}

fn a_scenario_is_refused_while_a_cluster_runs(session: &Session<'_>) {
    let scenario = write(session, "short.yaml", PLAYED);
    let outcome = session.cluster().orrery(&format!("scenario run {scenario}"));
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("`orrery delete` makes room"), "{outcome}");
    session.kubectl("get nodes");
}
