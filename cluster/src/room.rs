//! The machine's room for a cluster. There is but one: bridge, packet rules, node, and what Docker has are called the
//! same in every cluster.
//!
//! Whoever runs a cluster, or takes one down, holds a lock of the machine's that names the cluster's folder. A cluster
//! that nobody runs still has the room as long as Docker has containers of it. Those of a cluster whose folder is gone
//! are nobody's: the next one removes them.

use std::collections::BTreeSet;
use std::iter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use orrery_kubelet::docker::DockerRuntime;
use rustix::fs::{Access, access};
use tokio::time::{Instant, sleep};

use crate::daemon::{Failure, fail};
use crate::lock::{self, Held};
use crate::place::{self, Place};

/// So long a process of the same cluster may still hold the lock: one that was killed lets go of it last.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause before a lock is tried again.
const PAUSE: Duration = Duration::from_millis(10);

/// Who has the room.
pub enum Room {
    /// The cluster that asked, until this is dropped.
    Ours(Held),
    /// Another one.
    Others(Place),
}

impl Room {
    /// The room; a failure that says how to make room when another cluster has it.
    pub fn ours(self) -> Result<Held, Failure> {
        match self {
            Room::Ours(held) => Ok(held),
            Room::Others(other) => {
                let folder = other.folder().display();
                Err(Failure(format!(
                    "the cluster in {folder} is on this machine, which can have but one; \
                     `ORRERY_HOME={folder} orrery delete` makes room"
                )))
            }
        }
    }
}

/// Takes the room for the cluster at `place`.
///
/// # Errors
/// The lock cannot be taken, another process is at work on this same cluster, or Docker does not answer.
pub async fn take(place: &Place) -> Result<Room, Failure> {
    let held = match take_lock(place, &path(), PATIENCE).await? {
        Room::Ours(held) => held,
        others => return Ok(others),
    };
    let data = DockerRuntime::data(place::NAME)
        .await
        .map_err(|error| Failure(error.to_string()))?;
    Ok(match other_of(place, &data) {
        Some(other) => Room::Others(other),
        None => Room::Ours(held),
    })
}

/// The cluster that runs on this machine, if it is another one than that at `place`.
pub fn other_that_runs(place: &Place) -> Option<Place> {
    // Who last took the lock; whether it still runs says its own.
    let name = lock::name(&path()).ok()?;
    if name.is_empty() {
        return None;
    }
    let other = Place::new(name);
    let runs = lock::holder(&other.lock()).ok()?.is_some();
    (runs && !other.is(place)).then_some(other)
}

/// Where the lock is: among the things that live as long as the system runs. Who may not write there has such a folder
/// of their own, or a file of their own among the temporary ones, and should have a Docker of their own: two users of
/// one Docker do not see each other's lock, but each other's containers.
fn path() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let folder = iter::once(PathBuf::from("/run"))
        .chain(own)
        .find(|folder| access(folder, Access::WRITE_OK).is_ok());
    match folder {
        Some(folder) => folder.join("orrery.lock"),
        None => std::env::temp_dir().join(format!("orrery-{}.lock", rustix::process::geteuid().as_raw())),
    }
}

async fn take_lock(place: &Place, path: &Path, patience: Duration) -> Result<Room, Failure> {
    let until = Instant::now() + patience;
    let name = place.folder().display().to_string();
    loop {
        let taken = lock::take_as(path, &name).map_err(fail(&format!("cannot lock {}", path.display())))?;
        let other = match taken {
            Ok(held) => return Ok(Room::Ours(held)),
            Err(holder) => Place::new(holder),
        };
        let is_known = !other.folder().as_os_str().is_empty();
        if is_known && !other.is(place) {
            return Ok(Room::Others(other));
        }
        if Instant::now() >= until {
            return Err(Failure("another process is at work on this cluster".to_owned()));
        }
        sleep(PAUSE).await;
    }
}

/// The other cluster that containers are of, by where their clusters keep volumes.
fn other_of(place: &Place, data: &BTreeSet<PathBuf>) -> Option<Place> {
    data.iter()
        .filter_map(|volumes| Place::of_volumes(volumes))
        .find(|other| other.exists() && !other.is(place))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A folder with a cluster in it.
    fn made(folder: &Path) -> Place {
        let place = Place::new(folder);
        place.make().expect("writable");
        fs::write(place.authority_key(), "").expect("writable");
        place
    }

    #[tokio::test]
    async fn one_cluster_has_the_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("orrery.lock");
        let (one, other) = (Place::new("/home/one"), Place::new("/home/other"));
        let none = Duration::ZERO;
        let held = take_lock(&one, &path, none).await.expect("free").ours().expect("free");
        let refused = take_lock(&other, &path, none).await.expect("an answer").ours();
        let why = refused.err().expect("one has it").to_string();
        assert!(why.contains("ORRERY_HOME=/home/one orrery delete"), "{why}");
        // Deleting itself is no advice.
        let same = take_lock(&one, &path, none).await.err().expect("its own has it");
        assert!(!same.to_string().contains("delete"), "{same}");
        drop(held);
        let taken = take_lock(&other, &path, none).await.expect("free");
        assert!(matches!(taken, Room::Ours(_)));
    }

    #[tokio::test]
    async fn a_process_of_the_same_cluster_that_ends_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("orrery.lock");
        let place = Place::new("/home/one");
        let held = take_lock(&place, &path, PATIENCE).await.expect("free");
        let end = async {
            sleep(3 * PAUSE).await;
            drop(held);
        };
        let (again, ()) = tokio::join!(take_lock(&place, &path, PATIENCE), end);
        assert!(matches!(again.expect("free in the end"), Room::Ours(_)));
    }

    #[test]
    fn containers_are_of_a_cluster_as_long_as_that_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let [own, other] = ["own", "other"].map(|name| made(&folder.path().join(name)));
        let gone = folder.path().join("gone/volumes");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(own.folder(), &link).expect("linked");
        let data = BTreeSet::from([own.volumes(), gone, link.join("volumes")]);
        assert!(other_of(&own, &data).is_none());
        let found = other_of(&own, &BTreeSet::from([own.volumes(), other.volumes()]));
        assert_eq!(found.as_ref().map(Place::folder), Some(other.folder()));
    }
}
