//! How fast nodes may be given up, zone by zone.
//!
//! When many nodes of a zone fail at once the cause is rather the zone or the network than each node, and moving all
//! their pods makes it worse. When all nodes of all zones seem to fail, or no node at all was heard lately, it is the
//! control plane that is cut off: then no node is given up. Rates and thresholds are kube-controller-manager's
//! defaults. Times are durations since the controller began.

use std::collections::BTreeMap;
use std::time::Duration;

use orrery_api::mutant;

/// The share of unhealthy nodes from which on a zone counts as disturbed.
const UNHEALTHY_SHARE: f64 = 0.55;
/// Fewer unhealthy nodes than this never make a zone disturbed.
const UNHEALTHY_COUNT: usize = 3;
/// Zones up to this size evict nothing while they are disturbed; larger ones slowly.
const LARGE: usize = 50;
/// Nodes per second given up in a large zone that is disturbed.
const SLOW_RATE: f64 = 0.01;

/// The state of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// As good as always.
    Normal,
    /// Many nodes are unhealthy.
    Partial,
    /// No node is healthy.
    Full,
}

/// How many nodes of a zone are healthy and not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Nodes whose condition `Ready` holds.
    pub healthy: usize,
    /// All others.
    pub unhealthy: usize,
}

impl Count {
    /// The state of a zone with so many nodes.
    pub(super) fn state(self) -> State {
        let total = self.healthy + self.unhealthy;
        if self.healthy == 0 && self.unhealthy > 0 {
            State::Full
        } else if self.unhealthy >= UNHEALTHY_COUNT && self.unhealthy as f64 / total as f64 >= UNHEALTHY_SHARE {
            State::Partial
        } else {
            State::Normal
        }
    }

    /// How many nodes a second may be given up in the zone, `rate` being that of ordinary times.
    fn rate(self, rate: f64) -> f64 {
        match self.state() {
            State::Normal | State::Full => rate,
            State::Partial if mutant::active("O190") => rate,
            State::Partial if self.healthy + self.unhealthy > LARGE => rate.min(SLOW_RATE),
            State::Partial => 0.0,
        }
    }
}

/// What speaks for the control plane's being cut off, rather than for the failure of nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Disruption {
    /// Nothing: some nodes are heard, and some are healthy.
    #[default]
    None,
    /// No node was heard lately. Those that were given up before stay so: they may have been lost for long.
    Unheard,
    /// No node of any zone is healthy. None is to be given up, not even one that was before.
    Full,
}

/// The zones of the cluster and when each last gave up a node.
#[derive(Debug, Default)]
pub(super) struct Zones {
    counts: BTreeMap<String, Count>,
    last: BTreeMap<String, Duration>,
    disruption: Disruption,
}

impl Zones {
    /// Takes what the zones look like, and whether any node was heard lately. Answers whether a disruption has just
    /// ended.
    pub(super) fn update(&mut self, counts: BTreeMap<String, Count>, witness: bool) -> bool {
        let all_full = !counts.is_empty() && counts.values().all(|count| count.state() == State::Full);
        let before = self.disruption;
        self.disruption = match (all_full, witness) {
            (false, true) => Disruption::None,
            _ if mutant::active("B65") => Disruption::None,
            (true, _) => Disruption::Full,
            (false, false) => Disruption::Unheard,
        };
        self.counts = counts;
        before != Disruption::None && self.disruption == Disruption::None
    }

    /// What speaks for the control plane's being cut off.
    pub(super) fn disruption(&self) -> Disruption {
        self.disruption
    }

    /// Whether a node of `zone` may be given up at `now`, `rate` nodes a second being allowed in ordinary times.
    pub(super) fn may_give_up(&self, zone: &str, rate: f64, now: Duration) -> bool {
        let rate = self.counts.get(zone).map_or(0.0, |count| count.rate(rate));
        if self.disruption != Disruption::None || rate <= 0.0 {
            return false;
        }
        let pause = Duration::from_secs_f64((1.0 / rate).min(1e9));
        // A process that has just begun does not know what its predecessor did: it waits as if that was now.
        let last = self.last.get(zone).copied().unwrap_or_default();
        now.saturating_sub(last) >= pause || mutant::active("O108")
    }

