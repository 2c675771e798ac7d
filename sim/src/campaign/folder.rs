//! A campaign on disk: what it is of, and a line for each run, written as it ends.
//!
//! `campaign.json` says which build and which scenarios; `runs.jsonl` has a [`Record`] a line. A campaign that was
//! killed goes on where it stopped: what has a line is not run again. A kill, or a full disk, can only hurt the last
//! line, which is then cut off. Only one process at a time may write. Several campaigns may share a folder: each tells
//! and skips its own runs only ([`super::Plan::has`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Input, Record};
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
        let own = std::env::current_exe().and_then(fs::read);
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
    /// Opens a folder to go on in it, or makes it.
    ///
    /// # Errors
    /// It cannot be written, another process writes to it, or it is of another campaign; in words.
    pub fn open(path: &Path, head: Head) -> Result<(Folder, Contents), String> {
        let name = path.display();
        let wrong = |error: std::io::Error| format!("{name} cannot be written: {error}");
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
        let mut text = Vec::new();
        runs.read_to_end(&mut text).map_err(wrong)?;
        let (records, mut damage, sound) = read_lines(&text);
        if sound < text.len() {
            runs.set_len(sound as u64).map_err(wrong)?;
        }
        runs.seek(SeekFrom::End(0)).map_err(wrong)?;
        damage
            .iter_mut()
            .for_each(|what| *what = format!("{name}/{RUNS}: {what}"));
        let folder = Folder {
            path: path.to_owned(),
            runs,
        };
        Ok((folder, Contents { head, records, damage }))
    }

    /// Makes a folder for a campaign of its own.
    ///
    /// # Errors
    /// There is a campaign in it, which is left as it is, or it cannot be written; in words.
    pub fn create(path: &Path, head: Head) -> Result<Folder, String> {
        if path.join(HEAD).exists() || path.join(RUNS).exists() {
            return Err(format!("{} holds a campaign already", path.display()));
        }
        Folder::open(path, head).map(|(folder, _)| folder)
    }

    /// Reads a folder, also one that is being written to.
    ///
    /// # Errors
    /// It is no campaign's, or cannot be read; in words.
    pub fn read(path: &Path) -> Result<Contents, String> {
        let name = path.display();
        let head = read_head(path)?.ok_or_else(|| format!("{name} is no campaign's folder: it has no {HEAD}"))?;
        let text = fs::read(path.join(RUNS)).map_err(|error| format!("{name}/{RUNS} cannot be read: {error}"))?;
        let (records, mut damage, _) = read_lines(&text);
        damage
            .iter_mut()
            .for_each(|what| *what = format!("{name}/{RUNS}: {what}"));
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

fn read_head(path: &Path) -> Result<Option<Head>, String> {
    let file = path.join(HEAD);
    match fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| format!("{} cannot be read: {error}", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
    }
}

/// In a step that is done wholly or not at all.
fn write_head(path: &Path, head: &Head) -> std::io::Result<()> {
    let new = path.join(format!("{HEAD}.new"));
    fs::write(&new, serde_json::to_string_pretty(head)? + "\n")?;
    fs::rename(new, path.join(HEAD))
}

/// The records of a file; what could not be read; and how long the file is without a last line that was cut short.
/// Of several lines of one input in one campaign the first one counts.
fn read_lines(text: &[u8]) -> (Vec<Record>, Vec<String>, usize) {
    let sound = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let mut damage = Vec::new();
    let mut records = Vec::new();
    for (number, line) in text[..sound].split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        match serde_json::from_slice::<Record>(line) {
            Ok(record) => records.push(record),
            Err(error) => damage.push(format!(
                "line {} cannot be read, its run counts as not done: {error}",
                number + 1
            )),
        }
    }
    if sound < text.len() {
        damage.push("the last line was cut short, its run counts as not done".to_owned());
    }
    let records = unique(records, |record| (record.input.clone(), record.guide.clone()));
    (records, damage, sound)
}

/// One record a key, the first.
fn unique<K: Ord>(records: Vec<Record>, key: impl Fn(&Record) -> K) -> Vec<Record> {
    let mut seen = BTreeSet::new();
    let records = records.into_iter();
    records.filter(|record| seen.insert(key(record))).collect()
}

/// What a run came to: what is the same of every run of one input in one build. None of a run whose process told
/// nothing, which may be the machine's fault.
fn outcome(record: &Record) -> Option<(&str, u8, &str)> {
    let played = !record.hash.is_empty();
    played.then_some((record.hash.as_str(), record.code, record.kind.as_str()))
}

/// An input that came to one thing in one folder, and to another in another; in words.
fn contradiction(parts: &[(String, Vec<Record>)]) -> Option<String> {
    let mut known: BTreeMap<&Input, (&str, &Record)> = BTreeMap::new();
    let all = parts
        .iter()
        .flat_map(|(folder, records)| records.iter().map(move |record| (folder.as_str(), record)));
    for (folder, record) in all.filter(|(_, record)| outcome(record).is_some()) {
        let (first, other) = *known.entry(&record.input).or_insert((folder, record));
        if outcome(other) != outcome(record) {
            let told = |record: &Record| format!("{} with trace {}", record.kind, record.hash);
            return Some(format!(
                "one run did not come to one thing: {} in {first}, and {} in {folder}; replay: {}",
                told(other),
                told(record),
                record.input.replay()
            ));
        }
    }
    None
}

