//! Paths within a volume, in which containers may have put links that lead elsewhere.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;

/// The permission bits of the volume that folders made in it get, too. Source: `doSafeMakeDir` of Kubernetes' subpath
/// package.
const INHERITED: u32 = 0o2777;

/// The real path of `sub_path` in the volume `root`, which is a real path itself. Folders that are absent are made with
/// the permission bits of the volume: who may write there may write here. Fails before anything outside is made.
pub(super) fn resolve(root: &Path, sub_path: &str) -> io::Result<PathBuf> {
    let leads_out = || io::Error::other(format!("the path {sub_path:?} leads out of the volume"));
    let mut path = root.to_owned();
    for part in Path::new(sub_path).components() {
        match part {
            Component::CurDir => continue,
            Component::Normal(part) => path.push(part),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(leads_out()),
        }
        if path.symlink_metadata().is_err() {
            make(&path, root)?;
        }
        path = fs::canonicalize(&path)?;
        if !path.starts_with(root) {
            return Err(leads_out());
        }
    }
    Ok(path)
}

/// Makes the folder `path` of the volume `root`.
fn make(path: &Path, root: &Path) -> io::Result<()> {
    let mode = fs::metadata(root)?.permissions().mode() & INHERITED;
    fs::create_dir(path)?;
    // A container may have put a link in its place by now, and that is not to be opened for all. The group comes from
    // the folder above where that hands it down.
    let flags = OFlags::NOFOLLOW | OFlags::DIRECTORY;
    let folder = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    folder.set_permissions(Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::give;
    use super::*;

    struct Volume {
        folder: tempfile::TempDir,
        root: PathBuf,
    }

    fn volume() -> Volume {
        let folder = tempfile::tempdir().expect("a folder");
        let root = fs::canonicalize(folder.path()).expect("a path").join("volume");
        fs::create_dir(&root).expect("a volume");
        give(&root, 0o2777, None).expect("its permission bits");
        Volume { folder, root }
    }

    #[test]
    fn folders_that_are_absent_are_as_open_as_their_volume() {
        let volume = volume();
        let made = resolve(&volume.root, "./a/b").expect("a path");
        assert_eq!(made, volume.root.join("a/b"));
        for path in [volume.root.join("a"), made] {
            let mode = fs::metadata(&path).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o7777, 0o2777, "{}", path.display());
        }
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_refused_before_anything_is_made_there() {
        let volume = volume();
        let elsewhere = volume.folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).expect("another folder");
        symlink(&elsewhere, volume.root.join("out")).expect("a link");
        symlink("inside", volume.root.join("in")).expect("a link");
        for path in ["out", "out/new", "../elsewhere", "/etc"] {
            assert!(resolve(&volume.root, path).is_err(), "{path}");
        }
        assert!(!elsewhere.join("new").exists());
        // It leads to nothing yet, and is not what makes it.
        assert!(resolve(&volume.root, "in").is_err());
        fs::create_dir(volume.root.join("inside")).expect("a folder");
        let inside = resolve(&volume.root, "in/new").expect("a path");
        assert_eq!(inside, volume.root.join("inside/new"));
    }
}
