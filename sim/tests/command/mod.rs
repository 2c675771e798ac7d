//! The simulator's command, as it is started from a terminal at the root of the repository.

use std::process::{Command, Output};

/// The simulator with these arguments, not started yet.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orrery-sim"));
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(arguments);
    command
}

/// What becomes of the simulator with these arguments.
pub fn sim(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the simulator starts")
}

/// What it said, on both streams.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
