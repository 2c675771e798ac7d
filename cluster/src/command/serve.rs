//! The background process itself.

use std::process::ExitCode;

use super::start::{FAILED, READY};
use crate::daemon::{self, Failure, Settings};
use crate::place::Place;
use crate::progress::{Progress, say};

/// Two threads serve a small cluster; more only cost memory.
const THREADS: usize = 2;

/// Runs the cluster until it is told to stop.
pub fn serve(place: &Place, port: u16) -> Result<ExitCode, Failure> {
    // Its own session: what is typed into the terminal that started it (control-C) is not meant for it. It fails only
    // for a process that leads a group already, which has no need of it.
    let _ = rustix::process::setsid();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(|error| Failure(format!("cannot start: {error}")))?;
    let settings = Settings {
        place: place.clone(),
        port,
    };
    let outcome = runtime.block_on(daemon::run(&settings, &Progress::default(), || say(READY)));
    // Nothing that still blocks somewhere may keep the process.
    runtime.shutdown_background();
    if let Err(failure) = &outcome {
        say(&format!("{FAILED}{failure}"));
        orrery_api::log::line("orrery", format_args!("{failure}"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
