//! Kubernetes quantities: exact arithmetic and the canonical text.
//!
//! A quantity is an amount with a memory of how it was written: `1500m` cores, `1Gi` of memory, `1e3`. Amounts are held
//! as whole nano-units in 128 bits, so nothing that Kubernetes can say is rounded, except below a nano-unit, which
//! rounds away from zero as it does there. Magnitudes beyond 1.7e29 are refused (Kubernetes has no such limit).
//!
//! Grammar and canonical form: Kubernetes' API documentation of `resource.Quantity`.

mod text;

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;

/// Nano-units in one unit.
const NANOS: i128 = 1_000_000_000;

/// Why a text is not a quantity, in Kubernetes' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It does not look like one.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number is too large to hold.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// The suffix is not one of the known.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// The family of suffixes that a quantity is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// `n`, `u`, `m`, none, `k`, `M`, `G`, `T`, `P`, `E`.
    #[default]
    DecimalSi,
    /// `Ki`, `Mi`, `Gi`, `Ti`, `Pi`, `Ei`.
    BinarySi,
    /// `e3`, `E6`.
    DecimalExponent,
}

/// An exact amount, and the family of suffixes it is written with. Two are equal if their amounts are.
#[derive(Clone, Copy, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity {
        nanos: 0,
        format: Format::DecimalSi,
    };

    /// Reads a quantity such as `1500m`, `0.5`, `2Gi` or `1e3`.
    pub fn parse(text: &str) -> Result<Quantity, ParseError> {
        text::parse(text)
    }

    /// A whole amount.
    pub const fn from_value(value: i64, format: Format) -> Quantity {
        Quantity {
            nanos: value as i128 * NANOS,
            format,
        }
    }

    /// An amount in thousandths, such as milli-cores.
    pub const fn from_milli(milli: i64) -> Quantity {
        Quantity {
            nanos: milli as i128 * (NANOS / 1000),
            format: Format::DecimalSi,
        }
    }

    /// An amount in nano-units.
    pub const fn from_nanos(nanos: i128, format: Format) -> Quantity {
        Quantity { nanos, format }
    }

    /// The amount in nano-units.
    pub const fn nanos(self) -> i128 {
        self.nanos
    }

    /// The family of suffixes it is written with.
    pub const fn format(self) -> Format {
        self.format
    }

    /// The whole amount, fractions rounded away from zero, capped at the limits of 64 bits.
    pub fn value(self) -> i64 {
        scaled(self.nanos, NANOS)
    }

    /// The amount in thousandths, finer fractions rounded away from zero, capped at the limits of 64 bits.
    pub fn milli_value(self) -> i64 {
        scaled(self.nanos, NANOS / 1000)
    }

    /// Whether the amount is zero.
    pub const fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// The amount times a whole number, capped at what can be held.
    pub const fn times(self, factor: i64) -> Quantity {
        Quantity {
            nanos: self.nanos.saturating_mul(factor as i128),
            format: self.format,
        }
    }
}

fn scaled(nanos: i128, unit: i128) -> i64 {
    let (whole, rest) = (nanos / unit, nanos % unit);
    let rounded = whole + rest.signum();
    i64::try_from(rounded).unwrap_or(if rounded > 0 { i64::MAX } else { i64::MIN })
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// The left format stays, unless the left is zero. Capped at what can be held.
impl Add for Quantity {
    type Output = Quantity;

    fn add(self, other: Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        Quantity {
            nanos: self.nanos.saturating_add(other.nanos),
            format,
        }
    }
}

/// The left format stays, unless the left is zero. Capped at what can be held.
impl Sub for Quantity {
    type Output = Quantity;

    fn sub(self, other: Quantity) -> Quantity {
        self + -other
    }
}

impl Neg for Quantity {
    type Output = Quantity;

    fn neg(self) -> Quantity {
        Quantity {
            nanos: self.nanos.saturating_neg(),
            format: self.format,
        }
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Quantity) {
        *self = *self + other;
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Quantity) {
        *self = *self - other;
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Quantity>>(amounts: I) -> Quantity {
        amounts.fold(Quantity::ZERO, Add::add)
    }
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Quantity::parse(text)
    }
}

impl TryFrom<&Wire> for Quantity {
    type Error = ParseError;

    fn try_from(wire: &Wire) -> Result<Self, ParseError> {
        Quantity::parse(&wire.0)
    }
}

impl From<Quantity> for Wire {
    fn from(quantity: Quantity) -> Wire {
        Wire(quantity.to_string())
    }
}

/// The canonical text: no fraction, nothing lost, the largest suffix of the family.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write(*self, f)
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
