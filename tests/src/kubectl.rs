//! The kubectls of this machine. Nothing is downloaded.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::process;

/// A kubectl of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubectl {
    /// `1.33`
    pub version: String,
    /// Where it is.
    pub path: PathBuf,
}

/// The oldest and the newest kubectl of this machine, in this order; one when there is but one, none when there is
/// none.
///
/// They are looked for in the `PATH`, and as `kubectl.1.NN` beside what its `kubectl` points to.
pub fn oldest_and_newest() -> Vec<Kubectl> {
    let Some(first) = in_path() else { return Vec::new() };
    let mut found = BTreeMap::new();
    for path in beside(&first).into_iter().chain([first]) {
        if let Some(minor) = minor_version(&path) {
            found.entry(minor).or_insert(path);
        }
    }
    let mut all = found.into_iter().map(|(minor, path)| Kubectl {
        version: format!("1.{minor}"),
        path,
    });
    let oldest = all.next();
    let newest = all.next_back();
    oldest.into_iter().chain(newest).collect()
}

fn in_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join("kubectl"))
        .find(|file| file.is_file())
}

fn beside(kubectl: &Path) -> Vec<PathBuf> {
    let target = kubectl.canonicalize().unwrap_or_else(|_| kubectl.to_owned());
    let entries = target.parent().and_then(|folder| folder.read_dir().ok());
    let named = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("kubectl.1."))
    };
    entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(named)
        .collect()
}

fn minor_version(kubectl: &Path) -> Option<u32> {
    let mut command = Command::new(kubectl);
    command.args(["version", "--client", "-o", "json"]);
    let outcome = process::run(command, b"", Duration::from_secs(30)).ok()?;
    let version: Value = serde_json::from_str(&outcome.stdout).ok()?;
    let minor = version["clientVersion"]["minor"].as_str()?;
    minor.trim_end_matches('+').parse().ok()
}
