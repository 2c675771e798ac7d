//! `summary`: the folders of campaigns, told.

use std::path::PathBuf;

use clap::Args;

use super::merge::{code, read};
use crate::campaign::Merged;

/// Says what campaigns have found.
#[derive(Args)]
pub struct Summarize {
    /// The folders, of one campaign or of its shards.
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
}

impl Summarize {
    /// Does it; the exit code: that of the campaign.
    pub fn execute(&self) -> u8 {
        code(self.summarize())
    }

    fn summarize(&self) -> Result<Merged, String> {
        let (_, merged) = read(&self.folders)?;
        Ok(merged)
    }
}
