//! Protobuf's encoding: tags, numbers, and lengths.

use super::Error;

/// A field's number, and how its value is encoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag {
    pub number: u32,
    pub wire_type: u8,
}

pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// Reads fields from bytes, never past their end.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field's tag; none at the end.
    pub(super) fn tag(&mut self) -> Result<Option<Tag>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3)
            .ok()
            .filter(|number| *number != 0)
            .ok_or(Error::Tag(key))?;
        Ok(Some(Tag {
            number,
            wire_type: (key & 7) as u8,
        }))
    }

    pub(super) fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0;
        for (index, &byte) in self.rest.iter().enumerate().take(10) {
            if index == 9 && byte > 1 {
                return Err(Error::Overflow);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 {
            Error::Truncated
        } else {
            Error::Overflow
        })
    }

    pub(super) fn fixed64(&mut self) -> Result<u64, Error> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// The bytes of a field that must be encoded with a length.
    pub(super) fn bytes(&mut self, tag: Tag, field: &str) -> Result<&'a [u8], Error> {
        if tag.wire_type != BYTES {
            return Err(tag.unexpected(field));
        }
        let length = self.varint()?;
        self.take(length)
    }

    pub(super) fn string(&mut self, tag: Tag, field: &str) -> Result<String, Error> {
        let bytes = self.bytes(tag, field)?;
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| Error::Utf8(field.to_owned()))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Error> {
        let length = usize::try_from(length).map_err(|_| Error::Truncated)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Passes over a field's value.
    pub(super) fn skip(&mut self, tag: Tag) -> Result<(), Error> {
        match tag.wire_type {
            VARINT => self.varint().map(drop),
            FIXED64 => self.take(8).map(drop),
            BYTES => self.bytes(tag, "").map(drop),
            FIXED32 => self.take(4).map(drop),
            // Groups, which Kubernetes never used, and two encodings that do not exist.
            _ => Err(Error::Tag(u64::from(tag.number) << 3 | u64::from(tag.wire_type))),
        }
    }
}

impl Tag {
    pub(super) fn unexpected(self, field: &str) -> Error {
        Error::WireType {
            field: field.to_owned(),
            wire_type: self.wire_type,
        }
    }
}
