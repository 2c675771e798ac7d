//! The pods' volumes as folders of the host, and the files that take containers' last words.

mod files;
mod sub_path;

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use super::DockerOptions;
use crate::runtime::{HostPathKind, PodIdentity, Volume, VolumeContent};

/// Where files are in memory.
const SHARED_MEMORY: &str = "/dev/shm";
/// The longest last words of a container that are kept, in bytes. Source: `MaxContainerTerminationMessageLength` of
/// Kubernetes' kubelet.
const MESSAGE_LIMIT: u64 = 4096;
/// The permission bits of empty folders.
const EMPTY_MODE: u32 = 0o777;
/// What is added where they are a group's: what is made in them is the group's, too.
const GROUP_EMPTY_MODE: u32 = 0o2000;

/// Keeps the volumes of a node's pods.
pub(super) struct VolumeStore {
    root: PathBuf,
    memory: PathBuf,
}

impl VolumeStore {
    pub(super) fn new(options: &DockerOptions) -> Self {
        let memory = format!("orrery-{}-{}", options.cluster, options.node);
        VolumeStore {
            root: options.data.clone(),
            memory: Path::new(SHARED_MEMORY).join(memory),
        }
    }

    /// Makes a volume, or replaces its files.
    pub(super) fn write(&self, pod: &PodIdentity, volume: &Volume) -> io::Result<()> {
        let folder = self.folder(&pod.uid, &volume.name);
        match &volume.content {
            VolumeContent::EmptyDir { memory, .. } => {
                let real = if *memory && Path::new(SHARED_MEMORY).is_dir() {
                    make_private(&self.memory)?;
                    self.memory.join(&pod.uid).join(&volume.name)
                } else {
                    folder.clone()
                };
                // What is in memory goes with a restart of the machine, and the link to it stays.
                make_empty(&real, volume.fs_group)?;
                link(&real, &folder)
            }
            VolumeContent::HostPath { path, kind } => {
                check(Path::new(path), *kind)?;
                link(Path::new(path), &folder)
            }
            VolumeContent::Files(files) => files::replace(&folder, files, volume.fs_group),
        }
    }

    /// The path on the host that a container gets.
    pub(super) fn source(&self, uid: &str, volume: &str, sub_path: Option<&str>) -> io::Result<PathBuf> {
        let folder = fs::canonicalize(self.folder(uid, volume))?;
        match sub_path {
            Some(sub_path) => sub_path::resolve(&folder, sub_path),
            None => Ok(folder),
        }
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
        let bytes = end_of(&self.message_path(uid, container, attempt)).unwrap_or_default();
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

/// The last [`MESSAGE_LIMIT`] bytes of a file, however long it is.
fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MESSAGE_LIMIT)))?;
    let mut bytes = Vec::new();
    file.take(MESSAGE_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes a folder that nobody else gets into, where everybody may make folders: one that is another's is refused.
fn make_private(path: &Path) -> io::Result<()> {
    if let Err(error) = DirBuilder::new().mode(0o700).create(path)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    let found = path.symlink_metadata()?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(format!(
            "{} is there already and not a folder of ours; remove it",
            path.display()
        )));
    }
    fs::set_permissions(path, Permissions::from_mode(0o700))
}

/// Makes an empty folder that every container may write to; one that is there stays as it is.
fn make_empty(path: &Path, group: Option<u32>) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    // It takes its place when it is as it shall be; no volume has a name like this.
    let new = path.with_extension("new");
    fs::create_dir_all(&new)?;
    give(&new, EMPTY_MODE | group.map_or(0, |_| GROUP_EMPTY_MODE), group)?;
    fs::rename(&new, path)
}

/// Gives a path these permission bits, whatever is usual for the process, and to a group, if one is named.
fn give(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    if group.is_some() {
        chown(path, None, group)?;
    }
    // In this order: a change of the group takes bits away.
    fs::set_permissions(path, Permissions::from_mode(mode))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn store(folder: &Path) -> VolumeStore {
        VolumeStore {
            root: folder.join("pods"),
            memory: folder.join("memory"),
        }
    }

    fn pod() -> PodIdentity {
        PodIdentity {
            uid: "uid".to_owned(),
            ..PodIdentity::default()
        }
    }

    fn empty(memory: bool, fs_group: Option<u32>) -> Volume {
        Volume {
            name: "work".to_owned(),
            content: VolumeContent::EmptyDir {
                memory,
                size_limit: None,
            },
            fs_group,
        }
    }

    fn mode(path: &Path) -> u32 {
        let found = fs::metadata(path).expect("it is there");
        found.permissions().mode() & 0o7777
    }

    #[test]
    fn what_was_in_memory_is_made_anew_after_a_restart_of_the_machine() {
        if !Path::new(SHARED_MEMORY).is_dir() {
            eprintln!("skipped: no {SHARED_MEMORY} here");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path());
        store.write(&pod(), &empty(true, None)).expect("a volume");
        let real = store.source("uid", "work", None).expect("a path");
        fs::write(real.join("kept"), "").expect("a file");
        store.write(&pod(), &empty(true, None)).expect("it is there");
        assert!(real.join("kept").exists());
        fs::remove_dir_all(&store.memory).expect("the memory is lost");
        store.write(&pod(), &empty(true, None)).expect("a volume");
        assert_eq!(store.source("uid", "work", None).expect("a path"), real);
        assert_eq!((mode(&store.memory), mode(&real)), (0o700, 0o777));
        assert!(!real.join("kept").exists());
    }

    #[test]
    fn a_folder_in_memory_that_is_not_ours_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::create_dir(&real).expect("a folder");
        symlink(&real, &link).expect("a link");
        assert!(make_private(&link).is_err(), "a link may lead anywhere");
        fs::set_permissions(&real, Permissions::from_mode(0o777)).expect("its permission bits");
        make_private(&real).expect("our own");
        assert_eq!(mode(&real), 0o700);
    }

    #[test]
    fn an_empty_folder_belongs_to_the_group_of_the_pod() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path());
        // Whoever runs the tests may give files to its own group.
        let group = fs::metadata(folder.path()).expect("a folder").gid();
        store.write(&pod(), &empty(false, Some(group))).expect("a volume");
        let real = store.source("uid", "work", None).expect("a path");
        assert_eq!(mode(&real), 0o2777);
        let below = store.source("uid", "work", Some("a/b")).expect("a path");
        assert_eq!(mode(&below), 0o2777);
    }

    #[test]
    fn the_end_of_the_last_words_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path());
        let path = store.make_message_file("uid", "web", 0).expect("a file");
        fs::write(path, format!("{}the end", "x".repeat(5000))).expect("last words");
        let message = store.message("uid", "web", 0);
        assert_eq!(message.len(), 4096);
        assert!(message.ends_with("the end"));
        assert_eq!(store.message("uid", "web", 1), "");
    }
}