/// The records of several folders, each with its name, as those of one campaign: each input once, in order, and each
/// feature where it is new.
///
/// # Errors
/// Two of them contradict each other, though they are of one input; in words.
pub fn merge(parts: Vec<(String, Vec<Record>)>) -> Result<Vec<Record>, String> {
    if let Some(error) = contradiction(&parts) {
        return Err(error);
    }
    let mut records: Vec<Record> = parts.into_iter().flat_map(|(_, records)| records).collect();
    // An input that two folders have says the same in both, but only one of them may have its features.
    let mut features: BTreeMap<Input, Vec<String>> = BTreeMap::new();
    for record in &mut records {
        let own = features.entry(record.input.clone()).or_default();
        own.append(&mut record.new);
    }
    records.sort_by(|one, other| (&one.input, &one.hash, &one.guide).cmp(&(&other.input, &other.hash, &other.guide)));
    let mut known = BTreeSet::new();
    let mut records = unique(records, |record| record.input.clone());
    for record in &mut records {
        let own = features.remove(&record.input).unwrap_or_default();
        record.new = own.into_iter().filter(|name| known.insert(name.clone())).collect();
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{record, records};
    use super::super::{Shard, Tally};
    use super::*;

    fn head() -> Head {
        Head {
            build: "build".to_owned(),
            scenarios: BTreeMap::from([("a.yaml".to_owned(), "1".to_owned())]),
        }
    }

    fn fill(path: &Path, records: &[Record]) {
        let (mut folder, _) = Folder::open(path, head()).unwrap();
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
            let (mut folder, contents) = Folder::open(place.path(), head()).unwrap();
            assert_eq!(contents.records, records[..2]);
            assert_eq!(contents.damage.len(), 1);
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
        let error = Folder::open(place.path(), build).unwrap_err();
        assert!(
            error.contains("results of another build; give another --dir"),
            "{error}"
        );
        let mut scenario = head();
        scenario.scenarios.insert("a.yaml".to_owned(), "2".to_owned());
        let error = Folder::open(place.path(), scenario).unwrap_err();
        assert!(error.contains("a.yaml was another scenario then"), "{error}");
        let mut more = head();
        more.scenarios.insert("b.yaml".to_owned(), "1".to_owned());
        Folder::open(place.path(), more.clone()).unwrap();
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
        let merged = merge(vec![("a".to_owned(), records)]).unwrap();
        assert_eq!(merged, [record("a.yaml", 1)], "together it is one run");
    }

    #[test]
    fn a_run_that_came_to_two_things_is_told_and_no_machine_that_gave_up_contradicts_another() {
        let merged = |other: Record| {
            let parts = [("one", record("a.yaml", 1)), ("two", other)];
            merge(parts.map(|(folder, record)| (folder.to_owned(), vec![record])).into())
        };
        let broken = |hash: &str| Record {
            hash: hash.to_owned(),
            code: 10,
            kind: "S3".to_owned(),
            ..record("a.yaml", 1)
        };
        let own = record("a.yaml", 1).hash;
        for hash in [own.as_str(), "abc"] {
            assert_eq!(
                merged(broken(hash)).unwrap_err(),
                format!(
                    "one run did not come to one thing: held with trace {own} in one, and S3 with trace {hash} in two; \
                     replay: cargo sim run a.yaml --seed 1"
                )
            );
        }
        assert_eq!(merged(broken("")).unwrap().len(), 1);
    }

    #[test]
    fn a_new_folder_is_one_in_which_nothing_is() {
        let place = tempfile::tempdir().unwrap();
        let inside = place.path().join("new");
        Folder::create(&inside, head()).unwrap();
        let mut more = head();
        more.scenarios.insert("b.yaml".to_owned(), "1".to_owned());
        let error = Folder::create(&inside, more).unwrap_err();
        assert!(error.contains("holds a campaign already"), "{error}");
        assert_eq!(Folder::read(&inside).unwrap().head, head(), "it is left as it was");
    }

    #[test]
    fn only_one_process_writes_to_a_folder() {
        let place = tempfile::tempdir().unwrap();
        let (_folder, _) = Folder::open(place.path(), head()).unwrap();
        let error = Folder::open(place.path(), head()).unwrap_err();
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
        fn merged_shards_say_what_the_whole_campaign_says(records in records(), of in 1u64..5) {
            let whole = Tally::of(&records).describe();
            let shards = (0..of).map(|index| {
                let shard = Shard { index, of };
                let own = records.iter().filter(|record| shard.has(record.input.seed));
                own.cloned().collect::<Vec<Record>>()
            });
            let parts = shards.chain([records.clone()]).map(|part| ("a".to_owned(), part));
            let merged = merge(parts.collect()).unwrap();
            prop_assert_eq!(Tally::of(&merged).describe(), whole);
            let mut all: Vec<&String> = merged.iter().flat_map(|record| &record.new).collect();
            let number = all.len();
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(all.len(), number, "a feature is new once");
        }

        #[test]
        fn a_record_is_read_as_it_was_written(records in records()) {
            let lines: Vec<String> = records.iter().map(|record| serde_json::to_string(record).unwrap() + "\n").collect();
            let (read, damage, _) = read_lines(lines.concat().as_bytes());
            prop_assert_eq!(read, records);
            prop_assert!(damage.is_empty());
        }
    }
}
