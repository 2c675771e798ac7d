//! `--limit`: how long a run may take.

use std::time::Duration;

use clap::{Args, value_parser};

/// How long a run may take.
#[derive(Args, Clone, Copy)]
pub struct Limit {
    /// A run that takes longer than so many seconds of real time is stopped: it has come to no end.
    #[arg(
        long = "limit",
        default_value_t = super::LIMIT.as_secs(),
        value_name = "SECONDS",
        value_parser = value_parser!(u64).range(1..)
    )]
    pub seconds: u64,
}

impl Limit {
    /// In real time.
    pub fn time(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}
