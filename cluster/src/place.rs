//! Where a cluster keeps its things, and what they are called on this machine.

use std::fs;
use std::io;
use std::iter;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The cluster's name: of its kubeconfig context, its node, its Docker network and labels.
pub const NAME: &str = "orrery";
/// The bridge that pods hang on.
pub const BRIDGE: &str = "orrery0";
/// The addresses of pods; the first is the node's own.
pub const POD_SUBNET: &str = "10.244.0.0/24";
/// The node's address: that of the bridge.
pub const NODE_ADDRESS: &str = "10.244.0.1";

/// The folder of a cluster. `ORRERY_HOME`, else `~/.orrery`.
#[derive(Debug, Clone)]
pub struct Place(PathBuf);

impl Place {
    /// The place that the environment names; `None` when there is no home folder.
    pub fn of_environment() -> Option<Self> {
        let own = std::env::var_os("ORRERY_HOME")
            .filter(|value| !value.is_empty())
            .map(PathBuf::from);
        own.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".orrery")))
            .and_then(Place::named)
    }

    /// The place that a user names, seen from the folder that this process is in: the background process is in another.
    fn named(folder: PathBuf) -> Option<Self> {
        std::path::absolute(folder).ok().map(Place)
    }

    /// The place whose volumes are in `folder`.
    pub fn of_volumes(folder: &Path) -> Option<Self> {
        folder.parent().map(Place::new)
    }

    /// A cluster in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Place(folder.into())
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The store's folder.
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    /// The content of volumes.
    pub fn volumes(&self) -> PathBuf {
        self.0.join("volumes")
    }

    /// What the background process says.
    pub fn log(&self) -> PathBuf {
        self.0.join("orrery.log")
    }

    /// Held by the background process while it lives; holds its process id.
    pub fn lock(&self) -> PathBuf {
        self.0.join("orrery.pid")
    }

    /// The authority's certificate.
    pub fn authority_certificate(&self) -> PathBuf {
        self.0.join("pki").join("ca.crt")
    }

    /// The authority's key.
    pub fn authority_key(&self) -> PathBuf {
        self.0.join("pki").join("ca.key")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.0.join("admin.conf")
    }

    /// Whether a cluster was ever made here. Where we may not look there may be one.
    pub fn exists(&self) -> bool {
        self.authority_key().try_exists().unwrap_or(true)
    }

    /// Whether anything of a cluster is here: what [`make`](Self::make) makes, or what a removal that was cut off has
    /// left. One folder that is called as one of ours may be anybody's.
    pub fn is_used(&self) -> bool {
        self.lock().exists() || self.folders().iter().all(|folder| folder.exists())
    }

    /// Whether both are the same folder, whatever links lead there.
    pub fn is(&self, other: &Place) -> bool {
        let real = |place: &Place| fs::canonicalize(&place.0).ok();
        self.0 == other.0 || real(self).is_some_and(|own| Some(own) == real(other))
    }

    /// Makes the folders, for their owner only.
    pub fn make(&self) -> io::Result<()> {
        for folder in iter::once(self.0.clone()).chain(self.folders()) {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(|error| io::Error::new(error.kind(), format!("cannot make {}: {error}", folder.display())))?;
        }
        fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700))
    }

    /// Removes what a cluster has here, and the folder if nothing else is in it.
    pub fn remove(&self) -> io::Result<()> {
        for folder in self.folders() {
            gone(&folder, fs::remove_dir_all(&folder))?;
        }
        // The lock goes last: until then this can be gone on with.
        for file in [self.kubeconfig(), self.log(), self.lock()] {
            gone(&file, fs::remove_file(&file))?;
        }
        // What somebody else has something in, a link and a mount stay.
        let _ = fs::remove_dir(&self.0);
        Ok(())
    }

    /// The folders within, the one last that says that there is a cluster.
    fn folders(&self) -> [PathBuf; 3] {
        [self.store(), self.volumes(), self.0.join("pki")]
    }
}

/// What was not there is as good as removed.
fn gone(path: &Path, removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        kind => Err(io::Error::new(
            kind,
            format!("cannot remove {}: {error}", path.display()),
        )),
    })
}

