//! `merge`: the folders of a campaign's shards, put together.

use std::path::PathBuf;

use clap::Args;

use crate::campaign::{Folder, Head, Record, Tally, merge};
use crate::exit;

/// Puts the folders of a campaign's shards together.
#[derive(Args)]
pub struct Merge {
    /// The shards' folders.
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// The folder that gets all; there must be nothing in it.
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
}

impl Merge {
    /// Does it; the exit code: that of the whole campaign.
    pub fn execute(&self) -> u8 {
        code(self.merge())
    }

    fn merge(&self) -> Result<Tally, String> {
        let (head, records) = read(&self.folders)?;
        let mut folder = Folder::create(&self.into, head)?;
        for record in &records {
            folder.append(record)?;
        }
        Ok(Tally::of(&records))
    }
}

/// What lies in several folders of one campaign.
pub(super) fn read(folders: &[PathBuf]) -> Result<(Head, Vec<Record>), String> {
    let mut parts = Vec::new();
    let mut all: Option<Head> = None;
    for path in folders {
        let contents = Folder::read(path)?;
        for damage in &contents.damage {
            eprintln!("{damage}");
        }
        all = Some(match all {
            Some(head) => head
                .with(contents.head)
                .map_err(|why| format!("{} does not belong to the others: {why}", path.display()))?,
            None => contents.head,
        });
        parts.push((path.display().to_string(), contents.records));
    }
    let head = all.ok_or("there is no folder")?;
    Ok((head, merge(parts)?))
}

/// Tells what was found, or why nothing can be told; the exit code that `fuzz` would have ended with.
pub(super) fn code(result: Result<Tally, String>) -> u8 {
    match result {
        Ok(tally) => {
            print!("{}", tally.describe());
            tally.code()
        }
        Err(error) => {
            eprintln!("error: {error}");
            exit::WRONG
        }
    }
}
