//! The one source of randomness: uids, name suffixes, jitter. Passed in, so that a run is a function of its seed.
//!
//! Streams are keyed: what one purpose draws does not shift what another draws, so that a seed keeps its meaning when
//! unrelated code changes. Not for keys or certificates.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The letters of generated names: no vowels, no lookalikes (Kubernetes' `rand.String`).
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A stream of random numbers; clones draw from the same stream.
#[derive(Clone)]
pub struct Random {
    seed: [u8; 32],
    generator: Arc<Mutex<ChaCha8Rng>>,
}

impl Random {
    /// The stream of `seed`.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Random {
            seed,
            generator: Arc::new(Mutex::new(ChaCha8Rng::from_seed(seed))),
        }
    }

    /// The stream of a small seed, as scenarios name it.
    pub fn from_number(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Random::from_seed(bytes)
    }

    /// An independent stream for `purpose`: a function of the seed and the purpose alone.
    pub fn stream(&self, purpose: &str) -> Random {
        // Hashing the seed so far with the purpose separates nested streams: "a" of "b" is neither "b" of "a" nor "ab".
        let mut seed = self.seed;
        let hash = fnv1a(&[&seed[..], purpose.as_bytes()].concat());
        seed[24..].copy_from_slice(&hash.to_le_bytes());
        Random::from_seed(seed)
    }

    /// 64 random bits.
    pub fn bits(&self) -> u64 {
        self.generator.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        // The bias of a 64-bit multiply is below 2^-32 for every bound in use.
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// A number in `[0, 1)`.
    pub fn fraction(&self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with `probability`.
    pub fn chance(&self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// A duration in `low..=high`, in whole microseconds.
    pub fn duration(&self, low: Duration, high: Duration) -> Duration {
        Duration::from_micros(self.between(low.as_micros() as u64, high.as_micros() as u64))
    }

    /// `base` lengthened by up to `factor` of itself, so that many waiters do not act at once.
    pub fn jitter(&self, base: Duration, factor: f64) -> Duration {
        base + base.mul_f64(factor * self.fraction())
    }

    /// One of `items`; `None` when there is none.
    pub fn choose<'a, T>(&self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }

    /// Shuffles `items` in place (Fisher–Yates).
    pub fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// A uid: a random UUID (RFC 9562, version 4).
    pub fn uid(&self) -> String {
        let high = (self.bits() & !0xf000) | 0x4000;
        let low = (self.bits() & !(0b11 << 62)) | (0b10 << 62);
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }

    /// A suffix of `length` letters for a generated name.
    pub fn suffix(&self, length: usize) -> String {
        (0..length)
            .map(|_| NAME_ALPHABET[self.below(NAME_ALPHABET.len() as u64) as usize] as char)
            .collect()
    }
}

/// The 64-bit FNV-1a hash of `bytes`: fixed for ever, for seeds and names.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_its_seed_and_purpose_alone() {
        let random = Random::from_number(7);
        random.bits();
        assert_eq!(random.stream("uid").bits(), Random::from_number(7).stream("uid").bits());
        assert_ne!(random.stream("uid").bits(), random.stream("jitter").bits());
        assert_ne!(random.stream("a").stream("b").bits(), random.stream("ab").bits());
        assert_ne!(
            random.stream("a").stream("b").bits(),
            random.stream("b").stream("a").bits()
        );
    }

    #[test]
    fn a_uid_is_a_version_4_uuid() {
        let uid = Random::from_number(1).uid();
        let groups: Vec<_> = uid.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert_eq!(&uid[14..15], "4");
        assert!("89ab".contains(&uid[19..20]));
    }

    #[test]
    fn numbers_keep_to_their_bounds() {
        let random = Random::from_number(3);
        for _ in 0..1000 {
            assert!((5..=9).contains(&random.between(5, 9)));
            assert!(random.fraction() < 1.0);
        }
        assert_eq!(random.below(0), 0);
    }
}
