//! By what a command ends scripts see how it went.

mod command;

use std::fs::File;
use std::path::Path;

use command::{command, sim, text};

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

#[test]
fn a_campaign_tells_of_its_own_runs_in_a_folder_of_several() {
    let place = tempfile::tempdir().expect("a folder can be made");
    let folder = place.path().join("all").to_string_lossy().into_owned();
    let (held, unmet) = (
        scenario(place.path(), "held", "b"),
        scenario(place.path(), "unmet", "c"),
    );
    let fuzz = |file: &str, more: &[&str]| {
        let output = sim(&[&["fuzz", file, "--dir", &folder], more].concat());
        (output.status.code(), text(&output))
    };
    assert_eq!(fuzz(&unmet, &["--seeds", "2"]).0, Some(11));
    let (ended, said) = fuzz(&held, &["--seeds", "2"]);
    assert_eq!(ended, Some(0), "{said}");
    assert!(said.contains("\n2 runs, 0 failed"), "{said}");
    assert!(said.contains("it holds 2 runs of other campaigns as well"), "{said}");
    // A guided one begins anew, and goes on where it stopped.
    for (seeds, runs) in [("3", "3 runs in "), ("5", "2 runs in "), ("5", "0 runs in ")] {
        let (ended, said) = fuzz(&held, &["--guided", "--seeds", seeds]);
        assert_eq!(ended, Some(0), "{said}");
        assert!(said.starts_with(runs), "{said}");
        assert!(said.contains("it holds 4 runs of other campaigns as well"), "{said}");
    }
    let (ended, said) = fuzz(&held, &["--seeds", "3"]);
    assert_eq!(ended, Some(0), "{said}");
    assert!(said.starts_with("1 runs in "), "{said}");
    assert!(said.contains("with the 2 runs done before"), "{said}");
    // All of it ends as its first failure did.
    assert_eq!(code(&["summary", &folder]), Some(11));
}

#[test]
fn a_full_device_is_a_line_of_error() {
    let place = tempfile::tempdir().expect("a folder can be made");
    let held = scenario(place.path(), "held", "b");
    let full = || File::options().write(true).open("/dev/full").expect("Linux has one");
    for arguments in [
        &["check", &held][..],
        &["run", &held],
        &["run", &held, "--trace", "-"],
        &["fuzz", &held, "--seeds", "1"],
        &["mutants", "--list"],
        &["--help"],
    ] {
        let output = command(arguments)
            .stdout(full())
            .output()
            .expect("the simulator starts");
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains("No space left on device"), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    }
    let written = sim(&["run", &held, "--trace", "/dev/full"]);
    let said = text(&written);
    assert_eq!(written.status.code(), Some(2), "{said}");
    assert!(
        said.contains("the trace cannot be written: No space left on device"),
        "{said}"
    );
    assert!(!said.contains("cannot be played"), "it was: {said}");
    let said = command(&["check", &held])
        .stdout(full())
        .output()
        .expect("the simulator starts");
    let line = "error: cannot write to standard output: No space left on device (os error 28)\n";
    assert_eq!(text(&said), line);
    // With nowhere to say so the code is all that is left.
    let mut silent = command(&["check", &held]);
    let status = silent
        .stdout(full())
        .stderr(full())
        .status()
        .expect("the simulator starts");
    assert_eq!(status.code(), Some(2));
}

#[test]
fn who_reads_no_more_ends_it_quietly() {
    let (reader, writer) = std::io::pipe().expect("there are pipes");
    drop(reader);
    let output = command(&["mutants", "--list"])
        .stdout(writer)
        .output()
        .expect("the simulator starts");
    assert_eq!((output.status.code(), text(&output).as_str()), (Some(141), ""));
}

