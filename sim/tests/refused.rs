//! A run that ends because the API refuses a step: what the commands that look at runs make of it.

mod command;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use command::{command, sim, text};

/// A scenario that changes what may not be changed any more, which shows only when it is played; as a file.
fn refused(folder: &Path) -> String {
    let text = "name: refused
topology: { nodes: 1 }
workload:
  - at: 0s
    apply: { apiVersion: v1, kind: ConfigMap, metadata: { name: note }, immutable: true, data: { a: b } }
  - at: 5s
    apply: { apiVersion: v1, kind: ConfigMap, metadata: { name: note }, immutable: true, data: { a: c } }
duration: 10s
";
    let file = folder.join("refused.yaml");
    std::fs::write(&file, text).expect("a file can be written");
    file.to_string_lossy().into_owned()
}

/// A program that does what `script` says, in the place of `orrery`.
fn instead_of_orrery(folder: &Path, script: &str) -> PathBuf {
    let file = folder.join("orrery");
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("a file can be written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    file
}

#[test]
fn two_that_cannot_be_played_are_not_the_same() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = refused(folder.path());
    let run = format!("{file}@1");
    for arguments in [
        &["diff", &run, &run][..],
        &["verify", &file],
        &["verify", &file, "--seeds", "2"],
    ] {
        let output = sim(arguments);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(!said.contains("the same"), "{arguments:?}: {said}");
        assert!(
            said.contains("error: the scenario cannot be played: "),
            "{arguments:?}: {said}"
        );
        assert!(said.contains("field is immutable"), "{arguments:?}: {said}");
    }
}

#[test]
fn its_past_can_be_looked_at() {
    let (folder, temporary) = (tempfile::tempdir(), tempfile::tempdir());
    let (folder, temporary) = (
        folder.expect("a folder can be made"),
        temporary.expect("a folder can be made"),
    );
    let file = refused(folder.path());
    // `orrery past FILE …`
    let orrery = instead_of_orrery(folder.path(), "cat \"$2\"");
    let orrery = orrery.to_string_lossy();
    let output = command(&["inspect", &file, "--at", "2s", "--orrery", &orrery])
        .env("TMPDIR", temporary.path())
        .output()
        .expect("the simulator starts");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("the scenario cannot be played: "), "{said}");
    assert!(!said.contains("left no history"), "{said}");
    assert!(said.contains("{\"title\":\"refused, seed 1\""), "{said}");
    assert!(said.contains("{\"ended\":"), "{said}");
    assert_eq!(std::fs::read_dir(temporary.path()).expect("a folder").count(), 0);
}

#[test]
fn who_interrupts_the_look_leaves_nothing() {
    let (folder, temporary) = (tempfile::tempdir(), tempfile::tempdir());
    let (folder, temporary) = (
        folder.expect("a folder can be made"),
        temporary.expect("a folder can be made"),
    );
    let file = refused(folder.path());
    let served = folder.path().join("served");
    let orrery = instead_of_orrery(folder.path(), &format!("touch {}\nexec sleep 60", served.display()));
    let orrery = orrery.to_string_lossy();
    let mut child = command(&["inspect", &file, "--at", "2s", "--orrery", &orrery])
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the simulator starts");
    while !served.exists() {
        assert!(
            child.try_wait().expect("a child").is_none(),
            "it ended before it served anything"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(
        std::fs::read_dir(temporary.path()).expect("a folder").count(),
        1,
        "the history"
    );
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.expect("there is kill").success());
    assert_eq!(child.wait().expect("a child").code(), Some(130));
    assert_eq!(std::fs::read_dir(temporary.path()).expect("a folder").count(), 0);
}
