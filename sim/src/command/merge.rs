//! `merge`: the folders of a campaign's shards, put together.

use std::path::PathBuf;

use clap::Args;

use crate::campaign::{Folder, Head, Merged, Tally, merge};
use crate::exit;

/// Of the runs that contradict each other so many are told.
const TOLD: usize = 20;

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

    fn merge(&self) -> Result<Merged, String> {
        let (head, merged) = read(&self.folders)?;
        if !merged.contradictions.is_empty() {
            let into = self.into.display();
            eprintln!("nothing is written to {into}, since runs contradict each other");
            return Ok(merged);
        }
        Folder::write(&self.into, &head, &merged.records)?;
        if merged.guided {
            eprintln!("a guided campaign does not go on from here: its corpus stays in the folder of its shard");
        }
        Ok(merged)
    }
}

/// What lies in several folders of one campaign.
pub(super) fn read(folders: &[PathBuf]) -> Result<(Head, Merged), String> {
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
    Ok((head, merge(parts)))
}

/// Tells what was found, or why nothing can be told; the exit code.
pub(super) fn code(result: Result<Merged, String>) -> u8 {
    match result {
        Ok(merged) => {
            let tally = Tally::of(&merged.records);
            print!("{}{}", differences(&merged.contradictions), tally.describe());
            ended(&merged, &tally)
        }
        Err(error) => {
            eprintln!("error: {error}");
            exit::WRONG
        }
    }
}

/// The exit code that `fuzz` would have ended with, unless runs contradict each other.
fn ended(merged: &Merged, tally: &Tally) -> u8 {
    if merged.contradictions.is_empty() {
        tally.code()
    } else {
        exit::NOT_DETERMINISTIC
    }
}

/// The runs that contradict each other, in words; nothing if there are none.
fn differences(contradictions: &[String]) -> String {
    let all = contradictions.len();
    if all == 0 {
        return String::new();
    }
    let mut lines = contradictions[..all.min(TOLD)].to_vec();
    if all > TOLD {
        lines.push(format!("and {} more", all - TOLD));
    }
    lines.push(format!(
        "not deterministic: {all} runs contradict each other; each is told once below, as failed if it is so anywhere\n"
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::campaign::Record;
    use crate::campaign::testing::record;

    fn folder(path: &Path, records: &[Record]) -> PathBuf {
        let head = Head {
            build: "build".to_owned(),
            scenarios: BTreeMap::new(),
        };
        Folder::write(path, &head, records).expect("a folder can be written");
        path.to_owned()
    }

    #[test]
    fn runs_that_contradict_each_other_are_told_with_the_rest_and_not_put_together() {
        let place = tempfile::tempdir().expect("a folder can be made");
        let path = |name: &str| place.path().join(name);
        let failed = Record {
            code: exit::VIOLATED,
            kind: "S3".to_owned(),
            hash: "abc".to_owned(),
            ..record("a.yaml", 2)
        };
        let one = folder(&path("one"), &[record("a.yaml", 1), record("a.yaml", 2)]);
        let two = folder(&path("two"), &[failed]);
        let merge = |folders: &[&PathBuf]| {
            let merge = Merge {
                folders: folders.iter().map(|folder| (*folder).clone()).collect(),
                into: path("all"),
            };
            let merged = merge.merge().expect("they can be read");
            let tally = Tally::of(&merged.records);
            (ended(&merged, &tally), tally.runs, tally.failed)
        };
        assert_eq!(merge(&[&one, &two]), (exit::NOT_DETERMINISTIC, 2, 1));
        assert!(!path("all").exists());
        assert_eq!(merge(&[&one]), (exit::HELD, 2, 0));
        assert_eq!(Folder::read(&path("all")).expect("it is written").records.len(), 2);
    }

    #[test]
    fn of_many_contradictions_the_first_are_told_and_all_are_counted() {
        assert_eq!(differences(&[]), "");
        let lines: Vec<String> = (0..TOLD + 3).map(|number| format!("line {number}")).collect();
        let told = differences(&lines);
        assert!(told.starts_with("line 0\nline 1\n"), "{told}");
        assert!(
            told.contains("\nline 19\nand 3 more\nnot deterministic: 23 runs "),
            "{told}"
        );
        assert!(told.ends_with('\n'), "{told}");
        assert!(!differences(&lines[..1]).contains("more"), "{told}");
    }
}
