//! A campaign on disk: what it is of, and a line for each run, written as it ends.
//!
//! `campaign.json` says which build and which scenarios; `runs.jsonl` has a [`Record`] a line. A campaign that was
//! killed goes on where it stopped: what has a line is not run again. A kill, or a full disk, can only hurt the last
//! line, which is then cut off. Only one process at a time may write. Several campaigns may share a folder: each tells
//! and skips its own runs only ([`super::Plan::has`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Record;
use crate::child;
use crate::fingerprint::Fingerprint;
use crate::scenario::Scenario;

const HEAD: &str = "campaign.json";
const RUNS: &str = "runs.jsonl";

/// What a campaign is of: results of other builds, or of scenarios that have changed, do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// A hash of the simulator.
    pub build: String,
    /// A hash of each scenario's content, by its file.
    pub scenarios: BTreeMap<String, String>,
}

impl Head {
    /// That of this build and these scenarios, by their files.
    ///
    /// # Errors
    /// The own executable cannot be read.
    pub fn new<'a>(scenarios: impl IntoIterator<Item = (&'a str, &'a Scenario)>) -> Result<Self, String> {
        let own = fs::read(child::PROGRAM);
        let own = own.map_err(|error| format!("the simulator cannot read itself: {error}"))?;
        let scenarios = scenarios.into_iter();
        Ok(Head {
            build: hash(&own),
            scenarios: scenarios
                .map(|(path, scenario)| (path.to_owned(), content(scenario)))
                .collect(),
        })
    }

    /// Both together.
    ///
    /// # Errors
    /// They are of different builds, or of different scenarios in files of one name.
    pub fn with(mut self, other: Head) -> Result<Self, String> {
        if self.build != other.build {
            return Err("it holds results of another build".to_owned());
        }
        for (path, hash) in other.scenarios {
            match self.scenarios.get(&path) {
                Some(own) if *own != hash => return Err(format!("{path} was another scenario then")),
                _ => self.scenarios.insert(path, hash),
            };
        }
        Ok(self)
    }
}

/// A hash of what is played of a scenario.
fn content(scenario: &Scenario) -> String {
    let mut played = scenario.clone();
    // For people.
    played.about.clear();
    hash(format!("{played:?}").as_bytes())
}

fn hash(bytes: &[u8]) -> String {
    let mut print = Fingerprint::default();
    print.add(bytes);
    print.to_string()
}

/// What lies in a folder.
#[derive(Debug)]
pub struct Contents {
    /// What it is of.
    pub head: Head,
    /// What came of its runs, in the order in which they ended.
    pub records: Vec<Record>,
    /// Lines that could not be read, in words.
    pub damage: Vec<String>,
}

/// Takes a file for this process alone; whether that was possible. What another process is just starting still holds,
/// for a moment, what that one has let go.
fn lock(file: &File) -> bool {
    (0..50).any(|turn| {
        if turn > 0 {
            thread::sleep(Duration::from_millis(10));
        }
        file.try_lock().is_ok()
    })
}

/// A folder that is written to.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    runs: File,
}

