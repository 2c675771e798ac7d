//! Facts about this machine that a node tells of itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What the node has: `cpu`, `memory`, `pods`, `ephemeral-storage`, as quantities. The last is the size of the disk that
/// pods write to at `data`, and left out where that is not told.
pub fn capacity(data: &Path) -> BTreeMap<String, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .trim()
                .parse::<u64>()
                .ok()
        })
        .unwrap_or(1 << 20);
    let mut capacity = BTreeMap::from([
        ("cpu".to_owned(), cores.to_string()),
        ("memory".to_owned(), format!("{kibibytes}Ki")),
        ("pods".to_owned(), "110".to_owned()),
    ]);
    if let Ok(disk) = rustix::fs::statvfs(data) {
        let kibibytes = disk.f_frsize.saturating_mul(disk.f_blocks) / 1024;
        capacity.insert("ephemeral-storage".to_owned(), format!("{kibibytes}Ki"));
    }
    capacity
}

/// The kernel's release, for example `6.1.0-18-amd64`.
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The system's name for people, for example `Debian GNU/Linux 12 (bookworm)`.
pub fn os_image() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    pretty.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

/// The processor in Go's words.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The id of this machine; empty when it has none.
pub fn machine_id() -> String {
    fs::read_to_string("/etc/machine-id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// The id of this boot.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// The host's name.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_says_how_large_its_disk_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = capacity(folder.path());
        let size = told["ephemeral-storage"].strip_suffix("Ki").map(str::parse::<u64>);
        assert!(matches!(size, Some(Ok(1..))), "{size:?}");
        assert_eq!(capacity(&folder.path().join("none")).get("ephemeral-storage"), None);
    }
}
