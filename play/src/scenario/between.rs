//! Ranges of numbers to draw from: `0..4000`, `-30s..30s`, `0.98..1.02`, or one number.

use std::fmt;
use std::marker::PhantomData;

use orrery_api::random::Random;
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::quantity::{parse_duration, write_duration};

/// A kind of number that can be drawn from a range.
pub trait Quantity: Copy + PartialOrd + fmt::Display {
    /// What it looks like, for whoever wrote something else.
    const EXPECTED: &'static str;

    /// Reads one.
    fn parse(text: &str) -> Option<Self>;

    /// One from `low` to `high`, both of which are possible.
    fn draw(low: Self, high: Self, random: &Random) -> Self;
}

/// A range to draw from; written `low..high`, or one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Between<T> {
    /// The least.
    pub low: T,
    /// The greatest.
    pub high: T,
}

impl<T: Quantity> Between<T> {
    /// One number of the range.
    pub fn draw(&self, random: &Random) -> T {
        T::draw(self.low, self.high, random)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let read = |text: &str| T::parse(text).ok_or_else(|| format!("{text:?} is not {}", T::EXPECTED));
        let (low, high) = match text.split_once("..") {
            Some((low, high)) => (read(low)?, read(high)?),
            None => (read(text)?, read(text)?),
        };
        if low > high {
            return Err(format!("the range {text:?} ends before it begins"));
        }
        Ok(Between { low, high })
    }
}

impl<T: Copy> From<T> for Between<T> {
    /// The range of one number.
    fn from(number: T) -> Self {
        Between {
            low: number,
            high: number,
        }
    }
}

impl<T: Quantity> fmt::Display for Between<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.low)?;
        if self.low == self.high {
            return Ok(());
        }
        write!(f, "..{}", self.high)
    }
}

impl<'de, T: Quantity> Deserialize<'de> for Between<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BetweenVisitor<T>(PhantomData<T>);
        impl<T: Quantity> Visitor<'_> for BetweenVisitor<T> {
            type Value = Between<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}, or a range of such", T::EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Between<T>, E> {
                Between::parse(text).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Between<T>, E> {
                Between::parse(&number.to_string()).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Between<T>, E> {
                Between::parse(&number.to_string()).map_err(E::custom)
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Between<T>, E> {
                Between::parse(&number.to_string()).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(BetweenVisitor(PhantomData))
    }
}

impl Quantity for u32 {
    const EXPECTED: &'static str = "a number like 7";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn draw(low: Self, high: Self, random: &Random) -> Self {
        low + random.below(u64::from(high - low) + 1) as u32
    }
}

/// How fast a clock goes: seconds that it counts in a second.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(pub f64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Quantity for Rate {
    const EXPECTED: &'static str = "a rate from 0.5 to 2, like 0.98";

    fn parse(text: &str) -> Option<Self> {
        let rate = text.parse().ok().filter(|rate| (0.5..=2.0).contains(rate));
        rate.map(Rate)
    }

    /// To a ten thousandth, for those who read it.
    fn draw(low: Self, high: Self, random: &Random) -> Self {
        let drawn = low.0 + (high.0 - low.0) * random.fraction();
        Rate(((drawn * 1e4).round() / 1e4).clamp(low.0, high.0))
    }
}

/// How far a clock is ahead, in milliseconds; negative if it is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offset(pub i64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = std::time::Duration::from_millis(self.0.unsigned_abs());
        write!(f, "{sign}{}", write_duration(size))
    }
}

impl Quantity for Offset {
    const EXPECTED: &'static str = "an offset like 30s or -500ms";

    fn parse(text: &str) -> Option<Self> {
        let (sign, size) = match text.strip_prefix('-') {
            Some(size) => (-1, size),
            None => (1, text),
        };
        let size = parse_duration(size).ok()?.as_millis();
        i64::try_from(size).ok().map(|size| Offset(sign * size))
    }

    fn draw(low: Self, high: Self, random: &Random) -> Self {
        Offset(low.0 + random.below(high.0.abs_diff(low.0) + 1) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_any_quantity_is_written_as_it_is_read() {
        assert_eq!(Between::parse("0..4000"), Ok(Between { low: 0, high: 4000u32 }));
        let behind = Between {
            low: Offset(-30_000),
            high: Offset(500),
        };
        assert_eq!(Between::parse("-30s..500ms"), Ok(behind));
        assert_eq!(behind.to_string(), "-30s..500ms");
        assert_eq!(Between::from(Rate(0.98)).to_string(), "0.98");
        for wrong in ["5..1", "-1", "1.5", ""] {
            assert!(Between::<u32>::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(Between::<Rate>::parse("0.1").is_err() && Between::<Offset>::parse("3").is_err());
    }

    #[test]
    fn both_ends_of_a_range_are_drawn_and_nothing_beyond() {
        let random = Random::from_number(1);
        let range = Between {
            low: Offset(-2),
            high: Offset(1),
        };
        let drawn: std::collections::BTreeSet<i64> = (0..100).map(|_| range.draw(&random).0).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [-2, -1, 0, 1]);
    }
}
