//! From a run to its explanation: recordings, explanations, pages and comparisons of whole worlds.

mod command;

use std::path::Path;

use command::{sim, text};

/// A scenario that asks for more replicas than there will ever be, in `folder`.
fn hopeless(folder: &Path) -> String {
    let scenario = "
name: hopeless
topology: { nodes: 2 }
workload:
  - at: 2s
    apply: |
      apiVersion: apps/v1
      kind: Deployment
      metadata: { name: web }
      spec:
        replicas: 2
        selector: { matchLabels: { app: web } }
        template:
          metadata: { labels: { app: web } }
          spec: { containers: [{ name: web, image: \"web:1\" }] }
faults:
  - at: 8s
    crash: { component: kubelet/node-1, for: 3s }
heal: all
expect:
  converge: 20s
  state:
    - deployment/web: { status.availableReplicas: 7 }
duration: 15s
";
    let path = folder.join("hopeless.yaml");
    std::fs::write(&path, scenario).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn recording_changes_nothing() {
    for scenario in [
        "scenarios/control-plane-restart.yaml",
        "scenarios/swarm.yaml",
        "scenarios/lost-answers.yaml",
    ] {
        let run = sim(&["run", scenario, "--seed", "3", "--json"]);
        let run = text(&run);
        let recorded = sim(&["record", scenario, "--seed", "3"]);
        let recording: serde_json::Value = serde_json::from_slice(&recorded.stdout).unwrap();
        let hash = recording["hash"].as_str().unwrap();
        assert!(
            run.contains(&format!("trace: {hash} ")),
            "{scenario}: {hash} is not the hash of\n{run}"
        );
        assert!(recording["events"].as_array().unwrap().len() > 1000);
    }
}

#[test]
fn a_run_that_does_not_converge_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = hopeless(folder.path());
    let output = sim(&["explain", &scenario, "--seed", "5"]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(11), "{told}");
    assert!(
        told.contains("missing: status.availableReplicas of deployment/web is 2, not 7"),
        "{told}"
    );
    assert!(told.contains("the last that was done about it:"), "{told}");
    assert!(told.contains("none of the next 8 seeds holds"), "{told}");
}

#[test]
fn a_run_that_holds_needs_no_explanation() {
    let output = sim(&["explain", "scenarios/node-failure.yaml", "--seed", "7"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn a_run_becomes_a_page_and_a_file_for_the_viewer() {
    let folder = tempfile::tempdir().unwrap();
    let (page, trace) = (folder.path().join("a.html"), folder.path().join("a.json"));
    let (page, trace) = (page.to_str().unwrap(), trace.to_str().unwrap());
    let output = sim(&[
        "report",
        "scenarios/node-failure.yaml",
        "--seed",
        "7",
        "--out",
        page,
        "--perfetto",
        trace,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let html = std::fs::read_to_string(page).unwrap();
    assert!(html.starts_with("<!doctype html>") && html.contains("node-5"));
    let trace: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(trace).unwrap()).unwrap();
    assert!(trace["traceEvents"].as_array().unwrap().len() > 1000);
}

#[test]
fn two_runs_are_compared_and_a_run_with_its_own_trace() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let trace = trace.to_str().unwrap();
    sim(&["run", "scenarios/node-failure.yaml", "--seed", "7", "--trace", trace]);
    let same = sim(&["diff", "scenarios/node-failure.yaml@7", trace]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same));
    let other = sim(&["diff", "scenarios/node-failure.yaml@7", "scenarios/node-failure.yaml@8"]);
    let told = text(&other);
    assert_eq!(other.status.code(), Some(1), "{told}");
    assert!(
        told.contains("they part at event ") && told.contains("the first decision that only"),
        "{told}"
    );
    let wrong = sim(&["diff", "no-such-file", trace]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong));
}
