//! The command `orrery`: reads its arguments and hands over.

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    orrery::command::run(orrery::command::Arguments::parse())
}
