//! Whole worlds: they boot, converge, and happen the same way every time, in every process.

use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orrery-sim"));
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(arguments)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

const SCENARIOS: [&str; 17] = [
    "scenarios/node-failure.yaml",
    "scenarios/rolling-update.yaml",
    "scenarios/partition.yaml",
    "scenarios/control-plane-restart.yaml",
    "scenarios/lost-answers.yaml",
    "scenarios/swarm.yaml",
    "scenarios/leader-election.yaml",
    "scenarios/compaction.yaml",
    "scenarios/power-loss.yaml",
    "scenarios/placement.yaml",
    "scenarios/life-and-death.yaml",
    "scenarios/old-news.yaml",
    "scenarios/cut-off.yaml",
    "scenarios/time-travel.yaml",
    "scenarios/api-servers.yaml",
    "scenarios/hand-over.yaml",
    "scenarios/swarm-api-servers.yaml",
];

#[test]
fn every_scenario_of_the_house_is_read() {
    let output = sim(&[&["check"], &SCENARIOS[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
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
    for scenario in SCENARIOS {
        let output = sim(&["verify", scenario, "--seed", "11"]);
        assert_eq!(output.status.code(), Some(0), "{scenario}: {}", text(&output));
    }
}

/// Each scenario of `scenarios/regressions` is a bug that was found; its first line names the seed that showed it,
/// or it fails with every seed.
#[test]
fn what_was_mended_stays_mended() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/regressions");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap_or_default();
        let seeds = first
            .strip_prefix("# seed: ")
            .map_or(vec!["1", "2", "3"], |seed| vec![seed]);
        for seed in seeds {
            let output = sim(&["run", path.to_str().unwrap(), "--seed", seed]);
            let said = self::text(&output);
            assert_eq!(output.status.code(), Some(0), "{}: {said}", path.display());
        }
    }
}
