//! Which process runs the cluster: it holds a lock on a file with its process id, so that a dead one is never taken for
//! a living one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::process::Pid;

/// The lock, held until dropped.
pub struct Held(#[allow(dead_code, reason = "the lock lives as long as the file is open")] File);

/// Takes the lock for this process; `None` when another one holds it.
pub fn take(path: &Path) -> io::Result<Option<Held>> {
    let mut file = open(path)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())?;
            Ok(Some(Held(file)))
        }
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The process that holds the lock; `None` when none does.
pub fn holder(path: &Path) -> io::Result<Option<Pid>> {
    if !path.exists() {
        return Ok(None);
    }
    let mut file = open(path)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            // Between taking the lock and writing the number there is a moment without one.
            Ok(text.trim().parse().ok().and_then(Pid::from_raw))
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_and_freed_by_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pid");
        assert_eq!(holder(&path).expect("readable"), None);
        let held = take(&path).expect("writable").expect("free");
        assert!(take(&path).expect("writable").is_none());
        assert_eq!(
            holder(&path)
                .expect("readable")
                .map(|pid| pid.as_raw_nonzero().get() as u32),
            Some(std::process::id())
        );
        drop(held);
        assert_eq!(holder(&path).expect("readable"), None);
    }
}
