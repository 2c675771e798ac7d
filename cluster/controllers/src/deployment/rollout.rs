//! The arithmetic of a rollout: from the sizes of a deployment's replica sets to their next sizes. Pure numbers.
//!
//! Kubernetes bounds the *wanted* sizes by replicas + maxSurge. Here the pods that live are bounded as well: a set that
//! was told to shrink holds its place until its own controller says that it has shrunk.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use orrery_api::mutant;

/// One replica set, as the arithmetic sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    /// How many pods it wants (`spec.replicas`).
    pub size: i32,
    /// How many pods it had when it last said so (`status.replicas`).
    pub live: i32,
    /// How many of them were available.
    pub available: i32,
    /// Whether what it said was about the size it has now.
    pub settled: bool,
    /// The deployment's `replicas + maxSurge` at the set's last scaling.
    pub max_then: Option<i32>,
}

impl Set {
    /// The most pods that the set may have; `None` while nobody can say.
    fn occupied(&self) -> Option<i32> {
        self.settled.then(|| self.size.max(self.live))
    }

    /// How many pods stay available for sure, whichever the set gives up on its way to its size.
    fn kept_available(&self) -> i32 {
        if self.available > self.size && mutant::active("O54") {
            return self.available;
        }
        self.available.min(self.size)
    }
}

/// The limits of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// How many pods the deployment wants.
    pub replicas: i32,
    /// How many more may live.
    pub surge: i32,
    /// How many fewer may be available.
    pub unavailable: i32,
}

impl Bounds {
    /// The bounds of a rolling update: percentages of `replicas`, surge rounded up and unavailable down. Both zero
    /// would never get anywhere, so one pod may then be unavailable.
    pub(super) fn rolling(replicas: i32, surge: Option<&IntOrString>, unavailable: Option<&IntOrString>) -> Self {
        let quarter = IntOrString::String("25%".to_owned());
        let replicas = replicas.max(0);
        let surge = share(surge.unwrap_or(&quarter), replicas, true);
        let mut unavailable = share(unavailable.unwrap_or(&quarter), replicas, false);
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        Bounds {
            replicas,
            surge,
            unavailable: unavailable.min(replicas),
        }
    }

    /// The bounds where no pod may be too many or too few.
    pub(super) fn exact(replicas: i32) -> Self {
        Bounds {
            replicas: replicas.max(0),
            surge: 0,
            unavailable: 0,
        }
    }

    /// The most pods that may live.
    pub(super) fn most(&self) -> i32 {
        self.replicas.saturating_add(self.surge)
    }

    /// The fewest pods that must be available.
    pub(super) fn least_available(&self) -> i32 {
        self.replicas - self.unavailable
    }
}

/// A number, or a percentage of `whole`.
fn share(value: &IntOrString, whole: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => (*number).max(0),
        IntOrString::String(text) => {
            let percent: i64 = text
                .strip_suffix('%')
                .and_then(|number| number.trim().parse().ok())
                .unwrap_or(0);
            let hundredths = percent.max(0).saturating_mul(i64::from(whole));
            let share = if round_up {
                hundredths.saturating_add(99) / 100
            } else {
                hundredths / 100
            };
            i32::try_from(share).unwrap_or(i32::MAX)
        }
    }
}

/// The size of the newest set, which has `size` now, beside the `old` ones.
pub(super) fn new_size(bounds: Bounds, size: i32, old: &[Set]) -> i32 {
    if size >= bounds.replicas {
        return bounds.replicas;
    }
    let room = occupied(old).map_or(0, |occupied| bounds.most() - occupied - size);
    size + room.clamp(0, bounds.replicas - size)
}

/// The sizes of the old sets, oldest first, beside the newest one: first those pods go that are not available anyway,
/// then as many of the rest as the newest set has made up for.
pub(super) fn old_sizes(bounds: Bounds, new: &Set, old: &[Set]) -> Vec<i32> {
    let mut sizes: Vec<i32> = old.iter().map(|set| set.size).collect();
    let wanted = sizes.iter().sum::<i32>() + new.size;
    let new_unavailable = new.size - new.kept_available();
    let mut may_go = (wanted - bounds.least_available() - new_unavailable).max(0);
    for (size, set) in sizes.iter_mut().zip(old) {
        let gone = (*size - set.kept_available()).clamp(0, may_go);
        *size -= gone;
        may_go -= gone;
    }
    let available = old.iter().chain([new]).map(Set::kept_available).sum::<i32>();
    let mut spare = (available - bounds.least_available()).clamp(0, may_go);
    for size in &mut sizes {
        let gone = (*size).clamp(0, spare);
        *size -= gone;
        spare -= gone;
    }
    sizes
}

/// How many pods all of `sets` may have; `None` while nobody can say.
fn occupied(sets: &[Set]) -> Option<i32> {
    sets.iter()
        .map(Set::occupied)
        .try_fold(0i32, |sum, set| Some(sum.saturating_add(set?)))
}

/// The sizes after the deployment was scaled in the middle of a rollout: every set gets its share of the change, the
/// largest one the rest. The sets come newest first. `None` while it must grow and nobody can say what lives.
pub(super) fn proportional(bounds: Bounds, sets: &[Set], fallback_max: i32) -> Option<Vec<i32>> {
    let mut sizes: Vec<i32> = sets.iter().map(|set| set.size).collect();
    let most = if bounds.replicas == 0 { 0 } else { bounds.most() };
    let wanted: i32 = sizes.iter().sum();
    let change = if wanted < most {
        // Growing needs to know what lives; shrinking does not.
        (most - occupied(sets)?).max(0)
    } else {
        most - wanted
    };
    // The largest first; of equal ones the newer when growing, the older when shrinking.
    let mut order: Vec<usize> = (0..sets.len()).collect();
    if change < 0 {
        order.reverse();
    }
    order.sort_by_key(|&index| std::cmp::Reverse(sets[index].size));
    let mut left = change;
    for &index in &order {
        let part = fraction(&sets[index], bounds, fallback_max);
        let part = if change > 0 {
            part.clamp(0, left.max(0))
        } else {
            part.clamp(left.min(0), 0)
        };
        sizes[index] = (sizes[index] + part).max(0);
        left -= part;
    }
    if let Some(&largest) = order.first() {
        sizes[largest] = (sizes[largest] + left).max(0);
    }
    Some(sizes)
}

/// By how much a set's size would change if it kept its share of the whole.
fn fraction(set: &Set, bounds: Bounds, fallback_max: i32) -> i32 {
    if bounds.replicas == 0 {
        return -set.size;
    }
    let then = set.max_then.filter(|max| *max > 0).unwrap_or(fallback_max);
    if then <= 0 {
        return 0;
    }
    let share = f64::from(set.size) * f64::from(bounds.most()) / f64::from(then);
    share.round() as i32 - set.size
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
