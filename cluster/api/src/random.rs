//! The one source of randomness: uids, name suffixes, jitter. Passed in, so that a run is a function of its seed.
//!
//! Streams are keyed: what one purpose draws does not shift what another draws, so that a seed keeps its meaning when
//! unrelated code changes. Not for keys or certificates.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The letters of generated names: no vowels, no lookalikes (Kubernetes' `rand.String`).
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A stream of random numbers; clones draw from the same stream.
#[derive(Clone)]
pub struct Random {
    seed: [u8; 32],
    generator: Arc<Mutex<ChaCha8Rng>>,
    redraws: Option<Arc<Redraws>>,
}

/// Streams that shall be drawn anew, and where in the tree of streams we are.
struct Redraws {
    path: String,
    wanted: Arc<Vec<Redraw>>,
}

struct Redraw {
    path: String,
    number: u64,
    used: AtomicBool,
}

impl Random {
    /// The stream of `seed`.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Random {
            seed,
            generator: Arc::new(Mutex::new(ChaCha8Rng::from_seed(seed))),
            redraws: None,
        }
    }

    /// The stream of a small seed, as scenarios name it.
    pub fn from_number(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Random::from_seed(bytes)
    }

    /// The same chance, but the streams of these paths (`a/b` is the stream `b` of the stream `a`) and all below them
    /// are drawn anew, as the number says. All others stay as they are: a simulated run is varied in one place.
    pub fn with_redraws(self, redraws: &BTreeMap<String, u64>) -> Random {
        let wanted = redraws.iter().map(|(path, number)| Redraw {
            path: path.clone(),
            number: *number,
            used: AtomicBool::new(false),
        });
        let redraws = Redraws {
            path: String::new(),
            wanted: Arc::new(wanted.collect()),
        };
        Random {
            redraws: (!redraws.wanted.is_empty()).then(|| Arc::new(redraws)),
            ..self
        }
    }

    /// The paths of [`with_redraws`](Self::with_redraws) whose stream nobody has taken.
    pub fn unused_redraws(&self) -> Vec<String> {
        let wanted = self.redraws.iter().flat_map(|redraws| redraws.wanted.iter());
        wanted
            .filter(|redraw| !redraw.used.load(Ordering::Relaxed))
            .map(|redraw| redraw.path.clone())
            .collect()
    }

    /// An independent stream for `purpose`: a function of the seed and the purpose alone.
    pub fn stream(&self, purpose: &str) -> Random {
        self.stream_known_as(purpose, purpose)
    }

    /// The stream for `purpose`, which those who want it drawn anew know by another, shorter name.
    pub fn stream_known_as(&self, purpose: &str, name: &str) -> Random {
        let redraws = self.redraws.as_ref().map(|redraws| redraws.below(name));
        let number = redraws.as_ref().and_then(Redraws::number);
        // Hashing the seed so far with the purpose separates nested streams: "a" of "b" is neither "b" of "a" nor "ab".
        let mut seed = self.seed;
        let mut key = [&seed[..], purpose.as_bytes()].concat();
        key.extend(number.iter().flat_map(|number| number.to_le_bytes()));
        seed[24..].copy_from_slice(&fnv1a(&key).to_le_bytes());
        Random {
            redraws: redraws.map(Arc::new),
            ..Random::from_seed(seed)
        }
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
        // Every request is given one: formatting would take as long as much of the rest.
        let bits = (u128::from(high) << 64) | u128::from(low);
        let mut text = String::with_capacity(36);
        for digit in 0..32 {
            if matches!(digit, 8 | 12 | 16 | 20) {
                text.push('-');
            }
            let value = (bits >> (124 - 4 * digit)) as usize & 0xf;
            text.push(HEX[value] as char);
        }
        text
    }

    /// A suffix of `length` letters for a generated name.
    pub fn suffix(&self, length: usize) -> String {
        (0..length)
            .map(|_| NAME_ALPHABET[self.below(NAME_ALPHABET.len() as u64) as usize] as char)
            .collect()
    }
}

impl Redraws {
    fn below(&self, purpose: &str) -> Redraws {
        let path = if self.path.is_empty() {
            purpose.to_owned()
        } else {
            format!("{}/{purpose}", self.path)
        };
        Redraws {
            path,
            wanted: self.wanted.clone(),
        }
    }

    /// The number that the stream here is drawn anew by, if it shall be.
    fn number(&self) -> Option<u64> {
        let redraw = self.wanted.iter().find(|redraw| redraw.path == self.path)?;
        redraw.used.store(true, Ordering::Relaxed);
        Some(redraw.number)
    }
}

/// Whether a text is written as a uid is.
pub fn is_uid(text: &str) -> bool {
    text.split('-').map(str::len).eq([8, 4, 4, 4, 12])
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// Whether generated names may have this letter.
pub fn is_of_suffix(letter: char) -> bool {
    u8::try_from(letter).is_ok_and(|letter| NAME_ALPHABET.contains(&letter))
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
    fn a_redrawn_stream_changes_with_all_below_it_and_nothing_else() {
        let first = |random: &Random| {
            let fault = random.stream("fault/2");
            [
                fault.bits(),
                fault.stream("0").bits(),
                random.stream("fault/1").bits(),
                random.stream("link").stream("a").bits(),
                random.stream("link").stream("b").bits(),
            ]
        };
        let redrawn = |redraws: &[(&str, u64)]| {
            let redraws = redraws.iter().map(|(path, number)| ((*path).to_owned(), *number));
            Random::from_number(7).with_redraws(&redraws.collect())
        };
        let plain = first(&Random::from_number(7));
        let varied = redrawn(&[("fault/2", 17), ("link/b", 0), ("nobody", 1)]);
        let differs: Vec<bool> = plain
            .iter()
            .zip(first(&varied))
            .map(|(one, other)| *one != other)
            .collect();
        assert_eq!(differs, [true, true, false, false, true]);
        assert_eq!(varied.unused_redraws(), ["nobody"]);
        assert_ne!(first(&redrawn(&[("fault/2", 18)]))[0], first(&varied)[0]);
        assert_eq!(first(&redrawn(&[])), plain);
    }

    #[test]
    fn a_stream_may_be_drawn_anew_by_its_short_name() {
        let random = |redraws: BTreeMap<String, u64>| Random::from_number(7).with_redraws(&redraws);
        let plain = random(BTreeMap::new()).stream("fault/crash of node-1").bits();
        let redrawn = random(BTreeMap::from([("fault/0".to_owned(), 1)]));
        let stream = redrawn.stream_known_as("fault/crash of node-1", "fault/0");
        assert_ne!(stream.bits(), plain);
        assert!(redrawn.unused_redraws().is_empty());
        assert_eq!(
            redrawn.stream_known_as("fault/crash of node-1", "fault/1").bits(),
            plain
        );
    }

    #[test]
    fn a_uid_is_a_version_4_uuid() {
        let uid = Random::from_number(1).uid();
        let groups: Vec<_> = uid.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert!(is_uid(&uid));
        assert!(!is_uid(&uid[1..]) && !is_uid(&uid.replace('-', "z")));
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
