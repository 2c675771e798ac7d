//! The commands and their arguments. Exit codes: 0 done, 1 failed, 3 (`status`) not running; `scenario run` has those
//! of the simulator as well.

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
use crate::place::Place;
use crate::progress::say;
use crate::{past, room, scenario};

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
    /// Plays a scenario of the simulator on a real cluster
    #[command(subcommand)]
    Scenario(Scenario),
    /// Serves a simulated cluster as it was at a moment (what `cargo sim inspect` starts)
    #[command(hide = true)]
    Past {
        /// The recording
        file: PathBuf,
        /// The moment, counted from the beginning
        #[arg(long, value_parser = orrery_play::scenario::parse_moment)]
        at: Duration,
        /// The port, on this machine only; 0 for any that is free
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// Behaves as a scenario says of an image (what runs in the containers of `scenario run`)
    #[command(hide = true)]
    StandIn {
        /// How, in JSON
        script: String,
        /// Arguments for the program that it stands in for
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs the cluster in the foreground (what `start` starts)
    #[command(hide = true)]
    Serve {
        #[arg(long, default_value_t = 6443)]
        port: u16,
    },
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Plays one on a cluster of its own, in real time, with the faults that a real machine can have
    ///
    /// The cluster is made for it and deleted in the end; a machine can have but one, so the user's own must have been
    /// deleted. Images that Docker does not have are stood in for by containers that behave as the scenario says of
    /// them. Exit codes: 0 held, 11 did not converge, 13 a component panicked, 2 the scenario is wrong, 1 the cluster,
    /// Docker or iptables failed, 130 interrupted.
    Run {
        /// The scenario's file
        file: String,
        /// The seed of what the scenario leaves to chance; its own, or 1, if none
        #[arg(long)]
        seed: Option<u64>,
        /// Where to write what the cluster holds in the end, for `cargo sim compare`
        #[arg(long, value_name = "FILE")]
        end_state: Option<PathBuf>,
        /// Leave the cluster running
        #[arg(long)]
        keep: bool,
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
        Command::Scenario(Scenario::Run {
            file,
            seed,
            end_state,
            keep,
        }) => play(
            &scenario::Settings {
                file,
                seed,
                end_state,
                keep,
            },
            &place()?,
        ),
        Command::StandIn { script, arguments: _ } => stand_in(&script),
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

fn play(settings: &scenario::Settings, user: &Place) -> Result<ExitCode, Failure> {
    let runtime = executor()?;
    let outcome = runtime.block_on(scenario::run(settings, user));
    runtime.shutdown_background();
    outcome
}

fn stand_in(script: &str) -> Result<ExitCode, Failure> {
    executor()?.block_on(scenario::stand_in::run(script)).map_err(Failure)
}

/// Says which cluster runs on this machine, where it is not the one that was asked for.
fn tell_of_other(place: &Place) {
    if let Some(other) = room::other_that_runs(place) {
        let folder = other.folder().display();
        say(&format!(
            "The cluster in {folder} runs on this machine; `ORRERY_HOME={folder} orrery delete` deletes it."
        ));
    }
}

/// An executor for commands that ask little.
fn executor() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure(format!("cannot start: {error}")))
}
