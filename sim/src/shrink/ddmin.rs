//! Delta debugging (Zeller's ddmin): of many things, a few that cannot do without each other.

/// The fewest of `items` with which the failure is still there. `first` is given candidates and says which one of them
/// is the first that still fails, if one does; it may look at several at once. With the result, taking away any single
/// item makes the failure go away, unless `first` refused to look.
pub fn minimise<T: Clone>(items: &[T], mut first: impl FnMut(&[Vec<T>]) -> Option<usize>) -> Vec<T> {
    let mut items = items.to_vec();
    if items.is_empty() || first(&[Vec::new()]).is_some() {
        return Vec::new();
    }
    let mut parts = 2;
    while items.len() > 1 {
        parts = parts.min(items.len());
        let size = items.len().div_ceil(parts);
        let without: Vec<Vec<T>> = (0..items.len())
            .step_by(size)
            .map(|from| {
                let to = (from + size).min(items.len());
                [&items[..from], &items[to..]].concat()
            })
            .collect();
        match first(&without) {
            Some(index) => {
                items.clone_from(&without[index]);
                parts = (parts - 1).max(2);
            }
            None if size == 1 => break,
            None => parts *= 2,
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A failure that needs all of one of these sets.
    fn fails(needed: &[BTreeSet<u8>], items: &[u8]) -> bool {
        needed.iter().any(|set| set.iter().all(|item| items.contains(item)))
    }

    proptest! {
        #[test]
        fn what_is_left_fails_and_nothing_of_it_can_go(
            items in prop::collection::btree_set(0u8..60, 1..40),
            choices in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..6), 1..3),
        ) {
            let items: Vec<u8> = items.into_iter().collect();
            let needed: Vec<BTreeSet<u8>> = choices
                .iter()
                .map(|set| set.iter().map(|index| *index.get(&items)).collect())
                .collect();
            let left = minimise(&items, |candidates| candidates.iter().position(|own| fails(&needed, own)));
            prop_assert!(fails(&needed, &left));
            for index in 0..left.len() {
                let mut fewer = left.clone();
                fewer.remove(index);
                prop_assert!(!fails(&needed, &fewer), "{left:?} without its item {index}");
            }
        }
    }

    #[test]
    fn what_must_all_stay_stays_in_its_order() {
        let left = minimise(&[3, 1, 2], |candidates| {
            candidates.iter().position(|own| own.len() == 3)
        });
        assert_eq!(left, [3, 1, 2]);
    }
}
