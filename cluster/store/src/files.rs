//! The real disk: a folder of files. Not in the simulator, which has a disk of its own.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the real half of the Disk trait"
)]

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::disk::Disk;
use crate::error::OpenError;

const LOCK: &str = "lock";

/// A [`Disk`] on a folder, which it locks against other processes as long as it (or an operation of it) lives.
pub struct FileDisk {
    folder: Arc<Folder>,
}

struct Folder {
    path: PathBuf,
    /// Files being appended to, kept open.
    open: Mutex<BTreeMap<String, Arc<File>>>,
    /// Holds the lock.
    _lock: File,
}

impl FileDisk {
    /// Opens the folder; makes it, for this user only, if it is missing.
    ///
    /// # Errors
    ///
    /// [`OpenError::Locked`] if another store has it open, [`OpenError::Io`] if it cannot be used.
    pub fn open(folder: impl AsRef<Path>) -> Result<FileDisk, OpenError> {
        let path = folder.as_ref().to_path_buf();
        let failed = |operation, path: &Path| {
            let file = path.display().to_string();
            move |source| OpenError::Io {
                operation,
                file,
                source,
            }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(failed("create", &path))?;
        let name = path.join(LOCK);
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).mode(0o600).open(&name);
        let lock = lock.map_err(failed("open", &name))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { folder: path }),
            Err(TryLockError::Error(source)) => return Err(failed("lock", &name)(source)),
        }
        Ok(FileDisk {
            folder: Arc::new(Folder {
                path,
                open: Mutex::default(),
                _lock: lock,
            }),
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || work(&folder))
            .await
            .map_err(io::Error::other)?
    }
}

impl Folder {
    /// The file, open for appending.
    fn file(&self, name: &str) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(name) {
            return Ok(file.clone());
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.path.join(name))?;
        let file = Arc::new(file);
        open.insert(name.to_owned(), file.clone());
        Ok(file)
    }

    fn forget(&self, name: &str) -> Option<Arc<File>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // The store's own names are all text; others are none of its business.
            names.extend(entry?.file_name().into_string().ok().filter(|name| name != LOCK));
        }
        Ok(names)
    }

    fn append(&self, name: &str, data: &[u8]) -> io::Result<()> {
        self.file(name)?.as_ref().write_all(data)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))?;
        let file = self.forget(from);
        self.forget(to);
        if let Some(file) = file {
            self.open
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(to.to_owned(), file);
        }
        File::open(&self.path)?.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.forget(name);
        fs::remove_file(self.path.join(name))
    }
}

#[async_trait]
impl Disk for FileDisk {
    async fn list(&self) -> io::Result<Vec<String>> {
        self.run(Folder::list).await
    }

    async fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let name = name.to_owned();
        self.run(move |folder| fs::read(folder.path.join(name))).await
    }

    async fn append(&self, name: &str, data: Bytes) -> io::Result<()> {
        let name = name.to_owned();
        self.run(move |folder| folder.append(&name, &data)).await
    }

    async fn sync(&self, name: &str) -> io::Result<()> {
        let name = name.to_owned();
        self.run(move |folder| folder.file(&name)?.sync_data()).await
    }

    async fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        let name = name.to_owned();
        self.run(move |folder| folder.file(&name)?.set_len(length)).await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.run(move |folder| folder.rename(&from, &to)).await
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        let name = name.to_owned();
        self.run(move |folder| folder.remove(&name)).await
    }

    async fn append_and_sync(&self, name: &str, data: Bytes) -> io::Result<()> {
        let name = name.to_owned();
        self.run(move |folder| {
            folder.append(&name, &data)?;
            folder.file(&name)?.sync_data()
        })
        .await
    }
}
