//! `compare`: the end of a run beside those of simulated runs. A real cluster's end is compared in the same way; here a
//! simulated one stands for it.

mod command;

use std::path::Path;

use command::{sim, text};

/// A scenario with a deployment of so many pods; some step more.
fn scenario(folder: &Path, name: &str, replicas: u32, step: &str) -> String {
    let source = format!(
        "name: compared
topology: {{ nodes: 1 }}
workload:
  - at: 2s
    apply: {{ apiVersion: apps/v1, kind: Deployment, metadata: {{ name: web }}, spec: {{ replicas: {replicas},
      selector: {{ matchLabels: {{ app: web }} }}, template: {{ metadata: {{ labels: {{ app: web }} }},
      spec: {{ containers: [{{ name: web, image: web:1 }}] }} }} }} }}
{step}duration: 20s
"
    );
    let file = folder.join(name);
    std::fs::write(&file, source).expect("a file can be written");
    file.to_string_lossy().into_owned()
}

#[test]
fn the_same_end_is_the_same_and_another_is_told_by_object_and_field() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let two = scenario(folder.path(), "two.yaml", 2, "");
    let end = folder.path().join("end.json").to_string_lossy().into_owned();
    let run = sim(&["run", &two, "--seed", "5", "--fault-free", "--end-state", &end]);
    assert!(run.status.success(), "{}", text(&run));

    let same = sim(&["compare", &two, &end]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same));

    let three = scenario(folder.path(), "three.yaml", 3, "");
    let other = sim(&["compare", &three, &end]);
    assert_eq!(other.status.code(), Some(1), "{}", text(&other));
    let wanted = "spec.replicas of deployments.apps/default/web is really 2, and simulated 3";
    assert!(text(&other).contains(wanted), "{}", text(&other));
}

#[test]
fn what_cannot_be_compared_is_said() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let drawn = "  - between: 3s..9s\n    scale: { deployment: web, replicas: 3 }\n";
    let drawn = scenario(folder.path(), "drawn.yaml", 2, drawn);
    let refused = sim(&["compare", &drawn, &drawn]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(
        text(&refused).contains("`scale`: for ends to be compared"),
        "{}",
        text(&refused)
    );

    let plain = scenario(folder.path(), "plain.yaml", 2, "");
    let refused = sim(&["compare", &plain, &plain]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("is not the end of a run"), "{}", text(&refused));
}
