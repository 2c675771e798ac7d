//! What is simpler to read: shorter and rounder times, lists with one item less.

use std::time::Duration;

use super::quantity::Span;

/// Durations that people like, and how round they find them.
pub const LADDER: [u64; 16] = [1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 150, 180, 240, 300, 600];

/// So many seconds.
pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The lists that lack one item, unless that leaves none.
pub fn without_one<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    let lists = (0..items.len()).map(|index| [&items[..index], &items[index + 1..]].concat());
    lists.filter(|list| !list.is_empty()).collect()
}

/// Smaller numbers, but at least one.
pub fn fewer(count: u32) -> impl Iterator<Item = u32> {
    let smaller = [1, count / 2, count.saturating_sub(1)];
    let mut before = 0;
    smaller.into_iter().filter(move |fewer| {
        let new = *fewer > before && *fewer < count;
        before = before.max(*fewer);
        new
    })
}

/// Shorter times, and then rounder ones.
pub fn shorter(span: &Span) -> impl Iterator<Item = Span> + use<> {
    let now = span.high;
    let plain = (span.low != span.high).then_some(span.high);
    let ladder = LADDER
        .iter()
        .map(|count| seconds(*count))
        .filter(move |shorter| *shorter < now);
    let rounder = rounder(now).into_iter().filter(|rounder| !rounder.is_zero());
    plain.into_iter().chain(ladder).chain(rounder).map(Span::from)
}

/// The time in coarser units, the coarsest first, down and up, but never far from what it was.
pub fn rounder(now: Duration) -> Vec<Duration> {
    let micros = now.as_micros() as u64;
    let mut found = Vec::new();
    for unit in [
        60_000_000, 30_000_000, 10_000_000, 5_000_000, 1_000_000, 500_000, 100_000, 10_000, 1000,
    ] {
        if micros.is_multiple_of(unit) {
            break;
        }
        for rounded in [micros / unit * unit, (micros / unit + 1) * unit] {
            let far = rounded.abs_diff(micros);
            if far <= micros / 4 || far <= 1_000_000 {
                found.push(Duration::from_micros(rounded));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_becomes_rounder_and_then_stays() {
        assert_eq!(
            rounder(Duration::from_micros(43_217_391))[..2],
            [seconds(40), seconds(50)]
        );
        assert_eq!(rounder(seconds(40)), [seconds(30)]);
        assert_eq!(rounder(seconds(30)), Vec::<Duration>::new());
    }
}
