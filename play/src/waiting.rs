//! Waiting for the moment of a step or a fault.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use orrery_api::random::Random;
use tokio::time::{Instant, sleep_until};

use crate::scenario::Moment;
use crate::stage::Stage;

/// Something that waits for its moment.
pub struct Waiting {
    moment: Moment,
    trigger: Option<BoxFuture<'static, ()>>,
    at: Duration,
}

impl Waiting {
    /// Prepares to wait for `moment`; triggers count from now on.
    pub fn new(stage: &Arc<dyn Stage>, moment: &Moment, random: &Random) -> Self {
        let trigger = match moment {
            Moment::When(trigger) => Some(stage.clone().arm(trigger)),
            _ => None,
        };
        let at = match moment {
            Moment::At(at) => *at,
            Moment::Between(span) => span.draw(random),
            Moment::When(_) => Duration::ZERO,
        };
        Waiting {
            moment: moment.clone(),
            trigger,
            at,
        }
    }

    /// The moment, without what was drawn.
    pub fn pinned(&self) -> Moment {
        match &self.moment {
            Moment::At(_) | Moment::Between(_) => Moment::At(self.at),
            Moment::When(trigger) => Moment::When(trigger.clone()),
        }
    }

    /// Waits for a moment that is drawn from a range.
    pub async fn wait(self, start: Instant) {
        match self.trigger {
            Some(trigger) => trigger.await,
            None => sleep_until(start + self.at).await,
        }
    }

    /// Waits for the beginning of a range; its end.
    pub async fn wait_for_range(self, start: Instant) -> Instant {
        match self.moment {
            Moment::Between(span) => {
                sleep_until(start + span.low).await;
                start + span.high
            }
            _ => {
                self.wait(start).await;
                Instant::now()
            }
        }
    }
}
