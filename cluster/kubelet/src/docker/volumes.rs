//! The pods' volumes as folders of the host.
//!
//! Files that come from objects are replaced all at once, in Kubernetes' way: they are links into `..data`, a link to
//! a folder of one version; changing that one link changes them all, also in containers that run.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::DockerOptions;
use crate::runtime::{HostPathKind, PodIdentity, Volume, VolumeContent, VolumeFile};

/// The link to the files' version.
const DATA: &str = "..data";
/// The longest last words of a container that are kept, in bytes.
const MESSAGE_LIMIT: usize = 4096;

/// Keeps the volumes of a node's pods.
pub(super) struct VolumeStore {
    root: PathBuf,
    memory: PathBuf,
}

impl VolumeStore {
    pub(super) fn new(options: &DockerOptions) -> Self {
        let memory = PathBuf::from(format!("/dev/shm/orrery-{}-{}", options.cluster, options.node));
        VolumeStore {
            root: options.data.clone(),
            memory,
        }
    }

    /// Makes a volume, or replaces its files.
    pub(super) fn write(&self, pod: &PodIdentity, volume: &Volume) -> io::Result<()> {
        let folder = self.folder(&pod.uid, &volume.name);
        match &volume.content {
            VolumeContent::EmptyDir { memory, .. } => {
                if folder.symlink_metadata().is_ok() {
                    return Ok(());
                }
                let real = if *memory && Path::new("/dev/shm").is_dir() {
                    self.memory.join(&pod.uid).join(&volume.name)
                } else {
                    folder.clone()
                };
                fs::create_dir_all(&real)?;
                fs::set_permissions(&real, Permissions::from_mode(0o777))?;
                link(&real, &folder)
            }
            VolumeContent::HostPath { path, kind } => {
                check(Path::new(path), *kind)?;
                link(Path::new(path), &folder)
            }
            VolumeContent::Files(files) => {
                fs::create_dir_all(&folder)?;
                replace(&folder, files)
            }
        }
    }

    /// The path on the host that a container gets.
    pub(super) fn source(&self, uid: &str, volume: &str, sub_path: Option<&str>) -> io::Result<PathBuf> {
        let folder = fs::canonicalize(self.folder(uid, volume))?;
        let Some(sub_path) = sub_path else { return Ok(folder) };
        let path = folder.join(sub_path);
        if path.symlink_metadata().is_err() {
            fs::create_dir_all(&path)?;
        }
        // What a container put there must not lead it elsewhere.
        let path = fs::canonicalize(path)?;
        if !path.starts_with(&folder) {
            return Err(io::Error::other(format!(
                "the path {sub_path:?} leads out of the volume"
            )));
        }
        Ok(path)
    }

    /// Makes the file that takes a container's last words.
    pub(super) fn make_message_file(&self, uid: &str, container: &str, attempt: u32) -> io::Result<PathBuf> {
        let path = self.message_path(uid, container, attempt);
        fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
        fs::write(&path, b"")?;
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        fs::canonicalize(path)
    }

