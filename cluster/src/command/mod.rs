//! The commands and their arguments. Exit codes: 0 done, 1 failed, 3 (`status`) not running.

mod delete;
mod serve;
mod start;
mod status;
mod stop;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::daemon::Failure;
use crate::past;
use crate::place::Place;

/// A Kubernetes-compatible cluster on this machine's Docker and iptables.
#[derive(Debug, Parser)]
#[command(name = "orrery", version, about, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts the cluster in the background and returns when its node is Ready
    Start {
        /// The port of the API server, on this machine only
        #[arg(long, default_value_t = 6443)]
        port: u16,
    },
    /// Says whether the cluster runs, and how it is
    Status,
    /// Stops the cluster; everything in it comes back with the next start
    Stop,
    /// Deletes the cluster: every container, network, rule and file it made
    Delete,
    /// Serves a simulated cluster as it was at a moment (what `cargo sim inspect` starts)
    #[command(hide = true)]
    Past {
        /// The recording
        file: PathBuf,
        /// The moment, counted from the beginning
        #[arg(long, value_parser = past::parse)]
        at: Duration,
        /// The port, on this machine only; 0 for any that is free
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// Runs the cluster in the foreground (what `start` starts)
    #[command(hide = true)]
    Serve {
        #[arg(long, default_value_t = 6443)]
        port: u16,
    },
}

/// Carries out a command.
pub fn run(arguments: Arguments) -> ExitCode {
    match carry_out(arguments.command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("orrery: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> Result<ExitCode, Failure> {
    let place = || {
        Place::of_environment().ok_or_else(|| Failure("there is no home folder: set HOME or ORRERY_HOME".to_owned()))
    };
    match command {
        Command::Start { port } => start::start(&place()?, port),
        Command::Status => status::status(&place()?),
        Command::Stop => stop::stop(&place()?),
        Command::Delete => delete::delete(&place()?),
        Command::Past { file, at, port } => look_back(&file, at, port),
        Command::Serve { port } => serve::serve(&place()?, port),
    }
}

fn look_back(recording: &Path, at: Duration, port: u16) -> Result<ExitCode, Failure> {
    let runtime = executor()?;
    let outcome = runtime.block_on(past::serve(recording, at, port));
    // A thread may still wait for what its user types.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// An executor for commands that ask little.
fn executor() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure(format!("cannot start: {error}")))
}
