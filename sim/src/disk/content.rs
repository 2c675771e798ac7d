//! The bytes of a file that mostly grows: kept in the pieces in which they came, so that growing copies nothing.

use bytes::Bytes;

/// The bytes of a file.
#[derive(Debug, Clone, Default)]
pub struct Content {
    pieces: Vec<Bytes>,
    length: usize,
}

impl Content {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, data: &[u8]) {
        // A copy, because what comes may be a part of something larger.
        self.length += data.len();
        self.pieces.push(Bytes::copy_from_slice(data));
    }

    /// All of it in one piece.
    pub fn whole(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    /// Changes what is there; this takes as long as reading all of it.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut whole = self.whole();
        let outcome = change(&mut whole);
        self.length = whole.len();
        self.pieces = vec![whole.into()];
        outcome
    }

    /// Cuts off what is behind `length`.
    pub fn truncate(&mut self, length: usize) {
        if length < self.length {
            self.change(|whole| whole.truncate(length));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_as_good_as_one(steps in proptest::collection::vec((any::<bool>(), ".{0,6}"), 0..12)) {
            let (mut content, mut plain) = (Content::default(), Vec::new());
            for (appends, text) in steps {
                if appends {
                    content.append(text.as_bytes());
                    plain.extend_from_slice(text.as_bytes());
                } else {
                    content.truncate(plain.len() / 2);
                    plain.truncate(plain.len() / 2);
                }
                prop_assert_eq!(content.whole(), plain.clone());
                prop_assert_eq!(content.len(), plain.len());
            }
        }
    }
}
