//! Calls that are held up: before the request leaves its client, or before its client has the answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::model::Asked;
use crate::scenario::{CallEnd, CallSpec};
use crate::triggers::calls;

/// What holds calls up now.
#[derive(Default)]
pub struct Holds {
    holds: Mutex<Vec<Arc<Hold>>>,
}

/// Something that holds calls up.
pub struct Hold {
    call: CallSpec,
    /// How many more it holds up.
    left: watch::Sender<u32>,
    times: u32,
    /// How long each; until it ends if none.
    by: Option<Duration>,
    over: watch::Sender<bool>,
}

impl Hold {
    /// Waits until a call is held up.
    pub async fn caught(&self) {
        let mut left = self.left.subscribe();
        // The sender lives in `self`.
        let _ = left.wait_for(|left| *left < self.times).await;
    }

    /// Waits until as many calls are held up as shall be.
    pub async fn all_caught(&self) {
        let mut left = self.left.subscribe();
        let _ = left.wait_for(|left| *left == 0).await;
    }
}

impl Holds {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Hold>>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on so many calls are held up, each for a time, or until it ends.
    pub fn begin(&self, call: &CallSpec, times: u32, by: Option<Duration>) -> Arc<Hold> {
        let hold = Arc::new(Hold {
            call: call.clone(),
            left: watch::Sender::new(times),
            times,
            by,
            over: watch::Sender::new(false),
        });
        self.lock().push(hold.clone());
        hold
    }

    /// Lets go what is held up.
    pub fn end(&self, hold: &Arc<Hold>) {
        self.lock().retain(|own| !Arc::ptr_eq(own, hold));
        hold.over.send_replace(true);
    }

    /// Lets everything go.
    pub fn end_all(&self) {
        for hold in self.lock().drain(..) {
            hold.over.send_replace(true);
        }
    }

    /// Waits as long as a call is held up at this end of it.
    pub async fn pass(&self, asked: &Asked, end: CallEnd) {
        let meant: Vec<Arc<Hold>> = self
            .lock()
            .iter()
            .filter(|hold| *hold.left.borrow() > 0 && calls(&hold.call, asked, end))
            .cloned()
            .collect();
        for hold in meant {
            hold.left.send_modify(|left| *left = left.saturating_sub(1));
            let mut over = hold.over.subscribe();
            let until_over = async {
                // The sender lives in the hold.
                let _ = over.wait_for(|over| *over).await;
            };
            match hold.by {
                Some(by) => tokio::select! {
                    biased;
                    () = sleep(by) => {}
                    () = until_over => {}
                },
                None => until_over.await,
            }
        }
    }
}
