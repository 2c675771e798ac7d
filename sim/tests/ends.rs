//! X4 and X5: a run whose end is not that of runs without faults says so.

mod command;

use std::path::Path;

use command::{command, sim, text};

/// A scenario in which somebody acts at 20 s on what the controllers should have made by then; `fault` may keep them.
fn scenario(folder: &Path, act: &str, fault: &str) -> String {
    let text = format!(
        "name: ends
topology: {{ nodes: 2 }}
workload:
  - at: 2s
    apply:
      - {{ apiVersion: v1, kind: ConfigMap, metadata: {{ name: note }}, data: {{ a: b }} }}
      - {{ apiVersion: apps/v1, kind: Deployment, metadata: {{ name: web }}, spec: {{ replicas: 2,
          selector: {{ matchLabels: {{ app: web }} }}, template: {{ metadata: {{ labels: {{ app: web }} }},
          spec: {{ containers: [{{ name: web, image: web:1 }}] }} }} }} }}
      - {{ apiVersion: v1, kind: Service, metadata: {{ name: web }}, spec: {{ selector: {{ app: web }}, ports: [{{ port: 80 }}] }} }}
  - at: 20s
    {act}
faults:
  - at: 1s
    {fault}
heal: all
expect: {{ end-state: fault-free, creates-and-deletes: fault-free }}
duration: 40s
"
    );
    let file = folder.join("ends.yaml");
    std::fs::write(&file, text).expect("a file can be written");
    file.to_string_lossy().into_owned()
}

fn ends(act: &str, fault: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let output = sim(&["run", &scenario(folder.path(), act, fault), "--seed", "5"]);
    (output.status.code(), text(&output))
}

const LONG: &str = "crash: { component: controller-manager, for: 30s }";
const SHORT: &str = "crash: { component: controller-manager, for: 5s }";
const OWN: &str = "own: { object: ConfigMap/note, owners: [Endpoints/web] }";
const DELETE: &str = "delete-pod: { nth: 1 }";

#[test]
fn faults_that_change_nothing_in_the_end_hold() {
    for act in [OWN, DELETE] {
        let (code, said) = ends(act, SHORT);
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn another_end_state_is_told_by_object_and_field() {
    let (code, said) = ends(OWN, LONG);
    assert_eq!(code, Some(11), "{said}");
    assert!(said.contains("did not end as without faults:"), "{said}");
    let line = "X4: metadata.ownerReferences[endpoints/default/web].kind of configmaps/default/note is (none), and without faults Endpoints";
    assert!(said.contains(line), "{said}");
    assert!(!said.contains("X5"), "{said}");
}

#[test]
fn another_number_of_creates_is_told() {
    let (code, said) = ends(DELETE, LONG);
    assert_eq!(code, Some(11), "{said}");
    let line = "X5: of pods 2 created and 0 deleted, and without faults 3 created and 1 deleted";
    assert!(said.contains(line), "{said}");
    assert!(!said.contains("X4"), "{said}");
}

#[test]
fn a_scenario_that_does_not_hold_without_faults_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = scenario(folder.path(), DELETE, SHORT);
    let text = std::fs::read_to_string(&file).expect("it is there");
    let hopeless = text.replace(
        "end-state: fault-free",
        "end-state: fault-free, state: [{ deployment/web: { spec.replicas: 9 } }]",
    );
    std::fs::write(&file, hopeless).expect("a file can be written");
    let why = "they do not hold either: did not converge within the bound; what is missing: ";
    let replay = format!("replay: cargo sim run {file} --seed 1 --fault-free\n");
    for arguments in [
        &["run", &file][..],
        &["pin", &file],
        &["explain", &file],
        &["fuzz", &file, "--seeds", "1"],
    ] {
        let output = sim(arguments);
        let said = self::text(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
        assert!(said.contains(&replay), "{arguments:?}: {said}");
        assert!(!said.contains("EOF"), "{arguments:?}: {said}");
    }
}

#[test]
fn pin_judges_the_end_as_run_does() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let output = sim(&["pin", &scenario(folder.path(), OWN, LONG), "--seed", "5"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("did not end as without faults:"), "{said}");
}

#[test]
fn shrinking_keeps_only_the_ends_of_the_scenario_itself() {
    let (folder, temporary) = (tempfile::tempdir(), tempfile::tempdir());
    let (folder, temporary) = (
        folder.expect("a folder can be made"),
        temporary.expect("a folder can be made"),
    );
    let file = scenario(folder.path(), OWN, LONG);
    let small = folder.path().join("small.yaml").to_string_lossy().into_owned();
    let output = command(&["shrink", &file, "--seed", "5", "--out", &small, "--limit", "0.3"])
        .env("TMPDIR", temporary.path())
        .output()
        .expect("the simulator starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let left: Vec<_> = std::fs::read_dir(temporary.path())
        .expect("a folder")
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].starts_with("orrery-yardstick-"), "{left:?}");
}