    /// A node of `zone` was given up, or may have been, as was decided at `now`.
    pub(super) fn gave_up(&mut self, zone: &str, now: Duration) {
        self.last.insert(zone.to_owned(), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LATER: Duration = Duration::from_secs(1000);

    fn count(healthy: usize, unhealthy: usize) -> Count {
        Count { healthy, unhealthy }
    }

    fn zones(counts: &[(&str, Count)], witness: bool) -> Zones {
        let mut zones = Zones::default();
        zones.update(
            counts
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
            witness,
        );
        zones
    }

    /// Gives a node of the zone `a` up if that may be.
    fn give_up(zones: &mut Zones, now: Duration) -> bool {
        let may = zones.may_give_up("a", 0.1, now);
        if may {
            zones.gave_up("a", now);
        }
        may
    }

    #[test]
    fn the_state_of_a_zone_goes_by_share_and_number() {
        assert_eq!(count(0, 1).state(), State::Full);
        assert_eq!(count(1, 2).state(), State::Normal);
        assert_eq!(count(2, 3).state(), State::Partial);
        assert_eq!(count(6, 4).state(), State::Normal);
        assert_eq!(count(0, 0).state(), State::Normal);
    }

    #[test]
    fn nobody_is_evicted_when_all_zones_fail() {
        let cut_off = zones(&[("a", count(0, 3)), ("b", count(0, 1))], true);
        assert!(!cut_off.may_give_up("a", 0.1, LATER));
        let one_zone = zones(&[("a", count(0, 3)), ("b", count(1, 0))], true);
        assert!(one_zone.may_give_up("a", 0.1, LATER));
    }

    #[test]
    fn nobody_is_evicted_when_no_node_was_heard_lately() {
        assert!(!zones(&[("a", count(4, 1))], false).may_give_up("a", 0.1, LATER));
    }

    #[test]
    fn only_when_no_node_is_healthy_those_that_were_given_up_are_taken_back() {
        assert_eq!(zones(&[("a", count(4, 1))], true).disruption(), Disruption::None);
        assert_eq!(zones(&[("a", count(4, 1))], false).disruption(), Disruption::Unheard);
        for witness in [true, false] {
            assert_eq!(zones(&[("a", count(0, 5))], witness).disruption(), Disruption::Full);
        }
    }

    #[test]
    fn disturbed_zones_evict_slowly_when_large_and_not_at_all_when_small() {
        let seconds = |zones: &mut Zones| {
            (0..1000)
                .filter(|second| give_up(zones, Duration::from_secs(*second)))
                .count()
        };
        assert_eq!(seconds(&mut zones(&[("a", count(4, 2))], true)), 99);
        assert_eq!(seconds(&mut zones(&[("a", count(2, 4))], true)), 0);
        assert_eq!(seconds(&mut zones(&[("a", count(20, 40))], true)), 9);
    }

    #[test]
    fn a_node_that_was_not_given_up_after_all_spends_nothing() {
        let mut zones = zones(&[("a", count(4, 2))], true);
        assert!(zones.may_give_up("a", 0.1, LATER));
        assert!(zones.may_give_up("a", 0.1, LATER));
        zones.gave_up("a", LATER);
        assert!(!zones.may_give_up("a", 0.1, LATER + Duration::from_secs(9)));
        assert!(zones.may_give_up("a", 0.1, LATER + Duration::from_secs(10)));
    }

    #[test]
    fn the_end_of_a_disruption_is_told_once() {
        let mut zones = zones(&[("a", count(0, 2))], true);
        assert!(zones.update([("a".to_owned(), count(1, 1))].into(), true));
        assert!(!zones.update([("a".to_owned(), count(1, 1))].into(), true));
    }

    proptest! {
        #[test]
        fn evictions_keep_to_the_rate(times in prop::collection::vec(0u64..40, 0..60)) {
            let mut zones = zones(&[("a", count(4, 2))], true);
            let mut now = 0;
            let mut given_up: Vec<u64> = vec![0];
            for pause in times {
                now += pause;
                if give_up(&mut zones, Duration::from_secs(now)) {
                    given_up.push(now);
                }
            }
            prop_assert!(given_up.windows(2).all(|pair| pair[1] - pair[0] >= 10));
        }
    }
}
