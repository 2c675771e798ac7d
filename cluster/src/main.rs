//! The command `orrery`: reads its arguments and hands over.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    orrery::command::run(orrery::command::Arguments::parse())
}
