//! Where a command writes what it made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// So many symbolic links the kernel follows.
const LINKS: usize = 40;

/// Where a command writes what it made, as a path on its command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `-`: standard output.
    Output,
    /// What is no regular file, such as a device or a pipe: it takes what is written to it, and stays what it is.
    Through(PathBuf),
    /// A file, or nothing yet. Of a symbolic link it is what that leads to.
    File(PathBuf),
}

impl Place {
    /// The place that a path names.
    pub fn of(path: &str) -> Self {
        // Both are one; and a file that is standard output already would be lost when another took its place.
        if path == "-" || path == "/dev/stdout" {
            return Place::Output;
        }
        let path = Path::new(path);
        match fs::metadata(path) {
            Ok(about) if !about.is_file() => Place::Through(path.to_owned()),
            _ => Place::File(target(path)),
        }
    }

    /// Whether something can be written there, as far as that shows without doing so; leaves nothing.
    ///
    /// # Errors
    /// It cannot.
    pub fn can_be_written(&self) -> io::Result<()> {
        match self {
            Place::Output => Ok(()),
            Place::Through(path) if path.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            // Who reads from a pipe would take this for the end.
            Place::Through(_) => Ok(()),
            Place::File(path) => {
                let new = beside(path);
                fs::write(&new, "").and_then(|()| fs::remove_file(&new))
            }
        }
    }

    /// Writes a text there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&self, text: &str) -> io::Result<()> {
        match self {
            Place::Output => {
                print!("{text}");
                Ok(())
            }
            Place::Through(path) | Place::File(path) => fs::write(path, text),
        }
    }

    /// Writes a text there; to a file wholly or not at all.
    ///
    /// # Errors
    /// As of [`Place::put`].
    pub fn exchange(&self, text: &str) -> io::Result<()> {
        let Place::File(path) = self else {
            return self.put(text);
        };
        let new = beside(path);
        let as_before = || match fs::metadata(path) {
            Ok(about) => fs::set_permissions(&new, about.permissions()),
            Err(_) => Ok(()),
        };
        fs::write(&new, text)
            .and_then(|()| as_before())
            .and_then(|()| fs::rename(&new, path))
            .inspect_err(|_| {
                // It may not have come to be.
                let _ = fs::remove_file(&new);
            })
    }
}

/// Where a path leads over all symbolic links, though there may be nothing yet.
fn target(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let Ok(next) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(next);
    }
    path
}

/// A file of this process' own beside `path`, which takes its place when it is whole.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    use std::process::Command;

    use super::*;

    fn place(path: &Path) -> Place {
        Place::of(path.to_str().expect("a path of text"))
    }

    #[test]
    fn a_link_stays_a_link_and_its_file_is_exchanged_whole() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (file, link, other) = (
            folder.path().join("file"),
            folder.path().join("link"),
            folder.path().join("other"),
        );
        symlink("file", &link).expect("a link can be made");
        symlink(&link, &other).expect("a link can be made");
        place(&other).exchange("one").expect("nothing was there");
        assert_eq!(fs::read_to_string(&file).expect("a file"), "one");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
        place(&link).can_be_written().expect("it can");
        place(&link).exchange("two").expect("a file was there");
        assert_eq!(fs::read_to_string(&file).expect("a file"), "two");
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        assert!(link.is_symlink() && other.is_symlink() && !file.is_symlink());
        assert_eq!(
            fs::read_dir(folder.path()).expect("a folder").count(),
            3,
            "nothing is left beside"
        );
    }

    #[test]
    fn a_pipe_stays_a_pipe_and_gets_all() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let pipe = folder.path().join("pipe");
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .expect("there is mkfifo")
                .success()
        );
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe)
        });
        place(&pipe).can_be_written().expect("it can");
        place(&pipe).exchange("all").expect("somebody reads");
        assert!(fs::metadata(&pipe).expect("it is there").file_type().is_fifo());
        assert_eq!(reader.join().expect("a reader").expect("a text"), "all");
    }

    #[test]
    fn a_folder_is_no_place() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        assert!(place(folder.path()).can_be_written().is_err());
        assert!(place(&folder.path().join("nowhere/file")).can_be_written().is_err());
        assert_eq!(Place::of("-"), Place::Output);
    }
}
