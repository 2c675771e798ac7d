//! Whole worlds: they boot, converge, and happen the same way every time, in every process.

mod command;

use std::path::Path;
use std::process::Stdio;

use command::{command, sim, text};

/// Every scenario of `scenarios/`, in order.
fn scenarios() -> Vec<String> {
    let found = scenarios_in("scenarios");
    assert!(found.len() > 40, "{found:?}");
    found
}

/// Every scenario of a folder of the house, in order.
fn scenarios_in(folder: &str) -> Vec<String> {
    let names = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut found: Vec<String> = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.ends_with(".yaml"))
        .map(|name| format!("{folder}/{name}"))
        .collect();
    found.sort();
    found
}

#[test]
fn every_scenario_of_the_house_is_read() {
    let scenarios = [scenarios(), scenarios_in("scenarios/regressions")].concat();
    let names = scenarios.iter().map(String::as_str);
    let output = sim(&std::iter::once("check").chain(names).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(!text(&output).contains("warning:"), "{}", text(&output));
}

#[test]
fn a_wrong_scenario_has_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.yaml");
    std::fs::write(&file, "name: a\nduratoin: 1s\n").unwrap();
    let output = sim(&["check", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains(":2:1: unknown key \"duratoin\"; did you mean \"duration\"?"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_world_boots_and_converges_with_every_seed() {
    let output = sim(&["fuzz", "scenarios/node-failure.yaml", "--seeds", "10"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn two_processes_see_the_same_events() {
    for scenario in scenarios() {
        let output = sim(&["verify", &scenario, "--seed", "11"]);
        assert_eq!(output.status.code(), Some(0), "{scenario}: {}", text(&output));
    }
}

#[test]
fn a_node_that_is_cut_off_starts_again_what_takes_its_environment_from_a_config_map() {
    for seed in ["1", "2", "3"] {
        let run = sim(&["run", "scenarios/cut-off-settings.yaml", "--seed", seed, "--trace", "-"]);
        assert_eq!(run.status.code(), Some(0), "{}", text(&run));
        let trace = String::from_utf8_lossy(&run.stdout).into_owned();
        let starts = trace.lines().filter_map(|line| {
            let (moment, event) = line.split_once(" runtime/node-1: container ")?;
            event.contains(" runs [").then(|| moment.parse::<f64>().unwrap())
        });
        // The node is cut off from the 15th second on, for 180.
        let cut_off = starts.filter(|moment| (15.0..195.0).contains(moment)).count();
        assert_eq!(cut_off, 2, "seed {seed}");
    }
}

#[test]
fn a_varied_run_is_replayed_by_its_command_line() {
    let varied = ["--redraw", "fault/0/1=5,workload/0=1,tasks=2", "--explore", "pct:2"];
    let run = |varied: &[&str]| {
        let output = sim(&[&["run", "scenarios/swarm.yaml", "--seed", "3"], varied].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let text = text(&output);
        assert!(!text.contains("no stream to draw anew"), "{text}");
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
        (line("replay: "), line("trace: "))
    };
    let first = run(&varied);
    let replay =
        "replay: cargo sim run scenarios/swarm.yaml --seed 3 --redraw fault/0/1=5,workload/0=1,tasks=2 --explore pct:2";
    assert_eq!(first.0, replay);
    assert_eq!(first, run(&varied));
    assert_ne!(first.1, run(&[]).1);
}

#[test]
fn a_stream_that_no_run_has_is_an_error_and_the_nearest_is_named() {
    for command in ["run", "pin", "explain"] {
        let output = sim(&[command, "scenarios/swarm.yaml", "--redraw", "falt/0=1"]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(
            text(&output).contains(r#"did you mean "fault/0"?"#),
            "{}",
            text(&output)
        );
    }
}

#[test]
fn a_varied_run_is_compared_with_the_plain_one() {
    let run = "scenarios/node-failure.yaml@3";
    let code = |arguments: &[&str]| sim(&[&["diff", run], arguments].concat()).status.code();
    assert_eq!(code(&["--redraw", "tasks=2"]), Some(1));
    assert_eq!(code(&["--redraw", "tasks=2", "--both"]), Some(0));
    assert_eq!(code(&["--redraw", "foo=1"]), Some(2));
}

#[test]
fn many_runs_are_compared_by_their_hashes() {
    let scenarios = ["scenarios/node-failure.yaml", "scenarios/swarm.yaml"];
    let output = sim(&[&["verify", "--seeds", "4", "--jobs", "1"], &scenarios[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("the same: 8 runs"), "{}", text(&output));
}

/// What a campaign's folder says, without how long it took.
fn told(folder: &Path) -> String {
    let output = sim(&["summary", folder.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let text = text(&output);
    let (first, rest) = text.split_once('\n').unwrap();
    format!("{}\n{rest}", first.split(" in ").next().unwrap())
}

#[test]
fn a_campaign_in_parts_finds_what_it_finds_in_one() {
    let place = tempfile::tempdir().unwrap();
    let folder = |name: &str| place.path().join(name);
    let fuzz = |name: &str, more: &[&str]| {
        let dir = folder(name);
        let scenarios = ["scenarios/node-failure.yaml", "scenarios/lost-answers.yaml"];
        let output = sim(&[&["fuzz", "--dir", dir.to_str().unwrap()], &scenarios[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        text(&output)
    };
    fuzz("whole", &["--seeds", "4"]);
    assert!(told(&folder("whole")).starts_with("8 runs, 0 failed"));

    fuzz("resumed", &["--seeds", "2"]);
    let again = fuzz("resumed", &["--seeds", "4"]);
    assert!(again.contains("with the 4 runs done before"), "{again}");
    assert_eq!(told(&folder("resumed")), told(&folder("whole")));
    assert!(fuzz("resumed", &["--seeds", "4"]).starts_with("0 runs"), "all are done");

    fuzz("0", &["--seeds", "4", "--shard", "0/2"]);
    fuzz("1", &["--seeds", "4", "--shard", "1/2"]);
    let [merged, first, second] = ["merged", "0", "1"].map(|name| folder(name).to_str().unwrap().to_owned());
    let output = sim(&["merge", &first, &second, "--into", &merged]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(told(&folder("merged")), told(&folder("whole")));
}

#[test]
fn a_guided_campaign_goes_the_same_way_each_time() {
    let place = tempfile::tempdir().unwrap();
    let inputs = |name: &str| {
        let dir = place.path().join(name);
        let arguments = [
            "--guided",
            "--seeds",
            "12",
            "--jobs",
            "1",
            "--dir",
            dir.to_str().unwrap(),
        ];
        let output = sim(&[&["fuzz", "scenarios/partition.yaml"], &arguments[..]].concat());
        // What it finds is not this test's business.
        assert_ne!(output.status.code(), Some(2), "{}", text(&output));
        let runs = std::fs::read_to_string(dir.join("runs.jsonl")).unwrap();
        let entries = std::fs::read_dir(dir.join("corpus")).unwrap().count();
        // Only how long the processor took differs.
        let lines = runs
            .lines()
            .map(|line| line.split("\"spent\"").next().unwrap().to_owned());
        (lines.collect::<Vec<String>>(), entries)
    };
    let (lines, entries) = inputs("one");
    assert_eq!(lines.len(), 12);
    assert!(entries > 0);
    assert!(lines.iter().any(|line| line.contains("\"redraw\"")), "{lines:?}");
    assert_eq!((lines, entries), inputs("other"));
}

/// Each scenario of `scenarios/regressions` is a bug that was found; its `seed` is the one that showed it, or it failed
/// with every seed.
#[test]
fn what_was_mended_stays_mended() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/regressions");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let own = text.lines().find_map(|line| line.strip_prefix("seed: "));
        let seeds = own.map_or(vec!["1", "2", "3"], |seed| vec![seed]);
        for seed in seeds {
            let output = sim(&["run", path.to_str().unwrap(), "--seed", seed]);
            let said = self::text(&output);
            assert_eq!(output.status.code(), Some(0), "{}: {said}", path.display());
        }
    }
}

#[test]
fn a_reader_who_has_seen_enough_ends_a_command_quietly() {
    let mut command = command(&["run", "scenarios/node-failure.yaml", "--seed", "1"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141), "{}", text(&output));
    assert!(!text(&output).contains("panicked"), "{}", text(&output));
}
