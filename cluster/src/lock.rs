//! Which process runs the cluster: it holds a lock on a file with its process id, so that a dead one is never taken for
//! a living one. The machine's own lock ([`crate::room`]) is of the same make.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::Pid;

/// The lock, held until dropped.
pub struct Held(#[allow(dead_code, reason = "the lock lives as long as the file is open")] File);

/// Takes the lock for this process; `None` when another one holds it.
pub fn take(path: &Path) -> io::Result<Option<Held>> {
    Ok(take_as(path, &std::process::id().to_string())?.ok())
}

/// Takes the lock and writes `name` into its file; the name of its holder when another one holds it. The name is empty
/// for a moment, until a new holder has written it.
pub fn take_as(path: &Path, name: &str) -> io::Result<Result<Held, String>> {
    let mut file = open(path)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{name}")?;
            Ok(Ok(Held(file)))
        }
        Err(TryLockError::WouldBlock) => Ok(Err(name_in(file)?)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The process that holds the lock; `None` when none does.
pub fn holder(path: &Path) -> io::Result<Option<Pid>> {
    if !path.exists() {
        return Ok(None);
    }
    let file = open(path)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
        // Between taking the lock and writing the number there is a moment without one.
        Err(TryLockError::WouldBlock) => Ok(name_in(file)?.parse().ok().and_then(Pid::from_raw)),
    }
}

/// The name that whoever took the lock last wrote into its file; empty if nobody did.
pub fn name(path: &Path) -> io::Result<String> {
    name_in(OpenOptions::new().read(true).custom_flags(not_elsewhere()).open(path)?)
}

fn name_in(mut file: File) -> io::Result<String> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(not_elsewhere())
        .open(path)
}

/// Where everybody may make files, nobody shall lead us to another one, or let us wait at a pipe.
fn not_elsewhere() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
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

    #[test]
    fn who_comes_too_late_is_told_who_holds_a_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        let held = take_as(&path, "one with a long name").expect("writable").expect("free");
        assert_eq!(
            take_as(&path, "other").expect("writable").err().as_deref(),
            Some("one with a long name")
        );
        drop(held);
        let _held = take_as(&path, "other").expect("writable").expect("free");
        assert_eq!(
            take_as(&path, "third").expect("writable").err().as_deref(),
            Some("other")
        );
    }

    #[test]
    fn a_link_is_no_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, precious) = (folder.path().join("lock"), folder.path().join("precious"));
        std::fs::write(&precious, "kept").expect("writable");
        std::os::unix::fs::symlink(&precious, &path).expect("linked");
        assert!(take(&path).is_err());
        assert_eq!(std::fs::read_to_string(&precious).expect("there"), "kept");
    }
}
