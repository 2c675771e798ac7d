//! By what a command ends scripts see how it went.

mod command;

use std::path::Path;

use command::{sim, text};

/// A scenario that makes a ConfigMap, and expects a value in it; as a file.
fn scenario(folder: &Path, name: &str, value: &str) -> String {
    let text = format!(
        "name: {name}
topology: {{ nodes: 1 }}
workload:
  - at: 0s
    apply: {{ apiVersion: v1, kind: ConfigMap, metadata: {{ name: note }}, data: {{ a: b }} }}
expect: {{ converge: 20s, state: [{{ configmap/note: {{ data.a: {value} }} }}] }}
duration: 1s
"
    );
    let file = folder.join(format!("{name}.yaml"));
    std::fs::write(&file, text).expect("a file can be written");
    file.to_string_lossy().into_owned()
}

fn code(arguments: &[&str]) -> Option<i32> {
    sim(arguments).status.code()
}

#[test]
fn what_is_told_of_a_campaign_ends_as_the_campaign_did() {
    let place = tempfile::tempdir().expect("a folder can be made");
    let path = |name: &str| place.path().join(name).to_string_lossy().into_owned();
    let (held, unmet) = (
        scenario(place.path(), "held", "b"),
        scenario(place.path(), "unmet", "c"),
    );
    let fuzz = |file: &str, folder: &str| code(&["fuzz", file, "--seeds", "2", "--dir", &path(folder)]);
    assert_eq!(fuzz(&held, "fine"), Some(0));
    assert_eq!(fuzz(&unmet, "failed"), Some(11));
    assert_eq!(code(&["summary", &path("fine")]), Some(0));
    assert_eq!(code(&["summary", &path("failed")]), Some(11));
    let merged = sim(&["merge", &path("fine"), &path("failed"), "--into", &path("all")]);
    assert_eq!(merged.status.code(), Some(11), "{}", text(&merged));
    assert!(text(&merged).contains("4 runs, 2 failed"), "{}", text(&merged));
    assert_eq!(code(&["summary", &path("all")]), Some(11));
    // Nothing was put together or told: how runs ended is not asked for.
    assert_eq!(code(&["merge", &path("fine"), "--into", &path("all")]), Some(2));
    assert_eq!(code(&["summary", &path("nowhere")]), Some(2));
}
