//! Where a cluster keeps its things, and what they are called on this machine.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
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
            .map(Place)
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

    /// Whether a cluster was ever made here.
    pub fn exists(&self) -> bool {
        self.authority_key().exists()
    }

    /// Makes the folders, for their owner only.
    pub fn make(&self) -> io::Result<()> {
        for folder in [self.0.clone(), self.0.join("pki"), self.store(), self.volumes()] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(|error| io::Error::new(error.kind(), format!("cannot make {}: {error}", folder.display())))?;
        }
        fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700))
    }
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
    use std::io::Write as _;
    let draft = path.with_extension(format!("new{}", std::process::id()));
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(content)?;
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
}
