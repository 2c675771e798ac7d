//! The seam to the disk: what a store needs of it, in both worlds.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;

/// A flat folder of append-only files.
///
/// A store uses its disk alone and one operation at a time. What a disk must promise:
///
/// * [`append`](Self::append), [`truncate`](Self::truncate) are durable after a successful [`sync`](Self::sync) of the
///   file, and not before. Between them, a crash may keep any part of what was written: appended sectors that are
///   lost read as zeros, or the file ends before them.
/// * [`rename`](Self::rename) is atomic, replaces its target, and is durable when it returns; so is everything done
///   to the folder before it.
/// * The name of a file that [`append`](Self::append) made, and a [`remove`](Self::remove), may be forgotten in a
///   crash.
#[async_trait]
pub trait Disk: Send + Sync {
    /// The names of all files, in any order.
    async fn list(&self) -> io::Result<Vec<String>>;

    /// The whole content of a file, also what is not yet durable.
    async fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Adds `data` at the end of the file, which is created when absent.
    async fn append(&self, name: &str, data: Bytes) -> io::Result<()>;

    /// Makes the file's content durable.
    async fn sync(&self, name: &str) -> io::Result<()>;

    /// Cuts the file to `length` bytes.
    async fn truncate(&self, name: &str, length: u64) -> io::Result<()>;

    /// Gives the file another name, replacing any file of that name.
    async fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    async fn remove(&self, name: &str) -> io::Result<()>;

    /// Adds `data` and makes it durable. A disk may override this to do both at once.
    async fn append_and_sync(&self, name: &str, data: Bytes) -> io::Result<()> {
        self.append(name, data).await?;
        self.sync(name).await
    }
}
