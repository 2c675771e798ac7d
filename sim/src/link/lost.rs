//! Answers to writes that are lost though the writes took effect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use orrery_api::random::Random;
use tokio::sync::Notify;

use crate::faults::Victims;
use crate::scenario::{Loss, LostAnswersSpec, WhichAnswers};

/// Answers to writes that are lost.
#[derive(Debug)]
pub struct LostAnswers {
    pub(super) spec: LostAnswersSpec,
    /// When it began, as the scenario counts.
    pub(super) began: Duration,
    /// Until when; until all are lost if none.
    pub(super) until: Option<Duration>,
    /// How many writes of each kind each client has sent since.
    pub(super) counts: BTreeMap<(String, String), u32>,
    /// Told when the last one is lost.
    pub(super) done: Arc<Notify>,
    /// Who is told of those whose answers are lost.
    pub(super) victims: Victims,
}

/// An answer that is lost.
#[derive(Debug, PartialEq, Eq)]
pub struct LostAnswer {
    /// What its client notices.
    pub then: Loss,
    /// If it was drawn: when the fault began, the how manieth of which write it was since then.
    pub drawn: Option<(Duration, String, u32)>,
}

impl LostAnswers {
    /// Whether the answer to this write is lost.
    pub(super) fn loses(&mut self, client: &str, write: &str, random: &Random) -> Option<LostAnswer> {
        if self.spec.client.as_ref().is_some_and(|wanted| !wanted.means(client)) {
            return None;
        }
        let count = self.counts.entry((client.to_owned(), write.to_owned())).or_default();
        *count += 1;
        match &self.spec.which {
            WhichAnswers::Share { probability, .. } => random.chance(*probability).then(|| {
                self.victims.add();
                LostAnswer {
                    then: draw_loss(random),
                    drawn: Some((self.began, write.to_owned(), *count)),
                }
            }),
            WhichAnswers::These {
                write: wanted,
                requests,
                then,
            } => {
                if wanted != write || !requests.contains(count) {
                    return None;
                }
                if requests.iter().max() == Some(count) {
                    self.done.notify_one();
                }
                self.victims.add();
                Some(LostAnswer {
                    then: *then,
                    drawn: None,
                })
            }
        }
    }
}

/// What a client notices of a message that is lost.
pub fn draw_loss(random: &Random) -> Loss {
    if random.chance(0.5) { Loss::Reset } else { Loss::Silence }
}
