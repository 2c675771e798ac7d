//! Since when a node is silent, by this process's own ears.
//!
//! Clocks are never compared: a heartbeat counts when its content *changes*, at the local monotonic time at which that
//! is seen. And silence counts only while this process could have heard: after a time in which it saw nothing of the
//! cluster at all (its own connection was cut, or it was paused) every node starts anew. Times are durations since the
//! controller began.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// What a node's heartbeat was last: any change of it is a sign of life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Heartbeat {
    /// The node's uid: another node of the same name starts anew.
    pub uid: String,
    /// When the node's lease says it was renewed, by the node's clock.
    pub lease: Option<Timestamp>,
    /// The revision of the lease: what is older than what was seen already says nothing.
    pub lease_revision: u64,
    /// When the node's status says it was posted, by the node's clock.
    pub status: Option<Timestamp>,
}

#[derive(Debug)]
struct Heard {
    heartbeat: Heartbeat,
    at: Duration,
}

impl Heard {
    fn take(&mut self, new: Heartbeat, now: Duration) {
        let old = &mut self.heartbeat;
        if new.status != old.status {
            old.status = new.status;
            self.at = now;
        }
        if new.lease_revision > old.lease_revision {
            if new.lease != old.lease {
                self.at = now;
            }
            old.lease = new.lease;
            old.lease_revision = new.lease_revision;
        }
    }
}

/// What is known of the nodes' signs of life.
#[derive(Debug, Default)]
pub(super) struct Health {
    nodes: BTreeMap<String, Heard>,
    looked: Option<Duration>,
}

impl Health {
    /// Takes a look at the cluster at `now`; `gap` is the time between looks from which on this process counts as
    /// having been deaf in between.
    pub(super) fn look(&mut self, now: Duration, gap: Duration, heartbeats: BTreeMap<String, Heartbeat>) {
        if self.looked.is_none_or(|last| now.saturating_sub(last) > gap) {
            self.start_over(now);
        }
        self.looked = Some(now);
        self.nodes.retain(|name, _| heartbeats.contains_key(name));
        for (name, heartbeat) in heartbeats {
            match self.nodes.get_mut(&name) {
                Some(heard) if heard.heartbeat.uid == heartbeat.uid => heard.take(heartbeat, now),
                _ => drop(self.nodes.insert(name, Heard { heartbeat, at: now })),
            }
        }
    }

    /// Every node is given its full grace again, from `now`.
    pub(super) fn start_over(&mut self, now: Duration) {
        for heard in self.nodes.values_mut() {
            heard.at = now;
        }
    }

    /// How long the node has been silent; nothing for a node that is not known.
    pub(super) fn silence(&self, node: &str, now: Duration) -> Duration {
        self.nodes
            .get(node)
            .map_or(Duration::ZERO, |heard| now.saturating_sub(heard.at))
    }

    /// Whether any node was heard within the last `recent`: proof that nodes can reach the API server at all.
    pub(super) fn has_witness(&self, now: Duration, recent: Duration) -> bool {
        self.nodes.values().any(|heard| now.saturating_sub(heard.at) <= recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GAP: Duration = Duration::from_secs(12);

    fn beat(second: i64) -> Heartbeat {
        Heartbeat {
            uid: "u".into(),
            lease: Some(Timestamp::from_second(second).expect("in range")),
            lease_revision: (second + 10_000) as u64,
            status: None,
        }
    }

    fn look(health: &mut Health, now: u64, beats: &[(&str, i64)]) {
        let beats = beats
            .iter()
            .map(|(name, second)| ((*name).to_owned(), beat(*second)))
            .collect();
        health.look(Duration::from_secs(now), GAP, beats);
    }

    #[test]
    fn silence_is_counted_from_the_change_that_was_seen_not_from_what_the_lease_says() {
        let mut health = Health::default();
        // The node's clock is an hour behind, or ahead: it does not matter.
        look(&mut health, 100, &[("n", -3600)]);
        look(&mut health, 105, &[("n", 3600)]);
        look(&mut health, 110, &[("n", 3600)]);
        assert_eq!(health.silence("n", Duration::from_secs(111)), Duration::from_secs(6));
    }

    #[test]
    fn a_time_without_a_look_is_nobodys_silence() {
        let mut health = Health::default();
        look(&mut health, 0, &[("n", 1)]);
        look(&mut health, 5, &[("n", 1)]);
        look(&mut health, 65, &[("n", 1)]);
        assert_eq!(health.silence("n", Duration::from_secs(66)), Duration::from_secs(1));
    }

    #[test]
    fn a_cache_that_lags_behind_the_server_brings_no_signs_of_life() {
        let mut health = Health::default();
        look(&mut health, 0, &[("n", 1)]);
        look(&mut health, 5, &[("n", 2)]);
        look(&mut health, 10, &[("n", 1)]);
        look(&mut health, 15, &[("n", 2)]);
        assert_eq!(health.silence("n", Duration::from_secs(15)), Duration::from_secs(10));
    }

    #[test]
    fn a_node_made_again_under_its_name_starts_anew() {
        let mut health = Health::default();
        look(&mut health, 0, &[("n", 1)]);
        let again = Heartbeat {
            uid: "v".into(),
            ..beat(1)
        };
        health.look(Duration::from_secs(10), GAP, [("n".to_owned(), again)].into());
        assert_eq!(health.silence("n", Duration::from_secs(10)), Duration::ZERO);
    }

    proptest! {
        /// Whatever was seen, nobody is silent for longer than the looks without a gap reach back.
        #[test]
        fn silence_never_reaches_across_a_gap(
            steps in prop::collection::vec((1u64..30, 0i64..3), 1..40),
        ) {
            let mut health = Health::default();
            let (mut now, mut since_gap) = (0, 0);
            for (pause, second) in steps {
                now += pause;
                since_gap = if Duration::from_secs(pause) > GAP { 0 } else { since_gap + pause };
                look(&mut health, now, &[("n", second)]);
                prop_assert!(health.silence("n", Duration::from_secs(now)) <= Duration::from_secs(since_gap));
            }
        }
    }
}
