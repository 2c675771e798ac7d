//! Files that come from objects, replaced all at once in Kubernetes' way: they are links into `..data`, a link to a
//! folder of one version; changing that one link changes them all, also in containers that run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{give, link, remove_folder};
use crate::runtime::VolumeFile;

/// The link to the files' version.
const DATA: &str = "..data";
/// What the next link is called until it takes its place.
const NEXT: &str = "..data_next";
/// What names of versions begin with; a number follows.
const VERSION: &str = "..v";

/// The permission bits of folders.
const FOLDER_MODE: u32 = 0o755;
/// What members of the volume's group may do beyond that. Source: `changeFilePermission` of Kubernetes' volume package,
/// for volumes that nobody writes.
const GROUP_FOLDER_MODE: u32 = 0o2550;
/// The same for files.
const GROUP_FILE_MODE: u32 = 0o440;

/// Replaces the files of `folder` by `files`, all at once, unless they are the same. Makes up for a call that was cut
/// off half-way.
pub(super) fn replace(folder: &Path, files: &BTreeMap<String, VolumeFile>, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    give(folder, folder_mode(group), group)?;
    let old = fs::read_link(folder.join(DATA)).ok();
    let old = old.as_deref().and_then(Path::to_str);
    let version = match old {
        Some(old) if is_same(&folder.join(old), files)? => old.to_owned(),
        old => {
            let version = after(old);
            write(&folder.join(&version), files, group)?;
            let next = folder.join(NEXT);
            let _ = fs::remove_file(&next);
            symlink(&version, &next)?;
            fs::rename(&next, folder.join(DATA))?;
            version
        }
    };
    show(folder, files, &version)
}

fn folder_mode(group: Option<u32>) -> u32 {
    FOLDER_MODE | group.map_or(0, |_| GROUP_FOLDER_MODE)
}

/// The name of the version after `old`.
fn after(old: Option<&str>) -> String {
    let number = old.and_then(|old| old.strip_prefix(VERSION)?.parse::<u64>().ok());
    format!("{VERSION}{}", number.unwrap_or(0) + 1)
}

/// Whether these files, and no others, are in the folder of a version.
fn is_same(version: &Path, files: &BTreeMap<String, VolumeFile>) -> io::Result<bool> {
    let is_there = |(path, file): (&String, &VolumeFile)| {
        fs::read(version.join(path)).is_ok_and(|content| content == file.content)
    };
    Ok(version.is_dir() && files.iter().all(is_there) && count(version)? == files.len())
}

fn count(folder: &Path) -> io::Result<usize> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() {
            count(&entry.path())?
        } else {
            1
        };
    }
    Ok(sum)
}

/// Makes the folder of a version.
fn write(version: &Path, files: &BTreeMap<String, VolumeFile>, group: Option<u32>) -> io::Result<()> {
    remove_folder(version)?;
    fs::create_dir(version)?;
    give(version, folder_mode(group), group)?;
    for (path, file) in files {
        let path = Path::new(path);
        // The nearest one comes first, and the version itself last.
        let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
        folders.reverse();
        for folder in folders.into_iter().map(|folder| version.join(folder)) {
            if !folder.is_dir() {
                fs::create_dir(&folder)?;
                give(&folder, folder_mode(group), group)?;
            }
        }
        let path = version.join(path);
        fs::write(&path, &file.content)?;
        give(&path, file.mode | group.map_or(0, |_| GROUP_FILE_MODE), group)?;
    }
    Ok(())
}

/// Shows the files in `folder` itself, and removes what is shown and kept of older versions.
fn show(folder: &Path, files: &BTreeMap<String, VolumeFile>, version: &str) -> io::Result<()> {
    let tops: BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for top in &tops {
        link(&Path::new(DATA).join(top), &folder.join(top))?;
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(VERSION) && *name != *version {
            remove_folder(&entry.path())?;
        } else if !name.starts_with("..") && !tops.contains(&*name) && entry.file_type()?.is_symlink() {
            // What is no link is no file of ours: a folder that a container's `subPath` named before there was a file.
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use bytes::Bytes;

    use super::*;

    fn files(all: &[(&str, &'static str)]) -> BTreeMap<String, VolumeFile> {
        let file = |text: &'static str| VolumeFile {
            content: Bytes::from_static(text.as_bytes()),
            mode: 0o600,
        };
        all.iter()
            .map(|(path, text)| ((*path).to_owned(), file(text)))
            .collect()
    }

    fn mode(path: &Path) -> u32 {
        let found = fs::metadata(path).expect("it is there");
        found.permissions().mode() & 0o7777
    }

    /// What a container sees in the volume, by path, and which versions there are.
    fn shown(folder: &Path) -> (BTreeSet<String>, BTreeSet<String>) {
        let entries = fs::read_dir(folder).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let (hidden, shown): (BTreeSet<String>, BTreeSet<String>) = names.partition(|name| name.starts_with(".."));
        let versions = hidden.into_iter().filter(|name| name.starts_with(VERSION));
        (shown, versions.collect())
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn files_are_replaced_all_at_once_and_only_when_they_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        replace(folder, &files(&[("a", "1"), ("deep/b", "2")]), None).expect("files");
        assert_eq!(shown(folder), (set(&["a", "deep"]), set(&["..v1"])));
        replace(folder, &files(&[("a", "1"), ("deep/b", "2")]), None).expect("the same files");
        assert_eq!(shown(folder).1, set(&["..v1"]));
        replace(folder, &files(&[("a", "1"), ("c", "3")]), None).expect("other files");
        assert_eq!(shown(folder), (set(&["a", "c"]), set(&["..v2"])));
        assert_eq!(fs::read_to_string(folder.join("c")).expect("a file"), "3");
    }

    #[test]
    fn what_was_cut_off_before_the_files_were_shown_is_made_up_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let new = files(&[("a", "1"), ("c", "3")]);
        replace(folder, &files(&[("a", "1"), ("b", "2")]), None).expect("files");
        fs::create_dir(folder.join("early")).expect("a folder that a container asked for");
        // As if the link had been changed, and nothing after it.
        write(&folder.join("..v2"), &new, None).expect("a version");
        fs::remove_file(folder.join(DATA)).expect("the old link");
        symlink("..v2", folder.join(DATA)).expect("the new one");
        replace(folder, &new, None).expect("files");
        assert_eq!(shown(folder), (set(&["a", "c", "early"]), set(&["..v2"])));
    }

    #[test]
    fn everybody_may_enter_the_folders_and_the_group_may_read_the_files() {
        let folder = tempfile::tempdir().expect("a folder");
        // Whoever runs the tests may give files to its own group.
        let group = fs::metadata(folder.path()).expect("a folder").gid();
        for (group, folders, file) in [(None, 0o755, 0o600), (Some(group), 0o2755, 0o640)] {
            let volume = folder.path().join(format!("{group:?}"));
            replace(&volume, &files(&[("very/deep/a", "1")]), group).expect("files");
            for path in [volume.clone(), volume.join("very"), volume.join("very/deep")] {
                assert_eq!(mode(&path), folders, "{}", path.display());
            }
            assert_eq!(mode(&volume.join("very/deep/a")), file);
        }
    }
}
