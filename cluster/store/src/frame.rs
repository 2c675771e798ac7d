//! The outer format of the store's files: a header, then frames. Pure functions on bytes.
//!
//! Both kinds of files, logs and snapshots, are a 32-byte header followed by frames, all numbers little-endian:
//!
//! ```text
//! header   magic 8 | format 4 | first 8 | second 8 | crc32 of these 4
//! frame    magic 4 | number 8 | body length 4 | crc32 of body 4 | crc32 of offset and these 4 | body | end byte
//! ```
//!
//! # A torn tail, or damage?
//!
//! A log's frame is one *batch*: the transactions that were appended at once and made durable by one sync. Batches are
//! numbered without gaps, batch n+1 is only written once batch n is durable, and nobody is told of a batch before it
//! is. So a crash can only hurt the last batch, of which nothing was acknowledged, and a bad frame may be cut off
//! exactly if it is that one. [`judge_tail`] tells so from what a crash can do to an append: sectors of 512 bytes are
//! there or are not, and those that are not read as zeros or lie behind the end of the file.
//!
//! * A frame header anywhere behind the bad frame: a later batch was written, so this one was acknowledged. Damage.
//! * The frame reaches beyond the end of the file, or a sector's share of it is all zeros: torn. (Every such share of a
//!   sound frame has a byte that is not zero, as the magic and the end byte are not, unless a value has 512 zeros.)
//! * Otherwise all of it was written, and then something else happened to it. Damage. (etcd's log judges alike.)
//!
//! Frames' checksums cover their place in the file, so that a value which holds a copy of a log is not taken for one.
//!
//! Not detected: a disk that acknowledges a sync and then forgets whole sectors of the last batch, or cuts the file at
//! a frame's end; and damage to a last batch which has 512 aligned zero bytes of its own. Such a batch is dropped.

use crate::error::OpenError;
use crate::transaction::Revision;

/// The format that is written, and the only one read.
pub(crate) const FORMAT: u32 = 1;
/// Size of a file's header.
pub(crate) const HEADER_LENGTH: usize = 32;

const HEAD: usize = 24;
const MAGIC: [u8; 4] = *b"\xF5orr";
const END: u8 = 0xE7;
const SECTOR: usize = 512;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// `first`: the revision of its first transaction; `second`: the number of its first batch.
    Log,
    /// `first`: the revision of its state; `second`: the next lease's id.
    Snapshot,
}

impl FileKind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            FileKind::Log => b"orrylog\n",
            FileKind::Snapshot => b"orrysnp\n",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            FileKind::Log => "log-",
            FileKind::Snapshot => "snapshot-",
        }
    }

    /// The name of the file that begins at `revision`. Names sort as revisions do.
    pub(crate) fn file_name(self, revision: Revision) -> String {
        format!("{}{revision:020}", self.prefix())
    }

    /// The revision in a file's name, if it is a name of this kind.
    pub(crate) fn revision_of(self, name: &str) -> Option<Revision> {
        let digits = name.strip_prefix(self.prefix())?;
        (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
            .then(|| digits.parse().ok())
            .flatten()
    }
}

/// The beginning of a file; see [`FileKind`] for its two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub kind: FileKind,
    pub first: u64,
    pub second: u64,
}

impl FileHeader {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LENGTH);
        out.extend_from_slice(self.kind.magic());
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.second.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out
    }

    /// Reads the header of `file`, which must be of `kind` and begin at the revision that its name says.
    pub(crate) fn decode(kind: FileKind, file: &str, bytes: &[u8]) -> Result<FileHeader, OpenError> {
        // A file gets its name only once its header is durable: no crash explains a bad one.
        let Some(header) = bytes.get(..HEADER_LENGTH) else {
            return Err(OpenError::damaged(
                file,
                bytes.len() as u64,
                "it ends within its header",
            ));
        };
        if &header[..8] != kind.magic() {
            return Err(OpenError::damaged(
                file,
                0,
                "it does not begin as a file of this kind does",
            ));
        }
        let found = u32_at(header, 8);
        if found != FORMAT {
            return Err(OpenError::Format {
                file: file.to_owned(),
                found,
                supported: FORMAT,
            });
        }
        if crc32fast::hash(&header[..HEADER_LENGTH - 4]) != u32_at(header, HEADER_LENGTH - 4) {
            return Err(OpenError::damaged(file, 0, "the header's checksum does not match"));
        }
        let header = FileHeader {
            kind,
            first: u64_at(header, 12),
            second: u64_at(header, 20),
        };
        if kind.revision_of(file) != Some(header.first) {
            return Err(OpenError::damaged(
                file,
                12,
                format!("its header says revision {}", header.first),
            ));
        }
        Ok(header)
    }
}

