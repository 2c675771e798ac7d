//! Runs in processes of their own, each by this very program.

use std::io;
use std::process::{Command, Stdio};

use crate::variation::Variation;

/// The command that does `verb` (`run`, `record`, `judge`) with one seed of a scenario, varied so. It reads nothing.
pub fn command(verb: &str, scenario: &str, seed: u64, variation: &Variation) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([verb, scenario, "--seed", &seed.to_string()])
        .args(variation.arguments())
        .stdin(Stdio::null());
    Ok(command)
}
