//! How long pods have been ready, by this process' own timer.
//!
//! A pod's readiness is stamped by its node's clock, which may be minutes ahead or behind. So the stamp counts only for
//! pods that were ready already when this process first saw them, and one of the future counts as now. (Kubernetes asks
//! the stamp every time: with a node whose clock is ten minutes ahead, a pod is available ten minutes late.)

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use orrery_api::meta::Object;
use tokio::time::Instant;

use crate::pods::ready_since;

/// What was seen of pods, by uid: since when each has been ready, if it is.
#[derive(Default)]
pub(super) struct Readiness {
    seen: Mutex<BTreeMap<String, Option<Ready>>>,
}

#[derive(Clone, Copy)]
struct Ready {
    /// The node's own stamp: another one is another time of readiness.
    stamp: Timestamp,
    since: Instant,
    /// How long it had been ready before.
    before: Duration,
}

impl Readiness {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Option<Ready>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod is, or has become, as it is now. `now` is what the wall clock shows.
    pub(super) fn saw(&self, pod: &Pod, now: Timestamp) {
        let mut seen = self.lock();
        let ready = judge(seen.get(pod.uid()).copied(), pod, now);
        seen.insert(pod.uid().to_owned(), ready);
    }

    /// How long a pod has been ready, if it is.
    pub(super) fn of(&self, pod: &Pod, now: Timestamp) -> Option<Duration> {
        let known = self.lock().get(pod.uid()).copied();
        judge(known, pod, now).map(|ready| ready.before + ready.since.elapsed())
    }

    /// A pod is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }
}

/// Since when a pod has been ready, if it is, where this is `known` of it.
fn judge(known: Option<Option<Ready>>, pod: &Pod, now: Timestamp) -> Option<Ready> {
    let stamp = ready_since(pod)?;
    if let Some(ready) = known.flatten().filter(|ready| ready.stamp == stamp) {
        return Some(ready);
    }
    Some(Ready {
        stamp,
        since: Instant::now(),
        before: match known {
            None => Duration::try_from(now.duration_since(stamp)).unwrap_or(Duration::ZERO),
            // It became ready before our eyes.
            Some(_) => Duration::ZERO,
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::sleep;

    use super::*;

    const NOW: i64 = 1_000_000;

    fn pod(ready_since: Option<i64>) -> Pod {
        let status = if ready_since.is_some() { "True" } else { "False" };
        let since = Timestamp::from_second(ready_since.unwrap_or(NOW))
            .expect("a time")
            .to_string();
        let condition = json!({"type": "Ready", "status": status, "lastTransitionTime": since});
        serde_json::from_value(json!({"metadata": {"uid": "u"}, "status": {"conditions": [condition]}})).expect("a pod")
    }

    fn of(readiness: &Readiness, ready_since: Option<i64>) -> Option<u64> {
        let now = Timestamp::from_second(NOW).expect("a time");
        readiness.saw(&pod(ready_since), now);
        Some(readiness.of(&pod(ready_since), now)?.as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn what_becomes_ready_while_we_look_has_been_so_since_then_whatever_its_node_says() {
        for stamp in [NOW - 600, NOW, NOW + 600] {
            let readiness = Readiness::default();
            assert_eq!(of(&readiness, None), None);
            assert_eq!(of(&readiness, Some(stamp)), Some(0));
            sleep(Duration::from_secs(7)).await;
            assert_eq!(of(&readiness, Some(stamp)), Some(7));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_what_was_ready_before_the_stamp_tells_and_one_of_the_future_is_now() {
        for (stamp, expected) in [(NOW - 60, 60), (NOW + 60, 0)] {
            let readiness = Readiness::default();
            assert_eq!(of(&readiness, Some(stamp)), Some(expected));
            sleep(Duration::from_secs(7)).await;
            assert_eq!(of(&readiness, Some(stamp)), Some(expected + 7));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_time_of_readiness_is_counted_anew() {
        let readiness = Readiness::default();
        assert_eq!(of(&readiness, Some(NOW - 60)), Some(60));
        assert_eq!(of(&readiness, Some(NOW - 1)), Some(0));
        readiness.forget("u");
        assert_eq!(of(&readiness, Some(NOW - 1)), Some(1));
    }
}
