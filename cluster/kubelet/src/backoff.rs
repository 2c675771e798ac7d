//! How long to wait before trying again: crashes and image pulls.
//!
//! Source: Kubernetes' documentation of the pod lifecycle, "Container restarts": 10 s, doubled up to 5 min, forgotten
//! after 10 min without trouble. Times are durations since the kubelet's start, so that a stepping clock does no harm.

use std::collections::BTreeMap;
use std::time::Duration;

use orrery_api::mutant;

/// The first delay.
pub const FIRST: Duration = Duration::from_secs(10);
/// The longest delay.
pub const LONGEST: Duration = Duration::from_secs(300);
/// What worked for so long is forgiven.
const FORGIVEN: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy)]
struct Entry {
    delay: Duration,
    raised: Duration,
}

/// Delays by key: each failure doubles its key's delay.
#[derive(Debug, Clone, Default)]
pub struct Backoffs {
    entries: BTreeMap<String, Entry>,
}

impl Backoffs {
    /// How long `key`, which failed at `failed`, still has to wait at `now`, and the delay it waits in; none if it may
    /// try now.
    pub fn remaining(&self, key: &str, failed: Duration, now: Duration) -> Option<(Duration, Duration)> {
        let entry = self
            .entries
            .get(key)
            .filter(|entry| failed.saturating_sub(entry.raised) <= FORGIVEN || mutant::active("O182"))?;
        let left = (failed + entry.delay).saturating_sub(now);
        (!left.is_zero()).then_some((left, entry.delay))
    }

    /// `key`, which failed at `failed`, is tried again: after its next failure it waits longer.
    pub fn raise(&mut self, key: &str, failed: Duration, now: Duration) {
        let delay = match self.entries.get(key) {
            Some(entry) if failed.saturating_sub(entry.raised) <= FORGIVEN => (entry.delay * 2).min(LONGEST),
            _ => FIRST,
        };
        self.entries.insert(key.to_owned(), Entry { delay, raised: now });
    }

    /// Forgets `key`.
    pub fn forget(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

/// A delay as Go prints it: `10s`, `1m20s`, `5m0s`.
pub fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, _) if duration.subsec_millis() > 0 => {
            let text = format!("{:.3}", duration.as_secs_f64());
            format!("{}s", text.trim_end_matches('0'))
        }
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_crash_restarts_at_once_and_the_next_ones_wait_10_s_doubling_to_5_min() {
        let mut backoffs = Backoffs::default();
        let mut now = seconds(0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let failed = now + seconds(1);
            let wait = backoffs
                .remaining("web", failed, failed)
                .map_or(seconds(0), |(left, _)| left);
            waits.push(wait.as_secs());
            now = failed + wait;
            assert_eq!(backoffs.remaining("web", failed, now), None);
            backoffs.raise("web", failed, now);
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_quiet_minutes_forgive() {
        let mut backoffs = Backoffs::default();
        for _ in 0..5 {
            backoffs.raise("web", seconds(1), seconds(1));
        }
        assert!(backoffs.remaining("web", seconds(2), seconds(2)).is_some());
        assert_eq!(backoffs.remaining("web", seconds(602), seconds(602)), None);
        backoffs.raise("web", seconds(602), seconds(602));
        assert_eq!(
            backoffs.remaining("web", seconds(603), seconds(603)),
            Some((seconds(10), seconds(10)))
        );
    }

    #[test]
    fn delays_print_as_go_prints_them() {
        assert_eq!(go_duration(seconds(10)), "10s");
        assert_eq!(go_duration(seconds(80)), "1m20s");
        assert_eq!(go_duration(seconds(300)), "5m0s");
        assert_eq!(go_duration(Duration::from_millis(1250)), "1.25s");
        assert_eq!(go_duration(Duration::from_millis(200)), "0.2s");
    }
}