impl Folder {
    /// Opens a folder to go on in it, or makes it. Each of its records is given to `each`, in the order in which their
    /// runs ended; what could not be read is told, in words.
    ///
    /// # Errors
    /// It cannot be written, another process writes to it, or it is of another campaign; in words.
    pub fn open(path: &Path, head: Head, each: impl FnMut(Record)) -> Result<(Folder, Vec<String>), String> {
        let name = path.display();
        let wrong = |error: io::Error| format!("{name} cannot be written: {error}");
        fs::create_dir_all(path).map_err(wrong)?;
        let mut runs = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(RUNS))
            .map_err(wrong)?;
        if !lock(&runs) {
            return Err(format!("another process writes to {name}"));
        }
        let old = read_head(path)?;
        let again = "give another --dir, or remove it";
        let head = match old.clone() {
            Some(old) => old.with(head).map_err(|why| format!("{name}: {why}; {again}"))?,
            None => head,
        };
        if old.as_ref() != Some(&head) {
            write_head(path, &head).map_err(wrong)?;
        }
        let (damage, sound) = read_lines(BufReader::new(&runs), each).map_err(wrong)?;
        if runs.metadata().map_err(wrong)?.len() > sound {
            runs.set_len(sound).map_err(wrong)?;
        }
        runs.seek(SeekFrom::End(0)).map_err(wrong)?;
        let folder = Folder {
            path: path.to_owned(),
            runs,
        };
        Ok((folder, damage.iter().map(|what| of_runs(path, what)).collect()))
    }

    /// Writes a whole campaign to a folder in which nothing is: all of it or nothing.
    ///
    /// # Errors
    /// There is something in it, or it cannot be written; in words.
    pub fn write(path: &Path, head: &Head, records: &[Record]) -> Result<(), String> {
        let name = path.display();
        if path.join(HEAD).exists() || path.join(RUNS).exists() {
            return Err(format!("{name} holds a campaign already"));
        }
        if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(format!("there is something in {name} already"));
        }
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record).map_err(|error| error.to_string())?;
            lines.push(b'\n');
        }
        // Without its head, which comes last, it is no campaign's folder.
        let written = fs::create_dir_all(path)
            .and_then(|()| replace(&path.join(RUNS), &lines))
            .and_then(|()| write_head(path, head));
        if written.is_err() {
            // Neither may have come to be.
            for file in [RUNS, HEAD].map(|file| path.join(file)) {
                let _ = fs::remove_file(beside(&file));
                let _ = fs::remove_file(file);
            }
        }
        written.map_err(|error| format!("{name} cannot be written: {error}"))
    }

    /// Reads a folder, also one that is being written to.
    ///
    /// # Errors
    /// It is no campaign's, or cannot be read; in words.
    pub fn read(path: &Path) -> Result<Contents, String> {
        let name = path.display();
        let head = read_head(path)?.ok_or_else(|| format!("{name} is no campaign's folder: it has no {HEAD}"))?;
        let mut records = Vec::new();
        let runs = File::open(path.join(RUNS));
        let (damage, _) = runs
            .and_then(|runs| read_lines(BufReader::new(runs), |record| records.push(record)))
            .map_err(|error| format!("{name}/{RUNS} cannot be read: {error}"))?;
        let damage = damage.iter().map(|what| of_runs(path, what)).collect();
        Ok(Contents { head, records, damage })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a run down.
    ///
    /// # Errors
    /// It cannot be written; in words.
    pub fn append(&mut self, record: &Record) -> Result<(), String> {
        let line = serde_json::to_string(record).map_err(|error| error.to_string());
        // In one piece, so that a kill leaves at most one damaged line.
        line.and_then(|line| {
            let written = self.runs.write_all(format!("{line}\n").as_bytes());
            written.map_err(|error| error.to_string())
        })
        .map_err(|error| format!("{}/{RUNS} cannot be written: {error}", self.path.display()))
    }
}

/// What is to be said of a folder's runs.
fn of_runs(path: &Path, what: &str) -> String {
    format!("{}/{RUNS}: {what}", path.display())
}

fn read_head(path: &Path) -> Result<Option<Head>, String> {
    let file = path.join(HEAD);
    let name = file.display();
    match fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            format!(
                "{name} cannot be read: {error}; the runs beside it, in {RUNS}, are not lost: if neither the build nor \
                 the scenarios have changed since, remove {HEAD}, and the same `fuzz` goes on and writes it anew; else \
                 give another --dir"
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{name} cannot be read: {error}")),
    }
}

fn write_head(path: &Path, head: &Head) -> io::Result<()> {
    replace(
        &path.join(HEAD),
        (serde_json::to_string_pretty(head)? + "\n").as_bytes(),
    )
}

/// Writes a file in a step that is done wholly or not at all, even if the machine stops.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = beside(path);
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(new, path)
}