/// Room for a change of one object of the usual size, in bytes.
const USUAL_FRAME: usize = 2048;

/// A frame being written; the body is appended to [`body`](Self::body).
pub(crate) struct FrameWriter {
    buffer: Vec<u8>,
}

impl FrameWriter {
    pub(crate) fn new() -> FrameWriter {
        let mut buffer = Vec::with_capacity(USUAL_FRAME);
        buffer.resize(HEAD, 0);
        FrameWriter { buffer }
    }

    /// Where to append the body; what is there already must stay.
    pub(crate) fn body(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// The body's size so far.
    pub(crate) fn body_length(&self) -> usize {
        self.buffer.len() - HEAD
    }

    /// Drops what was appended to the body beyond `length`.
    pub(crate) fn cut_body(&mut self, length: usize) {
        self.buffer.truncate(HEAD + length);
    }

    /// The frame as it must be written at `offset` of its file.
    pub(crate) fn finish(mut self, number: u64, offset: u64) -> Vec<u8> {
        let (head, body) = self.buffer.split_at_mut(HEAD);
        let length = u32::try_from(body.len()).expect("bodies are far smaller than 4 GiB");
        head[..4].copy_from_slice(&MAGIC);
        head[4..12].copy_from_slice(&number.to_le_bytes());
        head[12..16].copy_from_slice(&length.to_le_bytes());
        head[16..20].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
        let checksum = head_checksum(&head[..20], offset);
        head[20..24].copy_from_slice(&checksum.to_le_bytes());
        self.buffer.push(END);
        self.buffer
    }
}

/// A sound frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub number: u64,
    pub body: &'a [u8],
    /// Where the next frame begins.
    pub end: usize,
}

struct Head {
    number: u64,
    body_length: usize,
    body_checksum: u32,
}

/// Reads the frame at `offset`; the error says what is wrong with it.
pub(crate) fn read_frame(file: &[u8], offset: usize) -> Result<Frame<'_>, &'static str> {
    let head = read_head(file, offset).ok_or("the frame's header is not sound")?;
    let start = offset + HEAD;
    let end = start + head.body_length;
    let body = file.get(start..end).ok_or("the file ends within the frame")?;
    if file.get(end) != Some(&END) {
        return Err("the frame's end byte is missing");
    }
    if crc32fast::hash(body) != head.body_checksum {
        return Err("the frame's checksum does not match");
    }
    Ok(Frame {
        number: head.number,
        body,
        end: end + 1,
    })
}

/// What a bad frame at the end of the last log means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// An append that a crash cut short; never acknowledged.
    Torn,
    /// Something that no crash does.
    Damaged,
}

/// Judges the bad frame at `offset` of the last log; see the module's text.
pub(crate) fn judge_tail(file: &[u8], offset: usize) -> Tail {
    let later = memchr_magic(file, offset + 1).any(|place| read_head(file, place).is_some());
    if later {
        return Tail::Damaged;
    }
    let end = match read_head(file, offset) {
        Some(head) => offset + HEAD + head.body_length + 1,
        None => file.len().max(offset + HEAD),
    };
    if end > file.len() || has_lost_sector(file, offset, end) {
        Tail::Torn
    } else {
        Tail::Damaged
    }
}

fn has_lost_sector(file: &[u8], mut start: usize, end: usize) -> bool {
    while start < end {
        let next = (start / SECTOR + 1) * SECTOR;
        let share = &file[start..next.min(end)];
        if share.iter().all(|&byte| byte == 0) {
            return true;
        }
        start = next;
    }
    false
}

fn read_head(file: &[u8], offset: usize) -> Option<Head> {
    let head = file.get(offset..offset.checked_add(HEAD)?)?;
    let sound = head[..4] == MAGIC && u32_at(head, 20) == head_checksum(&head[..20], offset as u64);
    sound.then(|| Head {
        number: u64_at(head, 4),
        body_length: u32_at(head, 12) as usize,
        body_checksum: u32_at(head, 16),
    })
}

