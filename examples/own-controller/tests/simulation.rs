//! The controller in simulated worlds: a template for continuous integration.
//!
//! Run it as `cargo website-sim-test`. It starts the simulator as people do, which starts a process a seed.
#![cfg(madsim)]
#![allow(
    clippy::disallowed_methods,
    reason = "the test is no part of a run: it starts processes"
)]

use std::process::{Command, Output};

/// So many seeds of each scenario: more find more. (A campaign over night: `fuzz --seeds 10000 --dir results`.)
const SEEDS: &str = "20";

fn simulator(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_website-sim"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .output()
        .expect("the simulator starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
fn exits(arguments: &[&str], code: i32) -> String {
    let output = simulator(arguments);
    assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    text(&output)
}

#[test]
fn the_controller_holds_with_every_seed() {
    exits(&["fuzz", "scenarios/websites.yaml", "--seeds", SEEDS], 0);
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    exits(&["verify", "scenarios/websites.yaml", "--seed", "7"], 0);
}

/// A check that never fires checks nothing.
#[test]
fn the_careless_controller_is_found() {
    let found = exits(
        &["fuzz", "scenarios/careless.yaml", "--seeds", SEEDS, "--stop-after", "1"],
        10,
    );
    assert!(found.contains("domain-kept is broken"), "{found}");
    assert!(
        found.contains("replay: cargo website-sim run scenarios/careless.yaml --seed"),
        "{found}"
    );
}

#[test]
fn a_component_that_is_not_in_the_program_is_one_clear_line() {
    let wrong = std::env::temp_dir().join(format!("website-sim-{}.yaml", std::process::id()));
    std::fs::write(
        &wrong,
        "name: wrong\nduration: 1s\nfaults:\n  - at: 0s\n    restart: website-contoller\n",
    )
    .expect("a file can be written");
    let said = exits(&["check", &wrong.to_string_lossy()], 2);
    std::fs::remove_file(&wrong).expect("it is there");
    assert!(said.contains("did you mean \"website-controller\"?"), "{said}");
}
