//! Times as Go reads and writes them.

use jiff::Timestamp;

/// A time as `metav1.Time` (whole seconds) or `metav1.MicroTime` writes it, in UTC.
pub fn format_time(time: Timestamp, micros: bool) -> String {
    let format = if micros {
        "%Y-%m-%dT%H:%M:%S%.6fZ"
    } else {
        "%Y-%m-%dT%H:%M:%SZ"
    };
    time.strftime(format).to_string()
}

/// Whether a time is written as [`format_time`] does; the numbers in it may be of no time.
pub(super) fn is_as_written(text: &str, micros: bool) -> bool {
    let shape: &[u8] = if micros {
        b"0000-00-00T00:00:00.000000Z"
    } else {
        b"0000-00-00T00:00:00Z"
    };
    text.len() == shape.len() && has_shape(text.as_bytes(), shape)
}

/// Whether there are digits where `shape` has zeros, and elsewhere what it has.
fn has_shape(text: &[u8], shape: &[u8]) -> bool {
    text.iter().zip(shape).all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        shape => byte == shape,
    })
}

/// Reads an RFC 3339 time: `2006-01-02T15:04:05Z`, with fraction or offset if there is one.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let (start, rest) = text.as_bytes().split_at_checked(SHAPE.len())?;
    if !has_shape(start, SHAPE) {
        return None;
    }
    let rest = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 || digits > 9 {
                return None;
            }
            &fraction[digits..]
        }
        None => rest,
    };
    let zone = match rest {
        b"Z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    };
    zone.then(|| text.parse().ok()).flatten()
}
