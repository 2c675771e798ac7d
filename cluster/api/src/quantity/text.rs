//! A quantity's text: reading any form of it, writing the canonical one.

use std::fmt;

use super::{Format, NANOS, ParseError, Quantity};

const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

pub(super) fn parse(text: &str) -> Result<Quantity, ParseError> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let number_end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || !is_suffix_like(suffix) {
        return Err(ParseError::Format);
    }
    let (multiplier, exponent, format) = interpret(suffix).ok_or(ParseError::Suffix)?;
    let mut nanos = nanos(whole, fraction, multiplier, exponent)?;
    if format == Format::BinarySi {
        // As in Kubernetes, where binary amounts end at the largest 64-bit integer.
        nanos = nanos.min(i64::MAX as i128 * NANOS);
    }
    Ok(Quantity {
        nanos: if negative { -nanos } else { nanos },
        format,
    })
}

/// `[eEinumkKMGTP]*[-+]?[0-9]*`
fn is_suffix_like(suffix: &str) -> bool {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    rest.bytes().all(|b| b.is_ascii_digit())
}

/// A suffix as a multiplier (a power of two) and a power of ten.
fn interpret(suffix: &str) -> Option<(i128, i32, Format)> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((1, *exponent, Format::DecimalSi));
    }
    if let Some((_, bits)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Some((1 << bits, 0, Format::BinarySi));
    }
    let exponent: i64 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some((1, exponent.clamp(-100_000, 100_000) as i32, Format::DecimalExponent))
}

/// `whole.fraction * multiplier * 10^exponent` in nano-units; parts below one round up.
fn nanos(whole: &str, fraction: &str, multiplier: i128, exponent: i32) -> Result<i128, ParseError> {
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    // digits * 10^scale is the amount in nano-units, before the multiplier.
    let mut digits: i128 = 0;
    let mut scale = exponent + 9 - i32::try_from(fraction.len()).map_err(|_| ParseError::Numeric)?;
    let mut lost = false;
    for digit in whole.bytes().chain(fraction.bytes()).map(|b| i128::from(b - b'0')) {
        match digits.checked_mul(10).and_then(|shifted| shifted.checked_add(digit)) {
            Some(next) if !lost => digits = next,
            _ => {
                // More digits than fit: they can only matter as "a bit more", unless the number itself is too large.
                lost = true;
                scale += 1;
            }
        }
    }
    if digits == 0 {
        return Ok(0);
    }
    while scale > 0 {
        digits = digits.checked_mul(10).ok_or(ParseError::Numeric)?;
        scale -= 1;
    }
    // Divide before multiplying only as far as nothing is lost.
    while scale < 0 && digits % 10 == 0 {
        digits /= 10;
        scale += 1;
    }
    let mut product = digits.checked_mul(multiplier).ok_or(ParseError::Numeric)?;
    let mut rest = lost;
    while scale < 0 && product != 0 {
        rest |= product % 10 != 0;
        product /= 10;
        scale += 1;
    }
    product
        .checked_add(i128::from(rest || (product == 0)))
        .ok_or(ParseError::Numeric)
}

pub(super) fn write(quantity: Quantity, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let nanos = quantity.nanos;
    if nanos == 0 {
        return f.write_str("0");
    }
    // Small or fractional amounts are written in the decimal family, so that nothing is rounded.
    let binary =
        quantity.format == Format::BinarySi && nanos % NANOS == 0 && nanos.unsigned_abs() >= 1024 * NANOS as u128;
    if binary {
        let (mut mantissa, mut suffix) = (nanos / NANOS, "");
        for (name, _) in BINARY {
            if mantissa % 1024 != 0 {
                break;
            }
            mantissa /= 1024;
            suffix = name;
        }
        return write!(f, "{mantissa}{suffix}");
    }
    let (mut mantissa, mut exponent) = (nanos, -9);
    while mantissa % 1000 == 0 && (exponent < 18 || quantity.format == Format::DecimalExponent) {
        mantissa /= 1000;
        exponent += 3;
    }
    match quantity.format {
        Format::DecimalExponent if exponent == 0 => write!(f, "{mantissa}"),
        Format::DecimalExponent => write!(f, "{mantissa}e{exponent}"),
        _ => {
            let suffix = DECIMAL
                .iter()
                .find(|(_, power)| *power == exponent)
                .map_or("", |(name, _)| name);
            write!(f, "{mantissa}{suffix}")
        }
    }
}
