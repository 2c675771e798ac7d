//! What a world lends to the users who play a scenario in it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use orrery_api::random::Random;
use orrery_client::Client;

use crate::model::Cluster;
use crate::scenario::{Moment, Scenario, StepAction, Trigger};

/// A world as its users know it.
pub trait Stage: Send + Sync {
    /// What is played.
    fn scenario(&self) -> &Scenario;

    /// The worker nodes by name, those that are away as well.
    fn nodes(&self) -> Vec<String>;

    /// The root of all chance.
    fn random(&self) -> &Random;

    /// A user's way to the API server; `random` is for what befalls his requests.
    fn client(self: Arc<Self>, random: &Random) -> Client;

    /// Shows what the store holds.
    fn show(&self, look: &mut dyn FnMut(&Cluster));

    /// Waits for a trigger from now on: what it waits for counts before the future is polled.
    fn arm(self: Arc<Self>, trigger: &Trigger) -> BoxFuture<'static, ()>;

    /// A user does something now, which the scenario says or he has drawn. It is written down as the step that would do
    /// the same without drawing anything.
    fn does(&self, moment: Moment, action: StepAction);

    /// How long it has been played.
    fn elapsed(&self) -> Duration;

    /// A step cannot be done as the scenario has it, which is the scenario's fault: the run is over.
    fn trouble(&self, what: String);

    /// A user says what he is like.
    fn say(&self, what: fmt::Arguments<'_>);

    /// Something was seen that a campaign wants to have seen.
    fn saw(&self, what: &'static str);
}

impl dyn Stage + '_ {
    /// Looks at what the store holds.
    pub fn look<T>(&self, look: impl FnOnce(&Cluster) -> T) -> T {
        let (mut look, mut seen) = (Some(look), None);
        self.show(&mut |cluster| seen = look.take().map(|look| look(cluster)).or(seen.take()));
        seen.unwrap_or_else(|| unreachable!("a stage shows what it holds"))
    }
}
