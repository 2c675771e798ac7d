//! A real cluster as the stage of a scenario.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use orrery_api::random::Random;
use orrery_client::Client;
use orrery_play::Stage;
use orrery_play::choices::Choices;
use orrery_play::model::Cluster;
use orrery_play::scenario::{Manifest, Moment, Scenario, StepAction, Trigger};
use serde_json::Value;
use tokio::sync::Notify;

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
    /// What was drawn.
    pub choices: Choices,
    /// Says what happens.
    pub progress: Progress,
    client: Client,
    troubles: Mutex<Vec<String>>,
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
            choices: Choices::default(),
            progress: Progress::default(),
            client: client.clone().with_limit(LIMIT),
            troubles: Mutex::default(),
            stop: Notify::new(),
        }
    }

    /// Why the scenario cannot be played on, if so.
    pub fn trouble_so_far(&self) -> Option<String> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.first().cloned()
    }
}

/// A step in a few words.
fn brief(action: &StepAction) -> String {
    match action {
        StepAction::Apply(Manifest::Inline(objects)) => {
            let text = |object: &Value, path: &str| {
                let text = object.pointer(path).and_then(Value::as_str);
                text.unwrap_or_default().to_owned()
            };
            let names = objects
                .iter()
                .map(|object| format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name")));
            format!("apply {}", names.collect::<Vec<_>>().join(", "))
        }
        action => {
            let line = action.to_line();
            let bare = line.strip_prefix("{ ").and_then(|line| line.strip_suffix(" }"));
            bare.unwrap_or(&line).to_owned()
        }
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
        match self.mirror.arm(trigger) {
            Some(waiter) => Box::pin(waiter.wait()),
            None => Box::pin(std::future::pending()),
        }
    }

    fn does(&self, moment: Moment, action: StepAction) {
        self.progress.done(&format!("user: {}", brief(&action)));
        self.choices.step(moment, action);
    }

    fn elapsed(&self) -> Duration {
        self.choices.elapsed()
    }

    fn trouble(&self, what: String) {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        self.stop.notify_one();
    }

    fn say(&self, what: fmt::Arguments<'_>) {
        self.progress.done(&format!("user: {what}"));
    }

    fn saw(&self, _what: &'static str) {}
}

#[cfg(test)]
mod tests {
    use orrery_play::scenario::read;

    use super::*;

    #[test]
    fn a_step_is_told_in_a_few_words() {
        let steps = "workload:\n  - { at: 1s, apply: { apiVersion: v1, kind: ConfigMap, metadata: { name: settings } } }\n  \
                     - { at: 2s, scale: { deployment: web, replicas: 6 } }\n";
        let text = format!("name: a\nduration: 1m\n{steps}");
        let scenario = read("a.yaml", &text, |_| Err(String::new())).expect("a scenario");
        let told: Vec<String> = scenario.workload.iter().map(|plan| brief(&plan.action)).collect();
        assert_eq!(
            told,
            ["apply ConfigMap/settings", "scale: { deployment: web, replicas: 6 }"]
        );
    }
}
