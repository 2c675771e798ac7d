//! The shortest chain of causes from an event back to where it all began: a fault, or a user's step.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::causes::{Link, causes, origin};
use crate::model::ObjectId;
use crate::recording::Index;

/// So many events are looked at before the walk settles for what it has.
const REACH: usize = 4000;

/// For each event that was reached: what the way from the end to it costs, and the next step of that way.
type Ways = BTreeMap<usize, (u32, Option<(usize, Link)>)>;

/// An event of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Where it is.
    pub place: usize,
    /// How the step before it led to it; none for the first.
    pub link: Option<Link>,
}

/// The cheapest chain that ends at `last`, from its origin on; `focus` is what the failure is about. Where no origin is
/// reached, as far back as causes are known.
pub fn chain(index: &Index<'_>, last: usize, focus: &[ObjectId]) -> Vec<Step> {
    let mut best: Ways = BTreeMap::from([(last, (0, None))]);
    let mut queue = BinaryHeap::from([(Reverse(0u32), last)]);
    let mut reached: Option<(u32, usize)> = None;
    let mut looked_at = 0;
    while let Some((Reverse(cost), place)) = queue.pop() {
        if best.get(&place).is_some_and(|(known, _)| *known < cost) {
            continue;
        }
        if reached.is_some_and(|(known, _)| known <= cost) || looked_at >= REACH {
            break;
        }
        looked_at += 1;
        if let Some(extra) = origin(index, place) {
            let whole = cost + extra;
            if reached.is_none_or(|(known, _)| whole < known) {
                reached = Some((whole, place));
            }
            continue;
        }
        for cause in causes(index, place, focus) {
            let next = cost + cause.cost;
            // Causes come before what they cause; anything else would go round in circles.
            if cause.place < place && best.get(&cause.place).is_none_or(|(known, _)| next < *known) {
                best.insert(cause.place, (next, Some((place, cause.link))));
                queue.push((Reverse(next), cause.place));
            }
        }
    }
    let first = reached.map_or_else(|| farthest(&best, last), |(_, place)| place);
    let mut steps = Vec::new();
    let (mut place, mut link) = (first, None);
    loop {
        steps.push(Step { place, link });
        match best.get(&place) {
            Some((_, Some((next, how)))) => {
                place = *next;
                link = Some(*how);
            }
            _ => return steps,
        }
    }
}

/// Without an origin: the earliest event among the cheaper half of those that were found.
fn farthest(best: &Ways, last: usize) -> usize {
    let mut costs: Vec<u32> = best.values().map(|(cost, _)| *cost).collect();
    costs.sort_unstable();
    let limit = costs.get(costs.len() / 2).copied().unwrap_or(0);
    let cheap = best.iter().filter(|(_, (cost, _))| *cost <= limit);
    cheap.map(|(place, _)| *place).min().unwrap_or(last)
}
