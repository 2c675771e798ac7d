//! A running hash of a run: fixed for ever, so that hashes of different processes and builds can be compared.
//!
//! Not cryptographic: it tells runs apart, it does not resist forgery.

use std::fmt;

/// A running hash of 128 bits: two lanes of multiply-and-rotate over eight bytes at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    lanes: [u64; 2],
}

const SEEDS: [u64; 2] = [0xcbf2_9ce4_8422_2325, 0x9e37_79b9_7f4a_7c15];
const FACTORS: [u64; 2] = [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53];

impl Default for Fingerprint {
    fn default() -> Self {
        Fingerprint { lanes: SEEDS }
    }
}

impl Fingerprint {
    /// Adds a number.
    pub fn add_number(&mut self, number: u64) {
        for (lane, factor) in self.lanes.iter_mut().zip(FACTORS) {
            let mixed = (*lane ^ number).wrapping_mul(factor);
            *lane = (mixed ^ (mixed >> 32)).rotate_left(23);
        }
    }

    /// Adds bytes and their number, so that neighbours cannot be confused.
    pub fn add(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.add_number(u64::from_le_bytes(chunk.try_into().expect("a chunk of eight bytes")));
        }
        let mut last = [0; 8];
        last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        self.add_number(u64::from_le_bytes(last));
        self.add_number(bytes.len() as u64);
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.lanes[0], self.lanes[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&str]) -> String {
        let mut print = Fingerprint::default();
        parts.iter().for_each(|part| print.add(part.as_bytes()));
        print.to_string()
    }

    #[test]
    fn the_hash_is_the_same_for_ever() {
        insta::assert_snapshot!(of(&["orrery", "a somewhat longer event of a run"]), @"d80be31eaaea0e48d1f9ba2482c78cab");
    }

    #[test]
    fn what_differs_hashes_differently() {
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
        assert_ne!(of(&["12345678"]), of(&["12345679"]));
    }
}
