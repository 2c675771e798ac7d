//! In which order containers that stop at the same time are told to.

use std::collections::BTreeMap;
use std::time::Duration;

use orrery_api::task::within;
use tokio::sync::watch;

use crate::plan::Stop;

/// How many containers of each turn have yet to end.
pub struct Turns(watch::Sender<BTreeMap<u32, usize>>);

impl Turns {
    /// Those of `stops`, of which none has ended.
    pub fn of(stops: &[Stop]) -> Self {
        let mut left = BTreeMap::new();
        for stop in stops {
            *left.entry(stop.turn).or_default() += 1;
        }
        Turns(watch::Sender::new(left))
    }

    /// Waits until all containers of earlier turns have ended, at most for `limit`.
    pub async fn wait(&self, turn: u32, limit: Duration) {
        let mut left = self.0.subscribe();
        let has_come = |left: &BTreeMap<u32, usize>| left.range(..turn).all(|(_, count)| *count == 0);
        // The sender lives in `self`; what does not end in time is waited for no longer.
        let _ = within(limit, async { drop(left.wait_for(has_come).await) }).await;
    }

    /// A container of this turn has ended.
    pub fn ended(&self, turn: u32) {
        self.0.send_modify(|left| {
            if let Some(count) = left.get_mut(&turn) {
                *count = count.saturating_sub(1);
            }
        });
    }
}