/// A folder among the temporary files, for its owner only. It goes when this is dropped, unless it is kept.
#[derive(Debug)]
pub struct TemporaryFolder {
    path: PathBuf,
    kept: AtomicBool,
}

impl TemporaryFolder {
    /// A new one whose name begins with `name`: nobody made it before.
    pub fn new(name: &str) -> io::Result<Self> {
        let process = std::process::id();
        let mut number = 0;
        loop {
            let path = std::env::temp_dir().join(format!("{name}-{process}-{number}"));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    return Ok(TemporaryFolder {
                        path,
                        kept: AtomicBool::new(false),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => {
                    let why = format!("cannot make {}: {error}", path.display());
                    return Err(io::Error::new(error.kind(), why));
                }
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets it stay.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed) {
            // Nobody is left to be told.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Writes a file for its owner only: whole, or not at all.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    write_like(None, path, content)
}

/// Writes a file anew, whole or not at all: it stays its owner's and its group's, with its mode. One that was not there
/// is for its owner only.
pub fn rewrite(path: &Path, content: &[u8]) -> io::Result<()> {
    write_like(fs::metadata(path).ok().as_ref(), path, content)
}

fn write_like(old: Option<&fs::Metadata>, path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let draft = path.with_extension(format!("new{}", std::process::id()));
    // One that a process of this number left behind; what is there then is nobody's to be followed or given away.
    let _ = fs::remove_file(&draft);
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(content)?;
        // Who may not give it away keeps it to themselves.
        if let Some(old) = old
            && fchown(&file, Some(old.uid()), Some(old.gid())).is_ok()
        {
            file.set_permissions(old.permissions())?;
        }
        file.sync_all()?;
        fs::rename(&draft, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written.map_err(|error| io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_where_the_draft_goes_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join("config"), folder.path().join("other"));
        fs::write(&other, "other").expect("a file");
        let draft = path.with_extension(format!("new{}", std::process::id()));
        std::os::unix::fs::symlink(&other, &draft).expect("a link");
        rewrite(&path, b"new").expect("it is written");
        assert_eq!(fs::read(&path).expect("it is there"), b"new");
        assert_eq!(fs::read(&other).expect("it is there"), b"other");
    }

    #[test]
    fn a_temporary_folder_is_new_and_goes_unless_it_is_kept() {
        let one = TemporaryFolder::new("orrery-test").expect("a folder");
        let other = TemporaryFolder::new("orrery-test").expect("another folder");
        assert_ne!(one.path(), other.path());
        let (gone, kept) = (one.path().to_owned(), other.path().to_owned());
        other.keep();
        drop((one, other));
        assert!(!gone.exists() && kept.exists());
        fs::remove_dir(kept).expect("removed");
    }

    #[test]
    fn a_place_is_the_same_for_a_process_in_another_folder() {
        let place = Place::named(PathBuf::from("clusters/one")).expect("this process is in some folder");
        assert!(place.folder().is_absolute(), "{place:?}");
        assert!(place.folder().ends_with("clusters/one"), "{place:?}");
    }

    #[test]
    fn only_what_a_cluster_has_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::new(folder.path().join("home"));
        let foreign = place.folder().join("notes");
        fs::create_dir_all(place.volumes()).expect("writable");
        assert!(!place.is_used(), "that may be anybody's");
        place.make().expect("writable");
        assert!(place.is_used());
        let files = [
            place.authority_key(),
            place.lock(),
            place.log(),
            place.kubeconfig(),
            place.store().join("log"),
            foreign.clone(),
        ];
        for file in files {
            fs::write(file, "").expect("writable");
        }
        place.remove().expect("removed");
        assert!(!place.is_used());
        let left = fs::read_dir(place.folder()).expect("it stays").flatten();
        assert_eq!(
            left.map(|entry| entry.path()).collect::<Vec<_>>(),
            std::slice::from_ref(&foreign)
        );
        fs::remove_file(foreign).expect("removed");
        place.remove().expect("it may be gone already");
        assert!(!place.folder().exists());
    }
}
