//! A real cluster as the stage of a scenario.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use orrery_api::random::Random;
use orrery_client::Client;
use orrery_play::Stage;
use orrery_play::model::Cluster;
use orrery_play::scenario::{Moment, Scenario, StepAction, Trigger};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::brief::brief;
use super::mirror::Mirror;
use crate::place;
use crate::progress::Progress;

/// How long a user waits for an answer.
const LIMIT: Duration = Duration::from_secs(10);

/// See the module.
pub struct RealStage {
    /// What is played.
    pub scenario: Scenario,
    /// The root of all chance.
    pub random: Random,
    /// What the store holds.
    pub mirror: Arc<Mirror>,
    /// When it begins.
    pub start: Instant,
    /// Says what happens.
    pub progress: Progress,
    client: Client,
    trouble: Mutex<Option<String>>,
    /// Woken when the scenario cannot be played on.
    pub stop: Notify,
}

impl RealStage {
    /// The stage of a scenario, with the administrator's way to its cluster.
    pub fn new(scenario: Scenario, random: Random, mirror: Arc<Mirror>, client: &Client) -> Self {
        RealStage {
            scenario,
            random,
            mirror,
            start: Instant::now(),
            progress: Progress::default(),
            client: client.clone().with_limit(LIMIT),
            trouble: Mutex::default(),
            stop: Notify::new(),
        }
    }

    /// Why the scenario cannot be played on, if so.
    pub fn trouble_so_far(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Stage for RealStage {
    fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    fn nodes(&self) -> Vec<String> {
        vec![place::NAME.to_owned()]
    }

    fn random(&self) -> &Random {
        &self.random
    }

    fn client(self: Arc<Self>, _random: &Random) -> Client {
        self.client.clone()
    }

    fn show(&self, look: &mut dyn FnMut(&Cluster)) {
        self.mirror.look(look);
    }

    fn arm(self: Arc<Self>, trigger: &Trigger) -> BoxFuture<'static, ()> {
        Box::pin(self.mirror.arm(trigger).wait())
    }

    fn does(&self, _moment: Moment, action: StepAction) {
        self.progress.done(&format!("user: {}", brief(&action)));
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn trouble(&self, what: String) {
        // The first one is the reason.
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.get_or_insert(what);
        self.stop.notify_one();
    }

    fn say(&self, what: fmt::Arguments<'_>) {
        self.progress.done(&format!("user: {what}"));
    }

    fn saw(&self, _what: &'static str) {}
}
