//! How fast failures are retried where a controller keeps cluster state that others wait for.

use std::time::Duration;

use orrery_client::WorkQueue;

/// A queue whose back-off ends at 30 s: after an outage the cluster is right again within that time, not within
/// client-go's 1,000 s.
pub(crate) fn queue<T: Ord + Clone>() -> WorkQueue<T> {
    WorkQueue::with_backoff(Duration::from_millis(5), Duration::from_secs(30))
}