#[test]
fn a_scenario_is_one_however_it_is_called_and_described() {
    let place = tempfile::tempdir().expect("a folder can be made");
    let path = scenario(place.path(), "held", "b");
    let here = |arguments: &[&str]| {
        let output = command(arguments).current_dir(place.path()).output();
        text(&output.expect("the simulator starts"))
    };
    let fuzz = |file: &str| here(&["fuzz", file, "--seeds", "2", "--dir", "results"]);
    let said = fuzz("held.yaml");
    assert!(said.starts_with("2 runs in "), "{said}");
    for name in ["./held.yaml", &path] {
        let said = fuzz(name);
        assert!(said.starts_with("0 runs in "), "{name}: {said}");
    }
    let described = std::fs::read_to_string(&path).expect("it is there") + "about: A note is kept.\n";
    std::fs::write(&path, described).expect("a file can be written");
    let said = fuzz("held.yaml");
    assert!(said.starts_with("0 runs in "), "{said}");
    let said = here(&["summary", "results"]);
    assert!(said.starts_with("2 runs, 0 failed"), "{said}");
}

#[test]
fn there_are_no_seeds_beyond_the_last_one() {
    let place = tempfile::tempdir().expect("a folder can be made");
    let held = scenario(place.path(), "held", "b");
    for arguments in [
        ["verify", &held, "--seed", "18446744073709551615", "--seeds", "2"],
        ["fuzz", &held, "--from", "18446744073709551615", "--seeds", "2"],
    ] {
        let output = sim(&arguments);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        let why = "error: 2 seeds from 18446744073709551615 on: there are none beyond 18446744073709551615\n";
        assert_eq!(text(&output), why, "{arguments:?}");
    }
}

#[test]
fn no_jobs_are_refused_in_plain_words() {
    for command in ["fuzz", "verify", "shrink", "mutants"] {
        let output = sim(&[command, "scenarios/node-failure.yaml", "--jobs", "0"]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(
            text(&output).contains("write how many runs at once, 1 or more"),
            "{}",
            text(&output)
        );
    }
}

#[test]
fn a_dash_is_standard_output() {
    let place = tempfile::tempdir().expect("a folder can be made");
    scenario(place.path(), "held", "b");
    scenario(place.path(), "unmet", "c");
    for (arguments, start) in [
        (&["pin", "held.yaml", "--out", "-"][..], "name: held\n"),
        (&["report", "held.yaml", "--out", "-"], "<!"),
        (&["report", "held.yaml", "--perfetto", "-"], "{"),
        (&["shrink", "unmet.yaml", "--out", "-"], "# Fails: convergence: "),
    ] {
        let output = command(arguments).current_dir(place.path()).output();
        let output = output.expect("the simulator starts");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.starts_with(start), "{arguments:?}: {said}");
    }
    assert_eq!(
        std::fs::read_dir(place.path()).expect("a folder").count(),
        2,
        "no file `-`"
    );
}

#[test]
fn a_pinned_run_says_how_it_is_explored() {
    let place = tempfile::tempdir().expect("a folder can be made");
    let held = scenario(place.path(), "held", "b");
    let output = sim(&["pin", &held, "--explore", "pct:2"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let pinned = String::from_utf8_lossy(&output.stdout);
    assert!(pinned.starts_with("# Run it with --explore pct:2, "), "{pinned}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("unless it is run with --explore pct:2\n"), "{told}");
}

#[test]
fn failures_are_told_on_standard_output_and_progress_elsewhere() {
    let place = tempfile::tempdir().expect("a folder can be made");
    let unmet = scenario(place.path(), "unmet", "c");
    let log = place.path().join("log");
    // In a terminal of its own, to which standard error goes.
    let fuzz = format!(
        "{} fuzz {unmet} --seeds 2 > {}",
        env!("CARGO_BIN_EXE_orrery-sim"),
        log.display()
    );
    let script = std::process::Command::new("script")
        .args(["-qec", &fuzz, "/dev/null"])
        .stdin(std::process::Stdio::null())
        .output();
    // Not every machine has it, or a terminal to give.
    let (Ok(terminal), Ok(log)) = (script, std::fs::read_to_string(&log)) else {
        return;
    };
    assert_eq!(log.matches("unmet.yaml, seed ").count(), 2, "{log}");
    assert!(!text(&terminal).contains("did not converge"), "{}", text(&terminal));
}