/// Where a file lies until it is whole.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Gives each record of a file to `each`. What could not be read; and how long the file is without a last line that was
/// cut short. Of several lines of one input in one campaign the first one counts.
fn read_lines(mut text: impl BufRead, mut each: impl FnMut(Record)) -> io::Result<(Vec<String>, u64)> {
    let (mut damage, mut seen) = (Vec::new(), BTreeSet::new());
    let (mut line, mut sound) = (Vec::new(), 0);
    for number in 1_u64.. {
        line.clear();
        let length = text.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            if length > 0 {
                damage.push("the last line was cut short, its run counts as not done".to_owned());
            }
            break;
        }
        sound += length as u64;
        if line.is_empty() {
            continue;
        }
        match serde_json::from_slice::<Record>(&line) {
            Ok(record) => {
                if seen.insert((record.input.clone(), record.guide.clone())) {
                    each(record);
                }
            }
            Err(error) => damage.push(format!(
                "line {number} cannot be read, its run counts as not done: {error}"
            )),
        }
    }
    Ok((damage, sound))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{record, records};
    use super::*;

    fn head() -> Head {
        Head {
            build: "build".to_owned(),
            scenarios: BTreeMap::from([("a.yaml".to_owned(), "1".to_owned())]),
        }
    }

    /// Opens a folder; what is in it, and what of that cannot be read.
    fn open(path: &Path, head: Head) -> Result<(Folder, Vec<Record>, Vec<String>), String> {
        let mut records = Vec::new();
        let (folder, damage) = Folder::open(path, head, |record| records.push(record))?;
        Ok((folder, records, damage))
    }

    fn fill(path: &Path, records: &[Record]) {
        let (mut folder, _, _) = open(path, head()).unwrap();
        records.iter().for_each(|record| folder.append(record).unwrap());
    }

    #[test]
    fn a_campaign_goes_on_after_a_kill_in_the_middle_of_a_line() {
        let place = tempfile::tempdir().unwrap();
        let records: Vec<Record> = (1..=3).map(|seed| record("a.yaml", seed)).collect();
        fill(place.path(), &records);
        let file = place.path().join(RUNS);
        let text = fs::read(&file).unwrap();
        let second = text.iter().rposition(|byte| *byte == b'{').unwrap();
        for cut in second + 1..text.len() {
            fs::write(&file, &text[..cut]).unwrap();
            assert_eq!(Folder::read(place.path()).unwrap().records, records[..2]);
            let (mut folder, read, damage) = open(place.path(), head()).unwrap();
            assert_eq!(read, records[..2]);
            assert_eq!(damage.len(), 1);
            folder.append(&records[2]).unwrap();
            assert_eq!(fs::read(&file).unwrap(), text);
        }
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_said_and_left_out() {
        let place = tempfile::tempdir().unwrap();
        fill(place.path(), &[record("a.yaml", 1), record("a.yaml", 2)]);
        let file = place.path().join(RUNS);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replacen("\"seed\":1", "\"seed\":one", 1)).unwrap();
        let contents = Folder::read(place.path()).unwrap();
        assert_eq!(contents.records, [record("a.yaml", 2)]);
        assert!(
            contents.damage[0].contains("line 1 cannot be read"),
            "{:?}",
            contents.damage
        );
    }

    #[test]
    fn results_of_another_build_or_scenario_do_not_mix() {
        let place = tempfile::tempdir().unwrap();
        fill(place.path(), &[]);
        let mut build = head();
        build.build = "another".to_owned();
        let error = open(place.path(), build).unwrap_err();
        assert!(
            error.contains("results of another build; give another --dir"),
            "{error}"
        );
        let mut scenario = head();
        scenario.scenarios.insert("a.yaml".to_owned(), "2".to_owned());
        let error = open(place.path(), scenario).unwrap_err();
        assert!(error.contains("a.yaml was another scenario then"), "{error}");
        let mut more = head();
        more.scenarios.insert("b.yaml".to_owned(), "1".to_owned());
        open(place.path(), more.clone()).unwrap();
        assert_eq!(Folder::read(place.path()).unwrap().head, more);
    }

    #[test]
    fn a_scenario_is_another_when_something_else_is_played() {
        let of = |text: &str| content(&crate::scenario::read("a.yaml", text, |_| Err(String::new())).unwrap());
        let plain = of("name: a\nduration: 1s\n");
        assert_eq!(of("name: a\nabout: Something.\nduration: 1s\n"), plain);
        assert_ne!(of("name: a\nduration: 2s\n"), plain);
    }

    #[test]
    fn a_run_of_a_guided_campaign_does_not_hide_that_of_another() {
        let place = tempfile::tempdir().unwrap();
        let mut guided = record("a.yaml", 1);
        guided.guide = Some("1".to_owned());
        fill(place.path(), &[guided.clone(), record("a.yaml", 1), guided.clone()]);
        let records = Folder::read(place.path()).unwrap().records;
        assert_eq!(records, [guided, record("a.yaml", 1)]);
    }

    #[test]
    fn a_campaign_is_written_whole_where_nothing_is_and_nowhere_else() {
        let place = tempfile::tempdir().unwrap();
        let (new, empty, full) = (
            place.path().join("deep/new/"),
            place.path().join("empty"),
            place.path().join("full"),
        );
        fs::create_dir(&empty).unwrap();
        fs::create_dir(&full).unwrap();
        fs::write(full.join("note"), "").unwrap();
        let records = [record("a.yaml", 1), record("a.yaml", 2)];
        for path in [&new, &empty] {
            Folder::write(path, &head(), &records).unwrap();
            assert_eq!(Folder::read(path).unwrap().records, records);
            let error = Folder::write(path, &head(), &[]).unwrap_err();
            assert!(error.contains("holds a campaign already"), "{error}");
            assert_eq!(Folder::read(path).unwrap().records, records, "it is left as it was");
        }
        let error = Folder::write(&full, &head(), &records).unwrap_err();
        assert!(error.contains("there is something in"), "{error}");
        let names = |path: &Path| fs::read_dir(path).unwrap().count();
        assert_eq!((names(&new), names(&empty), names(&full)), (2, 2, 1));
    }

    #[test]
    fn a_head_that_cannot_be_read_can_be_removed() {
        let place = tempfile::tempdir().unwrap();
        let records = [record("a.yaml", 1)];
        fill(place.path(), &records);
        fs::write(place.path().join(HEAD), "").unwrap();
        for error in [
            open(place.path(), head()).unwrap_err(),
            Folder::read(place.path()).unwrap_err(),
        ] {
            assert!(error.contains("campaign.json cannot be read: EOF"), "{error}");
            assert!(
                error.contains("remove campaign.json, and the same `fuzz` goes on"),
                "{error}"
            );
        }
        fs::remove_file(place.path().join(HEAD)).unwrap();
        let (_, read, _) = open(place.path(), head()).unwrap();
        assert_eq!(read, records);
        assert_eq!(Folder::read(place.path()).unwrap().head, head());
    }

    #[test]
    fn only_one_process_writes_to_a_folder() {
        let place = tempfile::tempdir().unwrap();
        let (_folder, _, _) = open(place.path(), head()).unwrap();
        let error = open(place.path(), head()).unwrap_err();
        assert!(error.contains("another process writes to"), "{error}");
    }

    #[test]
    fn a_folder_of_something_else_is_said_to_be_none() {
        let place = tempfile::tempdir().unwrap();
        assert!(
            Folder::read(place.path())
                .unwrap_err()
                .contains("is no campaign's folder")
        );
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(records in records()) {
            let lines: Vec<String> = records.iter().map(|record| serde_json::to_string(record).unwrap() + "\n").collect();
            let mut read = Vec::new();
            let (damage, _) = read_lines(lines.concat().as_bytes(), |record| read.push(record)).unwrap();
            prop_assert_eq!(read, records);
            prop_assert!(damage.is_empty());
        }
    }
}
