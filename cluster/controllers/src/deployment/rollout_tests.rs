//! A rollout against a model of replica sets whose controller is late, and whose pods become available when they like.

use proptest::prelude::*;

use super::*;

fn settled(size: i32) -> Set {
    Set {
        size,
        live: size,
        available: size,
        settled: true,
        max_then: None,
    }
}

#[test]
fn surge_is_rounded_up_and_unavailable_down() {
    let percent = |text: &str| IntOrString::String(text.to_owned());
    let bounds = Bounds::rolling(10, Some(&percent("25%")), Some(&percent("25%")));
    assert_eq!((bounds.surge, bounds.unavailable), (3, 2));
    let bounds = Bounds::rolling(3, None, None);
    assert_eq!((bounds.surge, bounds.unavailable), (1, 0));
}

#[test]
fn when_neither_surge_nor_unavailable_is_allowed_one_may_be_unavailable() {
    let bounds = Bounds::rolling(
        4,
        Some(&IntOrString::Int(0)),
        Some(&IntOrString::String("10%".to_owned())),
    );
    assert_eq!((bounds.surge, bounds.unavailable), (0, 1));
}

#[test]
fn the_new_set_waits_until_a_shrinking_set_has_shrunk() {
    let bounds = Bounds {
        replicas: 3,
        surge: 1,
        unavailable: 1,
    };
    let shrinking = Set {
        size: 2,
        live: 3,
        available: 3,
        settled: true,
        max_then: None,
    };
    assert_eq!(new_size(bounds, 1, std::slice::from_ref(&shrinking)), 1);
    assert_eq!(
        new_size(
            bounds,
            1,
            &[Set {
                live: 2,
                ..shrinking.clone()
            }]
        ),
        2
    );
    assert_eq!(
        new_size(
            bounds,
            1,
            &[Set {
                live: 2,
                settled: false,
                ..shrinking
            }]
        ),
        1
    );
}

#[test]
fn unavailable_old_pods_go_first() {
    let bounds = Bounds {
        replicas: 10,
        surge: 3,
        unavailable: 2,
    };
    let sick = Set {
        available: 0,
        ..settled(4)
    };
    let new = Set {
        available: 0,
        ..settled(5)
    };
    // 13 wanted, 8 must be available, 5 of the new are not: nothing can go.
    assert_eq!(old_sizes(bounds, &new, &[sick.clone(), settled(4)]), [4, 4]);
    assert_eq!(old_sizes(bounds, &settled(3), &[sick, settled(6)]), [0, 5]);
}

#[test]
fn scaling_in_the_middle_of_a_rollout_keeps_the_shares() {
    let bounds = Bounds {
        replicas: 15,
        surge: 3,
        unavailable: 2,
    };
    let set = |size| Set {
        max_then: Some(13),
        ..settled(size)
    };
    // Kubernetes' documentation, "Proportional scaling": 10 replicas as 5 new and 8 old, scaled to 15.
    assert_eq!(proportional(bounds, &[set(5), set(8)], 13), Some(vec![7, 11]));
    assert_eq!(
        proportional(Bounds { replicas: 0, ..bounds }, &[set(5), set(8)], 13),
        Some(vec![0, 0])
    );
}

#[test]
fn how_much_to_grow_by_is_not_known_before_what_lives_is() {
    let bounds = |replicas| Bounds {
        replicas,
        surge: 1,
        unavailable: 1,
    };
    let unsettled = Set {
        settled: false,
        ..settled(2)
    };
    let sets = [settled(2), unsettled];
    assert_eq!(proportional(bounds(6), &sets, 4), None);
    assert_eq!(proportional(bounds(1), &sets, 4), Some(vec![1, 1]));
}

/// A replica set as it really is, with what it last said.
#[derive(Debug, Clone)]
struct Model {
    said: Set,
    live: i32,
    available: i32,
}

impl Model {
    fn resize(&mut self, size: i32) {
        if self.said.size != size {
            self.said.size = size;
            self.said.settled = false;
        }
    }

    /// The set's controller works: it says what it sees, then makes or removes pods, unavailable ones first.
    fn work(&mut self) {
        self.said = Set {
            live: self.live,
            available: self.available,
            settled: true,
            ..self.said.clone()
        };
        self.live = self.said.size;
        self.available = self.available.min(self.live);
    }
}

fn check(bounds: Bounds, sets: &[Model], had_enough: bool) -> Result<(), TestCaseError> {
    let live: i32 = sets.iter().map(|set| set.live).sum();
    let available: i32 = sets.iter().map(|set| set.available).sum();
    prop_assert!(live <= bounds.most(), "{live} pods live, {} may", bounds.most());
    prop_assert!(
        !had_enough || available >= bounds.least_available(),
        "{available} available in {sets:?}"
    );
    Ok(())
}

proptest! {
    #[test]
    fn a_rolling_update_keeps_its_bounds_and_ends(
        old in prop::collection::vec(0i32..6, 1..4), surge in 0i32..4, unavailable in 0i32..4,
        steps in prop::collection::vec((0u8..3, 0usize..4), 0..120),
    ) {
        let replicas = old.iter().sum::<i32>();
        let (surge, unavailable) = (IntOrString::Int(surge), IntOrString::Int(unavailable));
        let bounds = Bounds::rolling(replicas, Some(&surge), Some(&unavailable));
        // The newest set is the last.
        let mut sets: Vec<Model> = old.iter().chain([&0])
            .map(|size| Model { said: settled(*size), live: *size, available: *size }).collect();
        let newest = sets.len() - 1;
        let roll = |sets: &mut Vec<Model>| {
            let said: Vec<Set> = sets.iter().map(|set| set.said.clone()).collect();
            let (new, old) = said.split_last().expect("there is a newest set");
            let size = new_size(bounds, new.size, old);
            if size != new.size {
                sets[newest].resize(size);
            } else {
                for (set, size) in sets.iter_mut().zip(old_sizes(bounds, new, old)) {
                    set.resize(size);
                }
            }
        };
        for (what, which) in steps {
            let which = which % sets.len();
            match what {
                0 => roll(&mut sets),
                1 => sets[which].work(),
                _ => sets[which].available = (sets[which].available + 1).min(sets[which].live),
            }
            check(bounds, &sets, true)?;
        }
        // Left alone, it ends: a bounded number of rounds brings every pod to the newest set.
        for _ in 0..(4 * replicas + 8) {
            roll(&mut sets);
            for set in &mut sets {
                set.work();
                set.available = set.live;
            }
            check(bounds, &sets, true)?;
        }
        prop_assert_eq!(sets[newest].available, replicas);
        prop_assert!(sets[..newest].iter().all(|set| set.live == 0));
    }

    #[test]
    fn proportional_scaling_ends_at_the_allowed_number(
        sizes in prop::collection::vec(1i32..20, 1..5), replicas in 0i32..60, surge in 0i32..10,
    ) {
        let bounds = Bounds { replicas, surge, unavailable: 0 };
        let most = sizes.iter().sum::<i32>();
        let sets: Vec<Set> = sizes.iter().map(|size| Set { max_then: Some(most), ..settled(*size) }).collect();
        let scaled = proportional(bounds, &sets, most).expect("all are settled");
        let allowed = if replicas == 0 { 0 } else { bounds.most() };
        prop_assert!(scaled.iter().all(|size| *size >= 0));
        prop_assert_eq!(scaled.iter().sum::<i32>(), allowed);
    }
}
