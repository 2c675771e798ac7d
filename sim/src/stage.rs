//! A simulated world as the stage of its scenario.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use orrery_api::message::Identity;
use orrery_api::random::Random;
use orrery_client::Client;
use orrery_play::Stage;

use crate::link::SimTransport;
use crate::model::Cluster;
use crate::scenario::{Moment, Scenario, StepAction, Trigger};
use crate::world::World;

/// How long a user waits for an answer.
const LIMIT: Duration = Duration::from_secs(10);

/// The client of an administrator at a machine outside the cluster; its requests are those of `name`.
pub fn administrator(world: &Arc<World>, name: &str, random: &Random) -> Client {
    let identity = Identity::new("kubernetes-admin", &["system:masters"]);
    let link = SimTransport::new(world, name, "workstation", identity, random.stream("link"));
    Client::new(link, "kubectl").with_limit(LIMIT)
}

impl Stage for World {
    fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    fn nodes(&self) -> Vec<String> {
        self.workers().map(|machine| machine.name.clone()).collect()
    }

    fn random(&self) -> &Random {
        &self.random
    }

    fn client(self: Arc<Self>, random: &Random) -> Client {
        administrator(&self, "user", random)
    }

    fn show(&self, look: &mut dyn FnMut(&Cluster)) {
        self.witness.look(self, look);
    }

    fn arm(self: Arc<Self>, trigger: &Trigger) -> BoxFuture<'static, ()> {
        Box::pin(World::arm(&self, trigger).wait())
    }

    fn does(&self, moment: Moment, action: StepAction) {
        self.choices.step(moment, action);
    }

    fn elapsed(&self) -> Duration {
        self.choices.elapsed()
    }

    fn trouble(&self, what: String) {
        World::trouble(self, what);
    }

    fn say(&self, what: fmt::Arguments<'_>) {
        self.trace.event(self.now(), "user", what);
    }

    fn saw(&self, what: &'static str) {
        self.coverage.saw(what);
    }
}