fn head_checksum(head: &[u8], offset: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(head);
    hasher.finalize()
}

fn memchr_magic(file: &[u8], from: usize) -> impl Iterator<Item = usize> + '_ {
    let rest = file.get(from..).unwrap_or_default();
    rest.windows(MAGIC.len())
        .enumerate()
        .filter(|(_, window)| *window == MAGIC)
        .map(move |(i, _)| from + i)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(bodies: &[&[u8]]) -> Vec<u8> {
        let mut file = FileHeader {
            kind: FileKind::Log,
            first: 2,
            second: 1,
        }
        .encode();
        for (i, body) in bodies.iter().enumerate() {
            let mut frame = FrameWriter::new();
            frame.body().extend_from_slice(body);
            let frame = frame.finish(i as u64 + 1, file.len() as u64);
            file.extend_from_slice(&frame);
        }
        file
    }

    #[test]
    fn frames_are_read_as_they_were_written() {
        let file = file_of(&[b"one", b"", b"three"]);
        let first = read_frame(&file, HEADER_LENGTH).unwrap();
        assert_eq!((first.number, first.body), (1, &b"one"[..]));
        let second = read_frame(&file, first.end).unwrap();
        assert_eq!((second.number, second.body), (2, &b""[..]));
        let third = read_frame(&file, second.end).unwrap();
        assert_eq!((third.number, third.body, third.end), (3, &b"three"[..], file.len()));
    }

    #[test]
    fn a_header_of_another_format_is_named() {
        let mut file = file_of(&[]);
        let name = FileKind::Log.file_name(2);
        assert!(FileHeader::decode(FileKind::Log, &name, &file).is_ok());
        file[8] = 9;
        let error = FileHeader::decode(FileKind::Log, &name, &file).unwrap_err();
        assert!(error.to_string().contains("format 9"), "{error}");
        assert!(FileHeader::decode(FileKind::Snapshot, &name, &file).is_err());
        assert!(FileHeader::decode(FileKind::Log, &name, &file[..20]).is_err());
    }

    #[test]
    fn a_last_frame_that_is_cut_short_anywhere_is_torn() {
        let file = file_of(&[b"first", &[7; 2000]]);
        let second = read_frame(&file, HEADER_LENGTH).unwrap().end;
        for length in second + 1..file.len() {
            assert!(read_frame(&file[..length], second).is_err());
            assert_eq!(judge_tail(&file[..length], second), Tail::Torn, "cut at {length}");
        }
    }

    #[test]
    fn a_last_frame_with_lost_sectors_is_torn() {
        let file = file_of(&[b"first", &[7; 2000]]);
        let second = read_frame(&file, HEADER_LENGTH).unwrap().end;
        for sector in 0..file.len().div_ceil(SECTOR) {
            let mut torn = file.clone();
            let from = (sector * SECTOR).max(second);
            torn[from..((sector + 1) * SECTOR).min(file.len())].fill(0);
            assert_eq!(judge_tail(&torn, second), Tail::Torn, "sector {sector}");
        }
    }

    #[test]
    fn a_flipped_bit_in_a_complete_frame_is_damage() {
        let file = file_of(&[b"first", &[7; 700], b"last"]);
        let second = read_frame(&file, HEADER_LENGTH).unwrap().end;
        let third = read_frame(&file, second).unwrap().end;
        for (from, to) in [(second, third), (third, file.len())] {
            for byte in from..to {
                let mut bad = file.clone();
                bad[byte] ^= 0x10;
                assert!(read_frame(&bad, from).is_err(), "byte {byte}");
                assert_eq!(judge_tail(&bad, from), Tail::Damaged, "byte {byte}");
            }
        }
    }

    #[test]
    fn lost_sectors_before_a_later_frame_are_damage() {
        let mut file = file_of(&[&[7; 2000], b"later"]);
        file[512..1024].fill(0);
        assert_eq!(judge_tail(&file, HEADER_LENGTH), Tail::Damaged);
    }

    #[test]
    fn a_copy_of_a_log_within_a_value_is_not_taken_for_a_later_frame() {
        let inner = file_of(&[b"one", b"two"]);
        let file = file_of(&[&inner, b""]);
        let cut = &file[..HEADER_LENGTH + HEAD + inner.len()];
        assert_eq!(judge_tail(cut, HEADER_LENGTH), Tail::Torn);
    }
}
