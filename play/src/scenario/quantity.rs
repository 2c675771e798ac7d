//! Durations, ranges of durations, and probabilities, as scenarios write them: `90s`, `1m30s`, `1ms..10ms`, `0.02`.

use std::fmt;
use std::time::Duration;

use orrery_api::random::Random;
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// No duration may be longer: what is added to it must still be a moment.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reads a moment as people type it: a duration, or seconds without a unit.
pub fn parse_moment(text: &str) -> Result<Duration, String> {
    parse_duration(text).or_else(|why| parse_duration(&format!("{text}s")).map_err(|_| why))
}

/// Reads `1h2m3s4ms5us`, in any selection of units; `0` needs none.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let too_long = || format!("{text:?} is too long: a year (8760h) is the most");
    let wrong = || format!("{text:?} is not a duration: write it like 250ms, 10s, 1m30s or 2h");
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let end = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            _ => return Err(wrong()),
        };
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| too_long())?;
        total = total.saturating_add(part);
        rest = &rest[end..];
    }
    if total > LONGEST {
        return Err(too_long());
    }
    Ok(total)
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration like 250ms, 10s or 1m30s")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse_duration(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Duration, E> {
        parse_duration(&number.to_string()).map_err(E::custom)
    }
}

/// For `#[serde(deserialize_with)]`.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(DurationVisitor)
}

/// For `#[serde(deserialize_with)]`, of a value that may be absent.
pub fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// A range of durations to draw from; written `low..high`, or one duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The shortest.
    pub low: Duration,
    /// The longest.
    pub high: Duration,
}

impl Span {
    /// The range in milliseconds.
    pub const fn millis(low: u64, high: u64) -> Self {
        Span {
            low: Duration::from_millis(low),
            high: Duration::from_millis(high),
        }
    }

    /// The range in seconds.
    pub const fn seconds(low: u64, high: u64) -> Self {
        Span {
            low: Duration::from_secs(low),
            high: Duration::from_secs(high),
        }
    }

    /// One duration of the range.
    pub fn draw(&self, random: &Random) -> Duration {
        random.duration(self.low, self.high)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (low, high) = match text.split_once("..") {
            Some((low, high)) => (parse_duration(low)?, parse_duration(high)?),
            None => (parse_duration(text)?, parse_duration(text)?),
        };
        if low > high {
            return Err(format!("the range {text:?} ends before it begins"));
        }
        Ok(Span { low, high })
    }
}

impl From<Duration> for Span {
    /// The range of one duration.
    fn from(duration: Duration) -> Self {
        Span {
            low: duration,
            high: duration,
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write_duration(self.low))?;
        if self.low == self.high {
            return Ok(());
        }
        write!(f, "..{}", write_duration(self.high))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpanVisitor;
        impl Visitor<'_> for SpanVisitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration like 10s or a range like 1ms..10ms")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                Span::parse(text).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Span, E> {
                Span::parse(&number.to_string()).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(SpanVisitor)
    }
}

/// For `#[serde(deserialize_with)]`: a number from 0 to 1.
pub fn probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&number) {
        Ok(number)
    } else {
        Err(de::Error::custom(format!(
            "{number} is no probability: it must lie between 0 and 1"
        )))
    }
}

/// For `#[serde(deserialize_with)]`: a number from 0 to 1 that may be absent.
pub fn some_probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    probability(deserializer).map(Some)
}

/// A duration as scenarios write it, to the nanosecond.
pub fn write_duration(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if nanos == 0 {
        return match seconds {
            0 => "0s".to_owned(),
            hours if hours % 3600 == 0 => format!("{}h", hours / 3600),
            minutes if minutes % 60 == 0 => format!("{}m", minutes / 60),
            seconds => format!("{seconds}s"),
        };
    }
    if seconds == 0 && nanos % 1_000_000 == 0 {
        return format!("{}ms", nanos / 1_000_000);
    }
    let fraction = format!("{nanos:09}");
    format!("{seconds}.{}s", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit() {
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("0.5s"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        for wrong in ["", "10", "s", "10x", "-1s", "1.2.3s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?}");
        }
        assert!(parse_duration("8760h").is_ok());
        for long in [
            "8760h1us",
            "4000000000000000h4000000000000000h",
            "99999999999999999999h",
        ] {
            assert!(parse_duration(long).unwrap_err().contains("too long"), "{long:?}");
        }
    }

    #[test]
    fn a_range_has_two_ends_in_order() {
        assert_eq!(Span::parse("1ms..10ms"), Ok(Span::millis(1, 10)));
        assert_eq!(Span::parse("5s"), Ok(Span::seconds(5, 5)));
        assert!(Span::parse("5s..1s").is_err());
    }
}
