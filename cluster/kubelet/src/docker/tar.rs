//! A tar archive of a few files: all that making an image needs. Source: POSIX.1-1988, ustar.

/// The size of a block.
const BLOCK: usize = 512;

/// An archive of `files`: path, content, permission bits. Paths are at most 100 bytes long.
pub(super) fn archive(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (path, content, mode) in files {
        archive.extend_from_slice(&header(path, content.len(), *mode));
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    // Two empty blocks are the end.
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

fn header(path: &str, size: usize, mode: u32) -> [u8; BLOCK] {
    let mut block = [0u8; BLOCK];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, &path[..path.len().min(100)]);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    // The checksum is taken with its own field blank.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let text = format!("{sum:06o}\0 ");
    block[148..156].copy_from_slice(text.as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_whole_blocks_with_valid_sums() {
        let archive = archive(&[("pause", b"x", 0o755), ("etc/a", &[0; 512], 0o644)]);
        assert_eq!(archive.len(), BLOCK * (2 + 2 + 2));
        let stored = std::str::from_utf8(&archive[148..154]).expect("octal digits");
        let mut blank = archive[..BLOCK].to_vec();
        blank[148..156].fill(b' ');
        let sum: u32 = blank.iter().map(|byte| u32::from(*byte)).sum();
        assert_eq!(u32::from_str_radix(stored, 8), Ok(sum));
    }
}