    /// A container's last words; empty if it left none.
    pub(super) fn message(&self, uid: &str, container: &str, attempt: u32) -> String {
        let mut bytes = fs::read(self.message_path(uid, container, attempt)).unwrap_or_default();
        bytes.truncate(MESSAGE_LIMIT);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Removes all volumes of a pod, but not what lies on the host.
    pub(super) fn remove(&self, uid: &str) -> io::Result<()> {
        // A uid is a name of one folder, nothing else.
        if uid.is_empty() || uid.contains(['/', '.']) {
            return Ok(());
        }
        remove_folder(&self.memory.join(uid))?;
        remove_folder(&self.root.join(uid))
    }

    /// Removes all volumes of all pods.
    pub(super) fn remove_all(&self) -> io::Result<()> {
        remove_folder(&self.memory)?;
        remove_folder(&self.root)
    }

    fn folder(&self, uid: &str, volume: &str) -> PathBuf {
        self.root.join(uid).join("volumes").join(volume)
    }

    fn message_path(&self, uid: &str, container: &str, attempt: u32) -> PathBuf {
        self.root
            .join(uid)
            .join("messages")
            .join(format!("{container}-{attempt}"))
    }
}

fn remove_folder(path: &Path) -> io::Result<()> {
    // Links are removed, not followed.
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes `at` a link to `target`, unless they are one.
fn link(target: &Path, at: &Path) -> io::Result<()> {
    if target == at {
        return Ok(());
    }
    fs::create_dir_all(at.parent().unwrap_or(Path::new("/")))?;
    match symlink(target, at) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn check(path: &Path, kind: HostPathKind) -> io::Result<()> {
    let wrong = |what: &str| io::Error::other(format!("hostPath type check failed: {} is not {what}", path.display()));
    let found = fs::metadata(path).ok();
    let is = |test: fn(&fs::Metadata) -> bool| found.as_ref().is_some_and(test);
    match kind {
        // Docker makes a folder of a path that is not there; so do we, for volumes are resolved before.
        HostPathKind::Any if found.is_some() => Ok(()),
        HostPathKind::Any => fs::create_dir_all(path),
        HostPathKind::DirectoryOrCreate if found.is_none() => fs::create_dir_all(path),
        HostPathKind::DirectoryOrCreate | HostPathKind::Directory if is(fs::Metadata::is_dir) => Ok(()),
        HostPathKind::DirectoryOrCreate | HostPathKind::Directory => Err(wrong("a directory")),
        HostPathKind::FileOrCreate if found.is_none() => fs::write(path, b""),
        HostPathKind::FileOrCreate | HostPathKind::File if is(fs::Metadata::is_file) => Ok(()),
        HostPathKind::FileOrCreate | HostPathKind::File => Err(wrong("a file")),
        HostPathKind::Socket if is(|found| found.file_type().is_socket()) => Ok(()),
        HostPathKind::Socket => Err(wrong("a socket file")),
        HostPathKind::CharDevice if is(|found| found.file_type().is_char_device()) => Ok(()),
        HostPathKind::CharDevice => Err(wrong("a character device")),
        HostPathKind::BlockDevice if is(|found| found.file_type().is_block_device()) => Ok(()),
        HostPathKind::BlockDevice => Err(wrong("a block device")),
    }
}

/// Replaces the files of `folder` by `files`, all at once. Does nothing if they are the same.
fn replace(folder: &Path, files: &std::collections::BTreeMap<String, VolumeFile>) -> io::Result<()> {
    let data = folder.join(DATA);
    let old = fs::read_link(&data).ok();
    let same = old.is_some()
        && files
            .iter()
            .all(|(path, file)| fs::read(data.join(path)).is_ok_and(|content| content == file.content))
        && count(&data)? == files.len();
    if same {
        return Ok(());
    }
    let number = old
        .as_ref()
        .and_then(|old| old.to_str()?.strip_prefix("..v")?.parse::<u64>().ok())
        .unwrap_or(0)
        + 1;
    let version = format!("..v{number}");
    let fresh = folder.join(&version);
    remove_folder(&fresh)?;
    fs::create_dir_all(&fresh)?;
    for (path, file) in files {
        let path = fresh.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&fresh))?;
        fs::write(&path, &file.content)?;
        fs::set_permissions(&path, Permissions::from_mode(file.mode))?;
    }
    let next = folder.join("..data_next");
    let _ = fs::remove_file(&next);
    symlink(&version, &next)?;
    fs::rename(&next, &data)?;
    let tops: std::collections::BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for top in &tops {
        link(&Path::new(DATA).join(top), &folder.join(top))?;
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("..v") && *name != version {
            remove_folder(&entry.path())?;
        } else if !name.starts_with("..") && !tops.contains(&*name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
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
